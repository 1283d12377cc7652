//! Each rewrite of Envoy's API v2 to v3 (seed C.6 "v2 templates").

mod support;

use serde_json::{Value, json};
use support::{error, http, listener, one, routes};

const TLS: &str = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3";

/// The value at a JSON pointer in the resource that a v2 template makes.
fn at(list: &str, template: &str, pointer: &str) -> Value {
    let resource = one("v2", list, template);
    resource.pointer(pointer).cloned().unwrap_or_else(|| panic!("no {pointer} in {resource}"))
}

fn cluster(fields: &str) -> String {
    format!("{{name: web, connect_timeout: 1s, {fields}}}")
}

/// The route that a route of v2 becomes.
fn route(route: &str) -> Value {
    at("routes", &routes(route), "/virtual_hosts/0/routes/0")
}

/// The header matcher that one of v2 becomes.
fn header(matcher: &str) -> Value {
    route(&format!("{{match: {{prefix: /, headers: [{matcher}]}}, route: {{cluster: a}}}}"))["match"]["headers"]
        [0]
    .clone()
}

#[test]
fn hosts_become_a_load_assignment() {
    let found = at(
        "clusters",
        &cluster("type: static, hosts: [{socket_address: {address: 10.0.0.1, port_value: 80}}]"),
        "",
    );
    let wanted = json!({
        "cluster_name": "web",
        "endpoints": [{"lb_endpoints": [
            {"endpoint": {"address": {"socket_address": {"address": "10.0.0.1", "port_value": 80}}}}
        ]}],
    });
    assert_eq!(found["load_assignment"], wanted);
    assert_eq!(found["type"], "STATIC");
}

#[test]
fn tls_context_of_a_cluster_becomes_an_upstream_transport_socket() {
    let found = at("clusters", &cluster("tls_context: {sni: example.com}"), "/transport_socket");
    let config = json!({"@type": format!("{TLS}.UpstreamTlsContext"), "sni": "example.com"});
    assert_eq!(found, json!({"name": "envoy.transport_sockets.tls", "typed_config": config}));
}

#[test]
fn tls_context_of_a_filter_chain_becomes_a_downstream_transport_socket() {
    let template = "name: web\naddress: {socket_address: {address: 0.0.0.0, port_value: 8080}}\n\
                    filter_chains: [{tlsContext: {requireClientCertificate: true}}]";
    let found = at("listeners", template, "/filter_chains/0/transport_socket");
    let config = json!({"@type": format!("{TLS}.DownstreamTlsContext"), "require_client_certificate": true});
    assert_eq!(found, json!({"name": "envoy.transport_sockets.tls", "typed_config": config}));
}

#[test]
fn bare_tls_sockets_get_the_type_of_their_side() {
    let found = at("clusters", &cluster("transport_socket: {name: tls}"), "/transport_socket/typed_config");
    assert_eq!(found, json!({"@type": format!("{TLS}.UpstreamTlsContext")}));
    let found = at("clusters", &cluster("transport_socket: {name: raw_buffer}"), "/transport_socket");
    assert_eq!(found["name"], "envoy.transport_sockets.raw_buffer");
}

#[test]
fn subject_names_become_matchers() {
    let context = "tls_context: {common_tls_context: {validation_context: {verify_subject_alt_name: [a.b]}}}";
    let path = "/transport_socket/typed_config/common_tls_context/validation_context/match_subject_alt_names";
    assert_eq!(at("clusters", &cluster(context), path), json!([{"exact": "a.b"}]));
}

#[test]
fn certificates_by_sds_come_from_ads() {
    let context = "tls_context: {common_tls_context: {tls_certificate_sds_secret_configs: [{name: a, sds_config: {ads: {}}}]}}";
    let path =
        "/transport_socket/typed_config/common_tls_context/tls_certificate_sds_secret_configs/0/sds_config";
    assert_eq!(at("clusters", &cluster(context), path), json!({"ads": {}, "resource_api_version": "V3"}));
}

