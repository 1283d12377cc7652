//! The exact text of each error of a resource. Those of templates are in go.rs, those of rewrites in v2.rs.

mod support;

use portreeve_api::c::envoy_config::{EnvoyResource, Serialization};
use portreeve_template::render;
use support::{descriptors, error, facts, http, listener, routes, spec};

const LISTENER: &str = "envoyResources.listeners[0] (web) for port TCP-8080: ";
const CLUSTER: &str = "envoyResources.clusters[0] (web) for cluster web-1: ";
const ROUTE: &str = "envoyResources.routes[0] (web): ";

fn serialized(serialization: Serialization, value: &str) -> String {
    let mut spec = spec("v3", "routes", value);
    spec.serialization = Some(serialization);
    match render(&spec, &facts(&[]), descriptors()) {
        Ok(rendered) => format!("made {}", rendered.routes[0].name),
        Err(error) => error.to_string(),
    }
}

/// Compares the errors of templates for API v3.
fn fail(list: &str, prefix: &str, table: &[(&str, &str)]) {
    for (template, wanted) in table {
        assert_eq!(error("v3", list, template), format!("{prefix}{wanted}"), "{template}");
    }
}

#[test]
fn serializations_are_read_as_they_are_named() {
    assert_eq!(serialized(Serialization::Json, "{\"name\": \"a\"}"), "made a");
    assert_eq!(serialized(Serialization::B64json, "eyJuYW1lIjogImEifQ==\n"), "made a");
    assert_eq!(serialized(Serialization::Yaml, "name: a"), "made a");
}

#[test]
fn texts_of_another_form_are_refused_with_their_line() {
    let table = [
        (
            Serialization::Json,
            "{\n\"name\": a}",
            "serialization is json, but the rendered text is not: expected value at line 2 column 9",
        ),
        (
            Serialization::Json,
            "{} {}",
            "serialization is json, but the rendered text is not: trailing characters at line 1 column 4",
        ),
        (
            Serialization::Json,
            "{\"name\": \"a\",\n \"name\": \"b\"}",
            "serialization is json, but the rendered text is not: the key \"name\" is there twice at line 2 column 7",
        ),
        (
            Serialization::B64json,
            "{}",
            "serialization is b64json, but the text is not base64: Invalid symbol 123, offset 0.",
        ),
        (
            Serialization::B64json,
            "e30K!",
            "serialization is b64json, but the text is not base64: Invalid symbol 33, offset 4.",
        ),
        (
            Serialization::B64json,
            "ew==",
            "serialization is b64json, but the rendered text is not: EOF while parsing an object at line 1 column 1",
        ),
        (
            Serialization::Yaml,
            "name: a\n  b: c",
            "serialization is yaml, but the rendered text is not: mapping values are not allowed in this context at line 2 column \
             4",
        ),
        (
            Serialization::Yaml,
            "name: a\nname: b",
            "serialization is yaml, but the rendered text is not: the key \"name\" is there twice",
        ),
        (
            Serialization::Yaml,
            "name: a\n---\nname: b",
            "serialization is yaml, but the rendered text is not: deserializing from YAML containing more than one document is \
             not supported",
        ),
    ];
    for (serialization, text, wanted) in table {
        assert_eq!(serialized(serialization, text), format!("{ROUTE}{wanted}"), "{text}");
    }
}

#[test]
fn errors_of_templates_name_the_template_and_the_line() {
    assert_eq!(
        error("v2", "listeners", "name: x\naddress: {{.Nope}}"),
        format!(
            "{LISTENER}line 2: there is no field Nope in a record of ClusterWeight, Clusters, Port, PortName, Protocol, \
             ServiceName, TotalWeight"
        )
    );
    assert_eq!(
        error("v2", "clusters", "name: x\n{{if}}"),
        "envoyResources.clusters[0] (web): line 2: unexpected }} in a command"
    );
}

