//! Resources of templates beside those of other accounts in one Envoy.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by it")]

mod support;

use portreeve_template::{Adopted, adopt, render};
use serde_json::{Value, json};
use support::{descriptors, facts, http, listener, routes, sample, spec};

fn named(name: &str) -> String {
    format!("C/epic-sample/web/{name}")
}

/// Adopts a sample without the lists that are refused.
fn adopted(name: &str) -> Adopted {
    let mut spec = sample(name);
    let resources = spec.envoy_resources.as_mut().unwrap();
    (resources.runtime, resources.secrets) = (None, None);
    let facts = facts(&["web-1", "web-2"]);
    let rendered = render(&spec, &facts, descriptors()).unwrap();
    adopt(&rendered, &facts, descriptors(), &named).unwrap()
}

fn json(ty: &str, body: &[u8]) -> Value {
    descriptors().json(ty, body).unwrap()
}

/// Every text of a value.
fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::String(text) => vec![text.clone()],
        Value::Array(values) => values.iter().flat_map(texts).collect(),
        Value::Object(fields) => fields.values().flat_map(texts).collect(),
        _ => Vec::new(),
    }
}

/// The error of adopting a template with one resource.
fn error(list: &str, value: &str) -> String {
    let mut facts = facts(&["web-1"]);
    facts.ports.truncate(1);
    let rendered = render(&spec("v3", list, value), &facts, descriptors()).unwrap();
    adopt(&rendered, &facts, descriptors(), &named).expect_err("it should be refused").to_string()
}

#[test]
fn all_names_of_clusters_are_those_in_the_proxy() {
    for (name, assignments) in [("v2", true), ("v3", true)] {
        let adopted = adopted(name);
        assert_eq!(adopted.listeners.len(), 2, "{name}");
        for listener in &adopted.listeners {
            let value = json("envoy.config.listener.v3.Listener", &listener.body);
            assert_eq!(value["name"], named(&listener.name));
            assert_eq!(value["freebind"], json!(true));
            let all = texts(&value);
            assert!(all.iter().any(|text| text == "C/epic-sample/web/web-1"), "{name}: {all:?}");
            assert!(!all.iter().any(|text| text == "web-1" || text == "web-2"), "{name}: {all:?}");
            assert_eq!(listener.sockets.len(), 1);
        }
        for cluster in &adopted.clusters {
            let value = json("envoy.config.cluster.v3.Cluster", &cluster.body);
            assert_eq!(value["name"], named(&cluster.name));
            assert!(cluster.eds_service_name.is_some(), "{name}");
            assert!(value["eds_cluster_config"].get("service_name").is_none(), "{value}");
            assert_eq!(cluster.assignment.is_some(), assignments, "{name}");
            if let Some(assignment) = &cluster.assignment {
                let value = json("envoy.config.endpoint.v3.ClusterLoadAssignment", assignment);
                assert_eq!(value["cluster_name"], named(&cluster.name));
            }
        }
    }
}

#[test]
fn route_configuration_is_put_into_its_listeners() {
    for listener in adopted("v3").listeners {
        let value = json("envoy.config.listener.v3.Listener", &listener.body);
        let manager = &value["filter_chains"][0]["filters"][0]["typed_config"];
        assert!(manager.get("rds").is_none(), "{manager}");
        let route = &manager["route_config"]["virtual_hosts"][0]["routes"][0]["route"];
        assert_eq!(route["cluster"], "C/epic-sample/web/web-1", "{manager}");
    }
}

#[test]
fn cluster_with_inline_endpoints_keeps_them() {
    let facts = facts(&["web-1"]);
    let mut spec = sample("inline");
    spec.envoy_resources.as_mut().unwrap().secrets = None;
    let rendered = render(&spec, &facts, descriptors()).unwrap();
    let adopted = adopt(&rendered, &facts, descriptors(), &named).unwrap();
    let [cluster] = adopted.clusters.as_slice() else { panic!("{adopted:?}") };
    let value = json("envoy.config.cluster.v3.Cluster", &cluster.body);
    assert!(cluster.eds_service_name.is_none() && cluster.assignment.is_none());
    assert!(texts(&value).contains(&"10.244.1.5".to_owned()), "{value}");
}