#[test]
fn eds_comes_from_ads() {
    let ads = json!({"ads": {}, "resource_api_version": "V3"});
    for config in [
        "type: EDS",
        "type: eds, eds_cluster_config: {eds_config: {ads: {}}}",
        "type: EDS, edsClusterConfig: {edsConfig: {apiConfigSource: {apiType: GRPC, clusterNames: [a]}}}",
        "type: EDS, eds_cluster_config: {eds_config: {api_config_source: {api_type: REST, refresh_delay: 1s}}}",
    ] {
        assert_eq!(at("clusters", &cluster(config), "/eds_cluster_config/eds_config"), ads, "{config}");
    }
    let timeout = "type: EDS, eds_cluster_config: {eds_config: {ads: {}, initial_fetch_timeout: 3s}}";
    let found = at("clusters", &cluster(timeout), "/eds_cluster_config/eds_config/initial_fetch_timeout");
    assert_eq!(found, "3s");
}

#[test]
fn original_dst_lb_becomes_cluster_provided() {
    assert_eq!(
        at("clusters", &cluster("type: ORIGINAL_DST, lb_policy: ORIGINAL_DST_LB"), "/lb_policy"),
        "CLUSTER_PROVIDED"
    );
}

#[test]
fn enums_in_lower_case_are_read_as_envoy_reads_them() {
    let found = at("clusters", &cluster("type: strict_dns, lb_policy: least_request"), "");
    assert_eq!((&found["type"], &found["lb_policy"]), (&json!("STRICT_DNS"), &json!("LEAST_REQUEST")));
}

#[test]
fn drain_on_host_removal_is_renamed() {
    let found = at("clusters", &cluster("drain_connections_on_host_removal: true"), "");
    assert_eq!(found["ignore_health_on_host_removal"], true);
}

#[test]
fn health_checks_name_their_protocol_and_service() {
    let check = "{timeout: 1s, interval: 1s, unhealthy_threshold: 1, healthy_threshold: 1, \
                 http_health_check: {path: /, use_http2: true, service_name: a}}";
    let found =
        at("clusters", &cluster(&format!("health_checks: [{check}]")), "/health_checks/0/http_health_check");
    let wanted = json!({"path": "/", "codec_client_type": "HTTP2", "service_name_matcher": {"prefix": "a"}});
    assert_eq!(found, wanted);
}

#[test]
fn disabled_overprovisioning_is_refused_unless_false() {
    let assignment = |value| format!("cluster_name: a\npolicy: {{disable_overprovisioning: {value}}}");
    assert_eq!(one("v2", "endpoints", &assignment("false"))["cluster_name"], "a");
    assert_eq!(
        error("v2", "endpoints", &assignment("true")),
        "envoyResources.endpoints[0] (web) for cluster web-1: ClusterLoadAssignment.policy.disable_overprovisioning: can't be \
         rewritten to Envoy's API v3: use overprovisioning_factor"
    );
}

#[test]
fn filters_get_their_v3_names_and_types() {
    let filters = [
        ("envoy.tcp_proxy", "stat_prefix: a, cluster: b", "tcp_proxy", "tcp_proxy.v3.TcpProxy"),
        ("envoy.echo", "", "echo", "echo.v3.Echo"),
        ("envoy.ratelimit", "stat_prefix: a, domain: b", "ratelimit", "ratelimit.v3.RateLimit"),
        ("envoy.ext_authz", "stat_prefix: a", "ext_authz", "ext_authz.v3.ExtAuthz"),
        ("envoy.redis_proxy", "stat_prefix: a", "redis_proxy", "redis_proxy.v3.RedisProxy"),
        ("envoy.filters.network.rbac", "stat_prefix: a", "rbac", "rbac.v3.RBAC"),
        (
            "envoy.http_connection_manager",
            "stat_prefix: a",
            "http_connection_manager",
            "http_connection_manager.v3.HttpConnectionManager",
        ),
    ];
    for (old, config, name, ty) in filters {
        let template = listener(&format!("{{name: {old}, config: {{{config}}}}}"));
        let found = at("listeners", &template, "/filter_chains/0/filters/0");
        assert_eq!(found["name"], format!("envoy.filters.network.{name}"));
        let ty = format!("type.googleapis.com/envoy.extensions.filters.network.{ty}");
        assert_eq!(found["typed_config"]["@type"], ty);
    }
}

