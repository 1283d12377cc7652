//! Objects of API B that l7mp's own API would take and then serve wrongly, or not at all. Each is refused at the field that is
//! wrong.
#![allow(clippy::unwrap_used, reason = "a test ends where an object can't be read")]

use portreeve_api::Violation;
use portreeve_api::b::form::{Address, EndpointForm, HeaderField, Source, VirtualServiceForm};
use portreeve_api::b::rule::Rule;
use portreeve_api::b::target::Target;
use portreeve_api::b::virtual_service::VirtualService;
use serde_json::{Value, json};

fn mk_object(kind: &str, spec: &Value) -> Value {
    json!({"apiVersion": "l7mp.io/v1", "kind": kind, "metadata": {"name": "x", "namespace": "default"}, "spec": spec})
}

fn mk_service(spec: &Value) -> VirtualService {
    VirtualService::parse(mk_object("VirtualService", spec)).unwrap().0
}

fn mk_target(spec: &Value) -> Target {
    Target::parse(mk_object("Target", spec)).unwrap().0
}

/// Returns a listener with this protocol, for the pods of one application.
fn mk_listener(protocol: &Value) -> Value {
    json!({"selector": {"matchLabels": {"app": "x"}}, "listener": {"spec": protocol, "rules": []}})
}

fn mk_form(spec: &Value) -> VirtualServiceForm {
    let object = mk_service(spec);
    assert_eq!(object.validate(), [], "{spec}");
    object.form().unwrap()
}

fn assert_refused(violations: &[Violation], (path, reason): (&str, &str), given: &Value) {
    let [only] = violations else { panic!("{given}: {violations:?}") };
    assert_eq!(only.path, path, "{given}: {}", only.message);
    assert!(only.message.contains(reason), "{given}: {}", only.message);
}

#[test]
fn protocols_of_listeners_with_settings_that_have_no_effect_are_refused() {
    for (protocol, path, reason) in [
        (json!({"UDP": {"port": 1, "connect": "10.0.0.1:2"}}), "UDP.connect", "must be an object"),
        (json!({"UDP": {"port": 1, "connect": {}}}), "UDP.connect", "needs an address or a port"),
        (json!({"UDP": {"port": 1, "connect": {"address": "fd00::1"}}}), "UDP.connect.address", "IPv4"),
        (json!({"TCP": {"port": 1, "connect": {"port": 2}}}), "TCP.connect", "no effect"),
        (json!({"HTTP": {"port": 1, "bind": {"port": 2}}}), "HTTP.bind", "no effect"),
    ] {
        let path = format!("spec.listener.spec.{path}");
        assert_refused(&mk_service(&mk_listener(&protocol)).validate(), (&path, reason), &protocol);
    }
}

#[test]
fn server_mode_is_read_in_both_spellings() {
    let udp = |mode: &str| json!({"port": 1, "connect": {"address": "10.0.0.1", "port": 2}, "options": {"mode": mode}});
    for (mode, waits) in [("server", true), ("singleton", false)] {
        let block = json!({"selector": {"matchService": "x"}, "udp": udp(mode)});
        for spec in [mk_listener(&json!({"UDP": udp(mode)})), block] {
            assert_eq!(mk_form(&spec).listener.server_mode, waits, "{spec}");
        }
    }
}

#[test]
fn clusters_that_reach_nothing_are_refused() {
    let to = |protocol: Value, address: &str| json!({"spec": protocol, "endpoints": [{"spec": {"address": address}}]});
    let udp = || json!({"UDP": {"port": 9}});
    let first = "endpoints[0].spec.address";
    for (cluster, path, reason) in [
        (to(udp(), "10.0.0.1:9"), first, "neither an IP address nor a DNS name"),
        (to(udp(), "http://x"), first, "neither an IP address nor a DNS name"),
        (to(udp(), "fd00::1"), first, "must be IPv4"),
        (to(udp(), "/run/x.sock"), first, "which only UnixDomainSocket reaches"),
        (
            json!({"spec": {"UnixDomainSocket": {}}, "endpoints": [{"selector": {"matchLabels": {"app": "x"}}}]}),
            "endpoints[0].selector",
            "no pod has a Unix domain socket",
        ),
        (json!({"spec": {"Sync": {"query": "/"}}}), "spec.Sync.query", "must name a part"),
        (
            json!({"spec": {"UDP": {"port": 9}}, "loadbalancer": {"policy": "ConsistentHash", "key": "/"}}),
            "loadbalancer.key",
            "must name a part",
        ),
    ] {
        let path = format!("spec.cluster.{path}");
        assert_refused(&mk_target(&json!({"cluster": cluster})).validate(), (&path, reason), &cluster);
    }
}

