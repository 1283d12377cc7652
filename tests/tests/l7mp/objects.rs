//! Small desired states.

use portreeve_agent_core::translate::l7mp::objects::{
    Cluster, Endpoint, Endpoints, Hop, Insertion, Listener, Retry, Route, Rule, Rules, Spec,
};
use portreeve_l7mp::{ClusterEntry, Desired};
use portreeve_xds::Version;
use serde::Serialize;
use serde_json::{Value, json};

/// Returns the version of a body.
fn version(body: &impl Serialize) -> Version {
    Version::of(&serde_json::to_vec(body).unwrap_or_default())
}

fn object(spec: Value) -> Spec {
    match spec {
        Value::Object(spec) => spec,
        _ => Spec::new(),
    }
}

/// Adds a cluster with endpoints.
pub fn put_cluster(desired: &mut Desired, name: &str, spec: Value, addresses: &[&str]) {
    let cluster = Cluster { spec: object(spec), loadbalancer: None };
    let endpoints = addresses.iter().map(|&at| Endpoint { address: at.to_owned(), weight: None }).collect();
    let endpoints = Endpoints { endpoints };
    let (version, endpoints_version) = (version(&cluster), version(&endpoints));
    let (cluster, endpoints) = (cluster.into(), endpoints.into());
    desired.clusters.insert(name.into(), ClusterEntry { version, cluster, endpoints_version, endpoints });
}

/// Adds a listener whose sessions end with it.
pub fn put_listener(desired: &mut Desired, name: &str, spec: Value, rules: Vec<Rule>) {
    let spec = object(spec);
    let listener = Listener { spec, track: None, rules: Rules::These(rules), ends_sessions: true };
    desired.listeners.insert(name.into(), (version(&listener), listener.into()));
}

/// Adds a rule to a list of the proxy's own configuration.
pub fn put_insertion(desired: &mut Desired, name: &str, list: &str, rule: Rule) {
    let insertion = Insertion { list: list.into(), position: 0, rule };
    desired.insertions.insert(name.into(), (version(&insertion), insertion.into()));
}

/// A rule that sends every session to a cluster resource, with many retries.
pub fn to(cluster: &str) -> Rule {
    retried(cluster, 100)
}

/// A rule that sends every session to a cluster resource, with this number of retries every 200 ms.
pub fn retried(cluster: &str, num_retries: u32) -> Rule {
    let retry = Retry { retry_on: "always".into(), num_retries, timeout: 200 };
    let destination = Hop::Cluster(cluster.into());
    let route = Route { destination, ingress: Vec::new(), egress: Vec::new(), retry };
    Rule { route: Some(route), ..Rule::default() }
}

/// The spec of a UDP listener or cluster.
pub fn udp(port: u16) -> Value {
    json!({"protocol": "UDP", "port": port})
}