#[test]
fn http_filters_get_their_v3_names_and_types() {
    let filters = [
        ("envoy.router", "router", "router.v3.Router"),
        ("envoy.buffer", "buffer", "buffer.v3.Buffer"),
        ("envoy.cors", "cors", "cors.v3.Cors"),
        ("envoy.csrf", "csrf", "csrf.v3.CsrfPolicy"),
        ("envoy.ext_authz", "ext_authz", "ext_authz.v3.ExtAuthz"),
        ("envoy.fault", "fault", "fault.v3.HTTPFault"),
        ("envoy.grpc_http1_bridge", "grpc_http1_bridge", "grpc_http1_bridge.v3.Config"),
        ("envoy.grpc_web", "grpc_web", "grpc_web.v3.GrpcWeb"),
        ("envoy.health_check", "health_check", "health_check.v3.HealthCheck"),
        ("envoy.ip_tagging", "ip_tagging", "ip_tagging.v3.IPTagging"),
        ("envoy.rate_limit", "ratelimit", "ratelimit.v3.RateLimit"),
    ];
    for (old, name, ty) in filters {
        for config in ["", ", config: {}", ", typed_config: {}"] {
            let template = http("v2", &format!("http_filters: [{{name: {old}{config}}}]"));
            let found = at("listeners", &template, "/filter_chains/0/filters/0/typed_config/http_filters/0");
            assert_eq!(found["name"], format!("envoy.filters.http.{name}"));
            let ty = format!("type.googleapis.com/envoy.extensions.filters.http.{ty}");
            assert_eq!(found["typed_config"]["@type"], ty);
        }
    }
}

#[test]
fn listener_filters_and_access_logs_get_their_v3_names_and_types() {
    let template = "name: web\naddress: {socket_address: {address: 0.0.0.0, port_value: 8080}}\n\
                    listener_filters: [{name: envoy.listener.tls_inspector}, {name: envoy.listener.proxy_protocol}]\n\
                    access_log: [{name: envoy.file_access_log, config: {path: /dev/stdout, format: x}}]";
    let found = at("listeners", template, "");
    let filters = &found["listener_filters"];
    assert_eq!(filters[0]["name"], "envoy.filters.listener.tls_inspector");
    assert_eq!(filters[1]["name"], "envoy.filters.listener.proxy_protocol");
    let log = &found["access_log"][0];
    let ty = "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog";
    let config = json!({"@type": ty, "path": "/dev/stdout", "format": "x"});
    assert_eq!(*log, json!({"name": "envoy.access_loggers.file", "typed_config": config}));
}

#[test]
fn servers_that_envoy_asks_speak_v3() {
    let grpc = "grpc_service: {envoy_grpc: {cluster_name: a}}";
    let filters = [
        format!("{{name: envoy.ext_authz, config: {{{grpc}}}}}"),
        format!("{{name: envoy.rate_limit, config: {{domain: a, rate_limit_service: {{{grpc}}}}}}}"),
    ];
    let template = http("v2", &format!("http_filters: [{}]", filters.join(", ")));
    let found = at("listeners", &template, "/filter_chains/0/filters/0/typed_config/http_filters");
    assert_eq!(found[0]["typed_config"]["transport_api_version"], "V3");
    assert_eq!(found[1]["typed_config"]["rate_limit_service"]["transport_api_version"], "V3");
}

#[test]
fn idle_timeout_and_tracing_of_connection_managers_are_moved() {
    let tracing = "tracing: {operation_name: ingress, request_headers_for_tags: [x-a]}";
    let template = http("v2", &format!("idle_timeout: 5s, codec_type: auto, {tracing}"));
    let found = at("listeners", &template, "/filter_chains/0/filters/0/typed_config");
    assert_eq!(found["common_http_protocol_options"], json!({"idle_timeout": "5s"}));
    let tags = json!({"custom_tags": [{"tag": "x-a", "request_header": {"name": "x-a"}}]});
    assert_eq!(found["tracing"], tags);
}

#[test]
fn server_names_replace_sni_domains() {
    let template = "name: web\naddress: {socket_address: {address: 0.0.0.0, port_value: 8080}}\n\
                    filter_chains: [{filter_chain_match: {sni_domains: [a.b]}}]";
    let found = at("listeners", template, "/filter_chains/0/filter_chain_match");
    assert_eq!(found, json!({"server_names": ["a.b"]}));
}

#[test]
fn a_regex_becomes_one_of_re2() {
    let found = route("{match: {regex: '/a.*'}, route: {cluster: a}}");
    assert_eq!(found["match"], json!({"safe_regex": {"regex": "/a.*"}}));
}