#[test]
fn resources_have_names_that_no_other_has() {
    fail(
        "clusters",
        CLUSTER,
        &[
            ("{}", "name is missing or empty: give the resource a name"),
            ("name: ''", "name is missing or empty: give the resource a name"),
        ],
    );
    assert_eq!(
        error("v3", "endpoints", "endpoints: []"),
        "envoyResources.endpoints[0] (web) for cluster web-1: cluster_name is missing or empty: give the resource a name"
    );
    let fixed = spec("v3", "clusters", "name: fixed\nalt_stat_name: {{.ClusterName}}");
    let refused = render(&fixed, &facts(&["a", "b"]), descriptors()).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "envoyResources.clusters[0] (web) for cluster b: envoyResources.clusters[0] made a different resource of the name fixed: \
         put {{.ClusterName}} or {{.PortName}} into the name"
    );
    let equal = spec("v3", "clusters", "name: fixed");
    assert_eq!(render(&equal, &facts(&["a", "b"]), descriptors()).unwrap().clusters.len(), 1);
}

#[test]
fn the_second_template_of_a_list_is_named_by_its_index() {
    let mut two = spec("v3", "routes", "name: a");
    let routes = two.envoy_resources.as_mut().unwrap().routes.as_mut().unwrap();
    routes.push(EnvoyResource { name: "other".to_owned(), value: "names: b".to_owned() });
    let refused = render(&two, &facts(&[]), descriptors()).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "envoyResources.routes[1] (other): RouteConfiguration.names: envoy.config.route.v3.RouteConfiguration has no such field"
    );
}

#[test]
fn fields_that_do_not_fit_are_refused_with_their_path() {
    fail(
        "clusters",
        CLUSTER,
        &[
            ("- a", "Cluster: must be an object, not a list"),
            ("a", "Cluster: must be an object, not a text"),
            ("name: 5", "Cluster.name: must be a text, not a number: put it in quotes"),
            ("name: true", "Cluster.name: must be a text, not a boolean: put it in quotes"),
            ("name: {}", "Cluster.name: must be a text, not an object"),
            ("name: a\nhealth_checks: {}", "Cluster.health_checks: must be a list, not an object"),
            (
                "name: a\ntyped_extension_protocol_options: []",
                "Cluster.typed_extension_protocol_options: must be an object, not a list",
            ),
            ("name: a\nload_assignment: b", "Cluster.load_assignment: must be an object, not a text"),
            (
                "name: a\nconnectTimeout: 1s\nconnect_timeout: 2s",
                "Cluster.connect_timeout: is there twice, once in camel case",
            ),
            (
                "name: a\nlb_policy: BEST",
                "Cluster.lb_policy: BEST is not one of ROUND_ROBIN, LEAST_REQUEST, RING_HASH, RANDOM, MAGLEV, CLUSTER_PROVIDED, \
             LOAD_BALANCING_POLICY_CONFIG",
            ),
            (
                "name: a\ntype: EDS\ncluster_type: {name: b}",
                "Cluster: has type, cluster_type, of which it may have one",
            ),
            (
                "name: a\nmax_requests_per_connection: -1",
                "Cluster.max_requests_per_connection: out of range integral type conversion attempted",
            ),
        ],
    );
    let refused = error("v3", "clusters", "name: a\nconnect_timeout: 2 seconds");
    assert!(refused.starts_with(&format!("{CLUSTER}Cluster.connect_timeout: ")), "{refused}");
    let refused = error("v3", "runtime", "name: a\nlayer: []");
    assert!(refused.starts_with("envoyResources.runtime[0] (web): Runtime.layer: "), "{refused}");
}