#[test]
fn what_reaches_beyond_the_load_balancer_is_refused() {
    let cluster = |fields: &str| format!("name: web-1\nconnect_timeout: 1s\n{fields}");
    let static_to = |address: &str| {
        let socket = format!("{{socket_address: {{address: '{address}', port_value: 80}}}}");
        cluster(&format!(
            "type: STATIC\nload_assignment: {{cluster_name: web-1, endpoints: [{{lb_endpoints: [{{endpoint: {{address: {socket}}}}}]}}]}}"
        ))
    };
    let tcp = |cluster: &str| {
        let ty = "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy";
        listener(&format!("{{name: t, typed_config: {{'@type': {ty}, stat_prefix: t, {cluster}}}}}"))
    };
    let cases = [
        (
            "listeners",
            tcp("cluster: C/epic-other/web/web-1"),
            "the template has no cluster C/epic-other/web/web-1",
        ),
        ("listeners", tcp("on_demand: {}"), "asks for resources"),
        (
            "listeners",
            http("v3", "rds: {route_config_name: far, config_source: {ads: {}}}"),
            "no route configuration far",
        ),
        (
            "listeners",
            listener("").replace("address: {socket", "transparent: true\naddress: {socket"),
            "transparent",
        ),
        ("routes", routes("{match: {prefix: /}, route: {cluster_header: x}}"), "cluster_header"),
        (
            "routes",
            routes("{match: {prefix: /}, route: {cluster: other}}"),
            "the template has no cluster other",
        ),
        ("clusters", cluster("type: ORIGINAL_DST\nlb_policy: CLUSTER_PROVIDED"), "ORIGINAL_DST"),
        (
            "clusters",
            cluster("type: EDS\nupstream_bind_config: {source_address: {address: 192.0.2.1, port_value: 0}}"),
            "upstream_bind_config",
        ),
        ("clusters", static_to("127.0.0.1"), "127.0.0.1 is an address of the gateway itself"),
        ("clusters", static_to("::ffff:127.0.0.1"), "address of the gateway itself"),
        ("clusters", static_to("169.254.169.254"), "address of the gateway itself"),
        ("clusters", static_to("LocalHost."), "LocalHost. is an address of the gateway itself"),
        ("clusters", static_to("::"), "address of the gateway itself"),
        (
            "endpoints",
            "cluster_name: nobody".to_owned(),
            "no cluster of type EDS asks for the endpoints of nobody",
        ),
        ("runtime", "name: r\nlayer: {a: 1}".to_owned(), "runtime values are of a whole Envoy"),
    ];
    for (list, value, wanted) in cases {
        let found = error(list, &value);
        assert!(found.contains(wanted), "{list} {value}\n{found}\nwanted {wanted}");
        assert!(found.starts_with("envoyResources."), "{found}");
    }
}

#[test]
fn clusters_connect_from_the_source_if_there_is_one() {
    let cluster = "name: web-1\nconnect_timeout: 1s";
    let mut facts = facts(&["web-1"]);
    for (source, expected) in [(None, json!(null)), (Some([203, 0, 113, 7].into()), json!("203.0.113.7"))] {
        facts.source = source;
        let rendered = render(&spec("v3", "clusters", cluster), &facts, descriptors()).unwrap();
        let adopted = adopt(&rendered, &facts, descriptors(), &named).unwrap();
        let value = json("envoy.config.cluster.v3.Cluster", &adopted.clusters[0].body);
        let bind = &value["upstream_bind_config"];
        assert_eq!(bind["source_address"]["address"], expected);
        assert_eq!(bind["freebind"] == true, source.is_some(), "{bind}");
    }
}