#[test]
fn header_matchers_become_string_matchers() {
    let table = [
        ("exact_match: b", json!({"exact": "b"})),
        ("prefix_match: b", json!({"prefix": "b"})),
        ("suffixMatch: b", json!({"suffix": "b"})),
        ("contains_match: b", json!({"contains": "b"})),
        ("regex_match: b.*", json!({"safe_regex": {"regex": "b.*"}})),
        (
            "safe_regex_match: {google_re2: {}, regex: b.*}",
            json!({"safe_regex": {"google_re2": {}, "regex": "b.*"}}),
        ),
    ];
    for (matcher, wanted) in table {
        let found = header(&format!("{{name: a, {matcher}, invert_match: true}}"));
        assert_eq!(found, json!({"name": "a", "string_match": wanted, "invert_match": true}));
    }
    let present = header("{name: a, present_match: true}");
    assert_eq!(present, json!({"name": "a", "present_match": true}));
}

#[test]
fn parameter_matchers_become_string_matchers() {
    let table = [
        ("value: b", json!({"name": "a", "string_match": {"exact": "b"}})),
        ("value: b.*, regex: true", json!({"name": "a", "string_match": {"safe_regex": {"regex": "b.*"}}})),
        ("regex: false", json!({"name": "a", "present_match": true})),
        ("string_match: {prefix: b}", json!({"name": "a", "string_match": {"prefix": "b"}})),
    ];
    for (matcher, wanted) in table {
        let parameter = format!("query_parameters: [{{name: a, {matcher}}}]");
        let found = route(&format!("{{match: {{prefix: /, {parameter}}}, route: {{cluster: a}}}}"));
        assert_eq!(found["match"]["query_parameters"][0], wanted);
    }
}

#[test]
fn host_rewrites_and_mirrors_are_renamed() {
    let found = route(
        "{match: {prefix: /}, route: {cluster: a, host_rewrite: b, request_mirror_policy: {cluster: c}}}",
    );
    let wanted = json!({
        "cluster": "a", "host_rewrite_literal": "b", "request_mirror_policies": [{"cluster": "c"}],
    });
    assert_eq!(found["route"], wanted);
    let found = route("{match: {prefix: /}, route: {cluster: a, auto_host_rewrite_header: x-b}}");
    assert_eq!(found["route"], json!({"cluster": "a", "host_rewrite_header": "x-b"}));
}

#[test]
fn totals_that_are_the_sum_of_the_weights_are_left_out() {
    let weighted = |total| {
        let clusters = "clusters: [{name: a, weight: 50}, {name: b, weight: 50}]";
        let action = format!("weighted_clusters: {{total_weight: {total}, {clusters}}}");
        route(&format!("{{match: {{prefix: /}}, route: {{{action}}}}}"))["route"]["weighted_clusters"].clone()
    };
    assert_eq!(weighted(100)["total_weight"], Value::Null);
    assert_eq!(weighted(90)["total_weight"], 90);
}

#[test]
fn cors_origins_become_matchers() {
    let cors = "cors: {allow_origin: ['*', a.b], allow_origin_regex: ['.*c'], enabled: false}";
    let found = route(&format!("{{match: {{prefix: /}}, route: {{cluster: a, {cors}}}}}"));
    let wanted = json!({
        "allow_origin_string_match": [
            {"safe_regex": {"regex": ".*"}}, {"exact": "a.b"}, {"safe_regex": {"regex": ".*c"}},
        ],
        "filter_enabled": {"default_value": {}},
    });
    assert_eq!(found["route"]["cors"], wanted);
}

#[test]
fn virtual_clusters_match_headers() {
    let template = "name: web\nvirtual_hosts: [{name: a, domains: ['*'], \
                    virtual_clusters: [{name: b, pattern: '/b.*', method: GET}]}]";
    let found = at("routes", template, "/virtual_hosts/0/virtual_clusters/0/headers");
    let wanted = json!([
        {"name": ":path", "string_match": {"safe_regex": {"regex": "/b.*"}}},
        {"name": ":method", "string_match": {"exact": "GET"}},
    ]);
    assert_eq!(found, wanted);
}

#[test]
fn texts_of_other_matchers_become_ones_of_re2() {
    let cors = "cors: {allow_origin_string_match: [{regex: 'a.*'}]}";
    let found = route(&format!("{{match: {{prefix: /}}, route: {{cluster: a, {cors}}}}}"));
    let wanted = json!([{"safe_regex": {"regex": "a.*"}}]);
    assert_eq!(found["route"]["cors"]["allow_origin_string_match"], wanted);
}