#[test]
fn types_that_are_not_known_are_refused_with_those_that_are() {
    let filter = |ty: &str| listener(&format!("{{name: a, typed_config: {{'@type': {ty}}}}}"));
    let config = "Listener.filter_chains[0].filters[0].typed_config";
    let table = [
        (
            filter("type.googleapis.com/envoy.extensions.filters.network.mongo_proxy.v3.MongoProxy"),
            format!(
                "{config}: the type envoy.extensions.filters.network.mongo_proxy.v3.MongoProxy is not known here: known are, \
                 after envoy.extensions.filters.network., connection_limit, direct_response, echo, ext_authz, \
                 http_connection_manager, local_ratelimit, ratelimit, rbac, redis_proxy, tcp_proxy"
            ),
        ),
        (
            filter("type.googleapis.com/envoy.config.filter.network.tcp_proxy.v2.TcpProxy"),
            format!(
                "{config}: the type envoy.config.filter.network.tcp_proxy.v2.TcpProxy is one of Envoy's API v2, but envoyAPI is v3"
            ),
        ),
        (filter("envoy.api.v2.Cluster"), format!("{config}: envoy.api.v2.Cluster is not a type URL: it must begin with type.googleapis.com/")),
        (filter("5"), format!("{config}: must be a text, not a number")),
        (
            listener("{name: a, typed_config: {stat_prefix: b}}"),
            "Listener.filter_chains[0].filters[0]: a has no typed_config: add one with its @type".to_owned(),
        ),
        (
            listener("{name: envoy.filters.network.tcp_proxy}"),
            "Listener.filter_chains[0].filters[0]: envoy.filters.network.tcp_proxy has no typed_config: add one with its @type"
                .to_owned(),
        ),
        (
            listener("{name: envoy.tcp_proxy, config: {}}"),
            "Listener.filter_chains[0].filters[0]: envoy.tcp_proxy has no typed_config: add one with its @type".to_owned(),
        ),
    ];
    for (template, wanted) in table {
        assert_eq!(error("v3", "listeners", &template), format!("{LISTENER}{wanted}"));
    }
    fail(
        "clusters",
        CLUSTER,
        &[
            (
                "name: a\n'@type': type.googleapis.com/envoy.config.listener.v3.Listener",
                "Cluster: is a envoy.config.listener.v3.Listener, but this list has envoy.config.cluster.v3.Cluster",
            ),
            (
                "name: a\ntyped_extension_protocol_options: {b: {c: d}}",
                "Cluster.typed_extension_protocol_options[b]: @type is missing",
            ),
        ],
    );
}

#[test]
fn a_bare_router_of_api_v3_gets_its_type() {
    for name in ["envoy.router", "envoy.filters.http.router"] {
        let template = http("v3", &format!("http_filters: [{{name: {name}}}]"));
        let found = support::one("v3", "listeners", &template);
        let filter = &found["filter_chains"][0]["filters"][0]["typed_config"]["http_filters"][0];
        assert_eq!(filter["name"], "envoy.filters.http.router");
        let ty = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router";
        assert_eq!(filter["typed_config"]["@type"], ty);
    }
    let template = http("v3", "http_filters: [{name: envoy.filters.http.cors}]");
    let path = "Listener.filter_chains[0].filters[0].typed_config.http_filters[0]";
    let wanted =
        format!("{LISTENER}{path}: envoy.filters.http.cors has no typed_config: add one with its @type");
    assert_eq!(error("v3", "listeners", &template), wanted);
}

#[test]
fn fields_of_api_v2_are_refused_in_templates_for_v3() {
    fail(
        "clusters",
        CLUSTER,
        &[
            ("name: a\nhosts: []", "Cluster.hosts: envoy.config.cluster.v3.Cluster has no such field"),
            (
                "name: a\ntlsContext: {}",
                "Cluster.tls_context: envoy.config.cluster.v3.Cluster has no such field",
            ),
        ],
    );
    let regex = routes("{match: {regex: a}, route: {cluster: a}}");
    assert_eq!(
        error("v3", "routes", &regex),
        format!(
            "{ROUTE}RouteConfiguration.virtual_hosts[0].routes[0].match.regex: envoy.config.route.v3.RouteMatch has no such field"
        )
    );
}

#[test]
fn a_field_that_is_null_counts_as_missing() {
    let found = support::one("v3", "clusters", "name: a\nalt_stat_name:\nhealth_checks:");
    assert_eq!(found, serde_json::json!({"name": "a"}));
}
