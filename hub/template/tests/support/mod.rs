//! Facts, samples and templates for the tests.
#![allow(dead_code, reason = "each test program uses some of it")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by it")]

use std::sync::LazyLock;

use portreeve_api::c::envoy_config::{EnvoyConfigSpec, EnvoyResource, EnvoyResources, Serialization};
use portreeve_template::{Cluster, Descriptors, Endpoint, Facts, Port, Rendered, render};
use serde_json::Value;

static DESCRIPTORS: LazyLock<Descriptors> = LazyLock::new(|| Descriptors::built_in().unwrap());

pub fn descriptors() -> &'static Descriptors {
    &DESCRIPTORS
}

pub fn port(name: &str, port: u16, protocol: &str) -> Port {
    Port { name: name.to_owned(), port, protocol: protocol.to_owned() }
}

pub fn endpoint(address: &str, port: Port) -> Endpoint {
    Endpoint { address: address.parse().unwrap(), node_address: "192.168.1.25".parse().unwrap(), port }
}

/// A LoadBalancer with TCP port 8080 and `tcp` port 8443. Each cluster has two endpoints.
pub fn facts(clusters: &[&str]) -> Facts {
    let endpoints = vec![
        endpoint("10.244.1.5", port("http", 8080, "TCP")),
        endpoint("10.244.1.6", port("http", 8080, "tcp")),
    ];
    let cluster = |name: &&str| Cluster { name: (*name).to_owned(), endpoints: endpoints.clone() };
    Facts {
        service_name: "sample-acnodal".to_owned(),
        source: None,
        public_address: "192.168.77.2".parse().unwrap(),
        ports: vec![port("http", 8080, "TCP"), port("https", 8443, "tcp")],
        clusters: clusters.iter().map(cluster).collect(),
    }
}

/// A template among the samples.
pub fn sample(name: &str) -> EnvoyConfigSpec {
    let path = format!("{}/tests/samples/{name}.yaml", env!("CARGO_MANIFEST_DIR"));
    serde_yaml::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// A template in YAML, with one resource in one list.
pub fn spec(api: &str, list: &str, value: &str) -> EnvoyConfigSpec {
    let resource = Some(vec![EnvoyResource { name: "web".to_owned(), value: value.to_owned() }]);
    let mut resources = EnvoyResources::default();
    match list {
        "clusters" => resources.clusters = resource,
        "endpoints" => resources.endpoints = resource,
        "listeners" => resources.listeners = resource,
        "routes" => resources.routes = resource,
        "runtime" => resources.runtime = resource,
        other => panic!("no list {other}"),
    }
    EnvoyConfigSpec {
        node_id: Some("SET_BY_EPIC".to_owned()),
        serialization: Some(Serialization::Yaml),
        envoy_api: serde_json::from_value(api.into()).unwrap(),
        envoy_resources: Some(resources),
    }
}

pub fn try_one(api: &str, list: &str, value: &str) -> Result<Rendered, String> {
    let mut facts = facts(&["web-1"]);
    facts.ports.truncate(1);
    render(&spec(api, list, value), &facts, descriptors()).map_err(|error| error.to_string())
}

/// The only resource of a template, as JSON.
pub fn one(api: &str, list: &str, value: &str) -> Value {
    let rendered = try_one(api, list, value).unwrap_or_else(|error| panic!("{error}"));
    let lists =
        [rendered.clusters, rendered.endpoints, rendered.listeners, rendered.routes, rendered.runtimes];
    let [resource] = lists.concat().try_into().unwrap();
    descriptors().json(&resource.type_url, &resource.value).unwrap()
}

/// The error of a template.
pub fn error(api: &str, list: &str, value: &str) -> String {
    try_one(api, list, value).expect_err("it should be refused")
}

/// A listener of the LoadBalancer with these filters of network, in YAML's flow form.
pub fn listener(filters: &str) -> String {
    format!(
        "name: web\naddress: {{socket_address: {{address: 0.0.0.0, port_value: 8080}}}}\n\
         filter_chains: [{{filters: [{filters}]}}]"
    )
}

/// A listener with an HTTP connection manager of these further fields.
pub fn http(api: &str, fields: &str) -> String {
    let ty = match api {
        "v2" => "envoy.config.filter.network.http_connection_manager.v2.HttpConnectionManager",
        _ => "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
    };
    listener(&format!(
        "{{name: http, typed_config: {{'@type': type.googleapis.com/{ty}, stat_prefix: web, {fields}}}}}"
    ))
}

/// A route configuration of one virtual host with these routes.
pub fn routes(routes: &str) -> String {
    format!("name: web\nvirtual_hosts: [{{name: all, domains: ['*'], routes: [{routes}]}}]")
}
