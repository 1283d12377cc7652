//! What templates of accounts may not have: foreign sockets, code, files. And what the hub must know of clusters.

mod support;

use portreeve_template::{Protocol, Socket, Upstream, render};
use support::{descriptors, error, facts, http, listener, one, port, spec, try_one};

const PREFIX: &str = "envoyResources.listeners[0] (web) for port TCP-8080: ";

fn at(address: &str) -> String {
    format!("name: web\naddress: {{{address}}}")
}

fn socket(address: &str, port: u16) -> String {
    at(&format!("socket_address: {{address: '{address}', port_value: {port}}}"))
}

/// The reason why a listener is refused.
fn refused(template: &str) -> String {
    let error = error("v3", "listeners", template);
    error.strip_prefix(PREFIX).unwrap_or(&error).to_owned()
}

#[test]
fn addresses_of_all_interfaces_become_the_public_one() {
    for address in ["0.0.0.0", "::", "192.168.77.2"] {
        let found = one("v3", "listeners", &socket(address, 8080));
        let wanted = serde_json::json!({"socket_address": {"address": "192.168.77.2", "port_value": 8080}});
        assert_eq!(found["address"], wanted);
    }
}

#[test]
fn sockets_are_returned_with_their_listeners() {
    let template = format!(
        "{}\nadditional_addresses: [{{address: {{socket_address: {{address: '::', port_value: 53, protocol: udp}}}}}}]",
        socket("0.0.0.0", 8080)
    );
    let mut facts = facts(&["web-1"]);
    facts.ports = vec![port("", 8080, ""), port("", 53, "Udp")];
    let mut template = spec("v3", "listeners", &template);
    facts.clusters.truncate(1);
    let rendered = render(&template, &facts, descriptors()).unwrap();
    let socket =
        |port, protocol| Socket { address: facts.public_address, port, protocol, listener: "web".to_owned() };
    assert_eq!(rendered.sockets, [socket(8080, Protocol::Tcp), socket(53, Protocol::Udp)]);
    assert_eq!(rendered.listeners.len(), 1, "both ports make the same listener");
    template.envoy_resources = None;
    assert!(render(&template, &facts, descriptors()).unwrap().sockets.is_empty());
}

#[test]
fn other_sockets_are_refused() {
    let none = "a listener of an account needs a socket_address with an IP address and a port_value";
    let table = [
        (
            socket("192.168.77.3", 8080),
            "Listener.address.socket_address: 192.168.77.3 is not the LoadBalancer's address: use 0.0.0.0, which becomes \
             192.168.77.2"
                .to_owned(),
        ),
        (
            socket("127.0.0.1", 8080),
            "Listener.address.socket_address: 127.0.0.1 is not the LoadBalancer's address: use 0.0.0.0, which becomes 192.168.77.2"
                .to_owned(),
        ),
        (
            socket("0.0.0.0", 9901),
            "Listener.address.socket_address: TCP port 9901 is not a public port of the LoadBalancer: use {{.Port}} and \
             {{.Protocol}}"
                .to_owned(),
        ),
        (
            at("socket_address: {address: 0.0.0.0, port_value: 8080, protocol: UDP}"),
            "Listener.address.socket_address: UDP port 8080 is not a public port of the LoadBalancer: use {{.Port}} and \
             {{.Protocol}}"
                .to_owned(),
        ),
        (socket("localhost", 8080), format!("Listener.address: {none}")),
        (socket("0.0.0.0", 0), format!("Listener.address: {none}")),
        (at("socket_address: {address: 0.0.0.0, named_port: http}"), format!("Listener.address: {none}")),
        (at("envoy_internal_address: {server_listener_name: a}"), format!("Listener.address: {none}")),
        ("name: web\napi_listener: {}".to_owned(), format!("Listener.address: {none}")),
        ("name: web\ninternal_listener: {}".to_owned(), format!("Listener.address: {none}")),
        (
            format!("{}\nadditional_addresses: [{{}}]", socket("0.0.0.0", 8080)),
            format!("Listener.additional_addresses[0].address: {none}"),
        ),
        (
            format!(
                "{}\nadditional_addresses: [{{address: {{socket_address: {{address: '::', port_value: 8080}}}}}}]",
                socket("0.0.0.0", 8080)
            ),
            "Listener.additional_addresses[0].address: listener web has TCP port 8080 already".to_owned(),
        ),
    ];
    for (template, wanted) in table {
        assert_eq!(refused(&template), wanted, "{template}");
    }
}

#[test]
fn two_listeners_on_a_socket_are_refused() {
    let template = "name: '{{.PortName}}'\naddress: {socket_address: {address: 0.0.0.0, port_value: 8080}}";
    let error = render(&spec("v3", "listeners", template), &facts(&["web-1"]), descriptors()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "envoyResources.listeners[0] (web) for port tcp-8443: Listener.address: listener TCP-8080 has TCP port 8080 already"
    );
}