#[test]
fn addresses_of_endpoints_are_ip_addresses_names_and_files() {
    for (protocol, address, source) in [
        (json!({"UDP": {"port": 9}}), "10.0.0.1", Source::Ip([10, 0, 0, 1].into())),
        (json!({"TCP": {"port": 9}}), "::1", Source::Ip("::1".parse().unwrap())),
        (json!({"UDP": {"port": 9}}), "Hello_1.default.svc.", Source::Host("Hello_1.default.svc.".into())),
        (json!({"UnixDomainSocket": {}}), "x.sock", Source::File("x.sock".into())),
        (
            json!({"JSONSocket": {"transport": {"UnixDomainSocket": {}}}}),
            "x.sock",
            Source::File("x.sock".into()),
        ),
    ] {
        let target =
            mk_target(&json!({"cluster": {"spec": protocol, "endpoints": [{"spec": {"address": address}}]}}));
        assert_eq!(target.validate(), [], "{address}");
        let expected = EndpointForm::Static { name: None, source, weight: None };
        assert_eq!(target.form().unwrap().cluster.endpoints, [expected], "{address}");
    }
}

#[test]
fn file_of_a_transport_becomes_the_endpoint() {
    let under = json!({"JSONSocket": {"transport": {"UnixDomainSocket": {"filename": "/run/x"}}}});
    let cluster = mk_target(&json!({"cluster": {"spec": under}})).form().unwrap().cluster;
    let expected = EndpointForm::Static { name: None, source: Source::File("/run/x".into()), weight: None };
    assert_eq!(cluster.endpoints, [expected]);
    assert_eq!(cluster.socket.unwrap().transport.unwrap().filename, None);
}

#[test]
fn paths_of_queries_and_headers_get_their_slashes() {
    let sync = mk_target(&json!({"cluster": {"spec": {"Sync": {"query": "labels/x/"}}}})).form().unwrap();
    assert_eq!(sync.cluster.socket.unwrap().settings["query"], "/labels/x");
    let header = json!([{"path": {"from": "labels", "to": "/"}}]);
    let socket = json!({"JSONSocket": {"transport": {"UDP": {"port": 9}}, "header": header}});
    let socket = mk_target(&json!({"cluster": {"spec": socket}})).form().unwrap().cluster.socket.unwrap();
    assert_eq!(socket.header, [HeaderField::Path { from: "/labels".into(), to: "/".into() }]);
}

#[test]
fn bind_of_a_cluster_is_kept() {
    let target = mk_target(
        &json!({"cluster": {"spec": {"UDP": {"port": 9, "bind": {"address": "127.0.0.1", "port": 8}}}}}),
    );
    let bind = target.form().unwrap().cluster.socket.unwrap().bind;
    assert_eq!(bind, Some(Address { ip: Some([127, 0, 0, 1].into()), port: 8.try_into().ok() }));
}

#[test]
fn rules_whose_parts_have_no_effect_are_refused() {
    let rewrite = |entry: Value| json!({"rewrite": [entry], "route": {"destination": "x"}});
    for (action, path, reason) in [
        (rewrite(json!({"path": "/", "value": {}})), ".rewrite[0].path", "must name a part"),
        (rewrite(json!({"path": "/labels/x", "valueStr": 1})), ".rewrite[0].valueStr", "must be a text"),
    ] {
        let spec = json!({"selector": {"matchService": "x"}, "rulelist": "list", "rule": {"action": action}});
        let object = Rule::parse(mk_object("Rule", &spec)).unwrap().0;
        assert_refused(&object.validate(), (&format!("spec.rule.action{path}"), reason), &action);
    }
}

#[test]
fn selectors_that_select_no_pod_are_refused() {
    let label = |key: &str, value: &str| json!({"matchLabels": {key: value}});
    let many: serde_json::Map<_, _> = (0..65).map(|number| (format!("a{number}"), json!("b"))).collect();
    for (selector, path, reason) in [
        (label("app", "x y"), "[app]", "is no value of a label"),
        (label("a b", "x"), "[a b]", "is no key of a label"),
        (json!({"matchLabels": many}), "", "must have 0 to 64 entries"),
    ] {
        let path = format!("spec.selector.matchLabels{path}");
        let spec = json!({"selector": selector, "udp": {"port": 1}});
        assert_refused(&mk_service(&spec).validate(), (&path, reason), &selector);
    }
}

#[test]
fn empty_text_is_a_value_of_a_label() {
    let requirement = json!({"key": "app", "operator": "In", "values": [""]});
    for selector in [json!({"matchExpressions": [requirement]}), json!({"matchLabels": {"app": ""}})] {
        mk_form(&json!({"selector": selector, "udp": {"port": 1}}));
    }
}