#[test]
fn a_resource_may_name_its_type_in_either_version() {
    let ty = "'@type': type.googleapis.com/envoy.api.v2.Cluster";
    assert_eq!(at("clusters", &cluster(ty), "/name"), "web");
    let ty = "'@type': type.googleapis.com/envoy.config.cluster.v3.Cluster";
    assert_eq!(at("clusters", &cluster(ty), "/name"), "web");
}

#[test]
fn what_v3_cannot_express_is_refused_with_its_path() {
    let route = |fields: &str| routes(&format!("{{match: {{prefix: /}}, route: {{cluster: a, {fields}}}}}"));
    let table = [
        (
            "clusters",
            cluster("extension_protocol_options: {}"),
            "Cluster.extension_protocol_options: can't be rewritten to Envoy's API v3: use typed_extension_protocol_options",
        ),
        (
            "clusters",
            cluster("tls_context: {}, transport_socket: {name: tls}"),
            "Cluster.tls_context: is there together with transport_socket, which replaces it: leave out one of them",
        ),
        (
            "clusters",
            cluster("hosts: {}"),
            "Cluster.hosts: can't be rewritten to Envoy's API v3: it must be a list",
        ),
        (
            "clusters",
            cluster("load_balancing: {}"),
            "Cluster.load_balancing: envoy.config.cluster.v3.Cluster has no such field, and a rewrite of this field to Envoy's \
             API v3 is not known",
        ),
        (
            "routes",
            routes("{match: {regex: 'a(?!b)'}, route: {cluster: a}}"),
            "RouteConfiguration.virtual_hosts[0].routes[0].match.regex: can't be rewritten to Envoy's API v3: RE2 has no (?! in \
             expressions",
        ),
        (
            "routes",
            routes("{match: {prefix: /}, route: {cluster: a}, per_filter_config: {envoy.buffer: {}}}"),
            "RouteConfiguration.virtual_hosts[0].routes[0].per_filter_config: can't be rewritten to Envoy's API v3: use \
             typed_per_filter_config with an @type for each filter",
        ),
        (
            "routes",
            route("request_mirror_policy: {cluster: c, runtime_key: d}"),
            "RouteConfiguration.virtual_hosts[0].routes[0].route.request_mirror_policies[0].runtime_key: can't be rewritten to \
             Envoy's API v3: use runtime_fraction",
        ),
    ];
    for (list, template, wanted) in table {
        let found = error("v2", list, &template);
        assert_eq!(found.split_once(": ").unwrap().1, wanted);
    }
}

#[test]
fn filters_that_v3_cannot_express_are_refused_with_their_path() {
    let manager = "Listener.filter_chains[0].filters[0].typed_config";
    let table = [
        (
            listener("{name: envoy.client_ssl_auth, config: {}}"),
            "Listener.filter_chains[0].filters[0].config: can't be rewritten to Envoy's API v3: the type of \
             envoy.client_ssl_auth is not known here: use typed_config with its @type"
                .to_owned(),
        ),
        (
            http("v2", "tracing: {operation_name: EGRESS}"),
            format!(
                "{manager}.tracing.operation_name: can't be rewritten to Envoy's API v3: set traffic_direction: OUTBOUND in the \
                 listener"
            ),
        ),
        (
            http("v2", "idle_timeout: 1s, common_http_protocol_options: {idle_timeout: 2s}"),
            format!(
                "{manager}.idle_timeout: is there together with common_http_protocol_options.idle_timeout, which replaces it: \
                 leave out one of them"
            ),
        ),
        (
            http("v2", "http_filters: [{name: envoy.ext_authz, config: {use_alpha: true}}]"),
            format!(
                "{manager}.http_filters[0].typed_config.use_alpha: can't be rewritten to Envoy's API v3: the server must speak \
                 envoy.service.auth.v3"
            ),
        ),
        (
            http("v2", "http_filters: [{name: my.filter}]"),
            format!("{manager}.http_filters[0]: my.filter has no typed_config: add one with its @type"),
        ),
    ];
    for (template, wanted) in table {
        let found = error("v2", "listeners", &template);
        assert_eq!(found.split_once(": ").unwrap().1, wanted);
    }
}