#[test]
fn extensions_that_run_code_or_reach_files_are_refused() {
    let table = [
        ("http.lua.v3.Lua, inline_code: x", "runs code"),
        ("http.lua.v3.LuaPerRoute", "runs code"),
        ("http.wasm.v3.Wasm", "runs code"),
        ("http.golang.v3alpha.Config", "runs code"),
        ("http.dynamic_modules.v3.DynamicModuleFilter", "runs code"),
        ("http.file_server.v3.FileServerConfig", "reads or writes files"),
        ("http.grpc_json_transcoder.v3.GrpcJsonTranscoder", "reads or writes files"),
        ("http.tap.v3.Tap", "reads or writes files"),
    ];
    let path = "Listener.filter_chains[0].filters[0].typed_config.http_filters[0].typed_config";
    for (config, what) in table {
        let ty = format!("'@type': type.googleapis.com/envoy.extensions.filters.{config}");
        let template = http("v3", &format!("http_filters: [{{name: a, typed_config: {{{ty}}}}}]"));
        let wanted = format!("{path}: not allowed in a template of an account: it {what}");
        assert_eq!(refused(&template), wanted);
    }
    let template = http("v2", "http_filters: [{name: envoy.lua, config: {inline_code: x}}]");
    let wanted = format!("{PREFIX}{path}: not allowed in a template of an account: it runs code");
    assert_eq!(error("v2", "listeners", &template), wanted);
    for hidden in ["udpa.type.v1.TypedStruct", "xds.type.v3.TypedStruct", "google.protobuf.Struct"] {
        let filter = format!("{{name: a, typed_config: {{'@type': type.googleapis.com/{hidden}}}}}");
        let wanted = "Listener.filter_chains[0].filters[0].typed_config: not allowed in a template of an account: it hides its \
                      content from these checks";
        assert_eq!(refused(&listener(&filter)), wanted);
    }
}

#[test]
fn fields_that_reach_files_and_the_environment_are_refused() {
    let manager = "Listener.filter_chains[0].filters[0].typed_config";
    let files = "reads or writes files";
    let table = [
        (
            http("v3", "local_reply_config: {body_format: {text_format_source: {filename: /etc/passwd}}}"),
            format!("{manager}.local_reply_config.body_format.text_format_source.filename"),
            files,
        ),
        (
            http(
                "v3",
                "local_reply_config: {body_format: {text_format_source: {environmentVariable: HOME}}}",
            ),
            format!("{manager}.local_reply_config.body_format.text_format_source.environment_variable"),
            "reads the Envoy's environment",
        ),
        (
            http("v3", "rds: {route_config_name: a, config_source: {path: /a}}"),
            format!("{manager}.rds.config_source.path"),
            files,
        ),
        (
            http("v3", "rds: {route_config_name: a, config_source: {path_config_source: {path: /a}}}"),
            format!("{manager}.rds.config_source.path_config_source"),
            files,
        ),
        (
            http(
                "v3",
                "access_log: [{name: a, typed_config: {'@type': type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog, path: /tmp/a}}]",
            ),
            format!("{manager}.access_log[0].typed_config.path"),
            files,
        ),
        (
            http("v3", "local_reply_config: {body_format: {text_format: 'a %ENVIRONMENT(HOME)%'}}"),
            format!("{manager}.local_reply_config.body_format.text_format"),
            "reads the Envoy's environment",
        ),
        (
            http("v3", "local_reply_config: {body_format: {json_format: {a: '%FILE_CONTENT(/a)%'}}}"),
            format!("{manager}.local_reply_config.body_format.json_format"),
            files,
        ),
        (at("pipe: {path: /a}"), "Listener.address.pipe".to_owned(), "opens a Unix socket of the node"),
    ];
    for (template, path, what) in table {
        assert_eq!(refused(&template), format!("{path}: not allowed in a template of an account: it {what}"));
    }
}

#[test]
fn clusters_reach_no_files_or_unix_sockets() {
    let certificate = "{certificate_chain: {filename: /a}}";
    let table = [
        (
            "health_checks: [{event_log_path: /a}]".to_owned(),
            "health_checks[0].event_log_path",
            "reads or writes files",
        ),
        (
            "load_assignment: {cluster_name: a, endpoints: [{lb_endpoints: [{endpoint: {address: {pipe: {path: /a}}}}]}]}".to_owned(),
            "load_assignment.endpoints[0].lb_endpoints[0].endpoint.address.pipe",
            "opens a Unix socket of the node",
        ),
        (
            format!("tls_context: {{common_tls_context: {{tls_certificates: [{certificate}]}}}}"),
            "transport_socket.typed_config.common_tls_context.tls_certificates[0].certificate_chain.filename",
            "reads or writes files",
        ),
    ];
    for (fields, path, what) in table {
        let found = error("v2", "clusters", &format!("name: a\n{fields}"));
        let wanted = format!("Cluster.{path}: not allowed in a template of an account: it {what}");
        assert_eq!(found.split_once(": ").unwrap().1, wanted);
    }
}

#[test]
fn resources_that_the_hub_does_not_serve_are_refused() {
    let manager = "Listener.filter_chains[0].filters[0].typed_config";
    let table = [
        (
            "http_filters: [{name: a, config_discovery: {}}]",
            "http_filters[0].config_discovery",
            "the filter's typed_config",
        ),
        ("scoped_routes: {name: a}", "scoped_routes", "a route_config"),
        ("route_config: {name: a, vhds: {}}", "route_config.vhds", "the virtual_hosts"),
    ];
    for (fields, path, instead) in table {
        let wanted = format!("{manager}.{path}: not served: put {instead} into the template");
        assert_eq!(refused(&http("v3", fields)), wanted);
    }
}

#[test]
fn clusters_tell_under_which_name_they_ask_for_endpoints() {
    let upstream = |name: &str, eds_service_name: &str, is_eds| Upstream {
        name: name.to_owned(),
        eds_service_name: eds_service_name.to_owned(),
        is_eds,
    };
    let table = [
        ("name: a\ntype: EDS", upstream("a", "a", true)),
        ("name: a\ntype: 3\neds_cluster_config: {serviceName: b}", upstream("a", "b", true)),
        ("name: a\ntype: STRICT_DNS", upstream("a", "a", false)),
        ("name: a", upstream("a", "a", false)),
    ];
    for (template, wanted) in table {
        let rendered = try_one("v3", "clusters", template).unwrap();
        assert_eq!(rendered.upstreams, [wanted], "{template}");
    }
}
