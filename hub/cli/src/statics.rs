//! A proxy's resources as one static configuration, which Envoy can run or validate without an agent. Entry point:
//! [`bootstrap`].

use std::collections::BTreeMap;

use portreeve_envoy::Envoy;
use serde_json::{Value, json};

/// One resource: its type, its name and its JSON.
pub type Printed = (Envoy, String, Value);

/// Returns the configuration of an Envoy with these resources in its file. Each cluster includes the endpoints of its
/// assignment.
pub fn bootstrap((node, proxy): (&str, &str), resources: &[Printed]) -> Value {
    let assignments: BTreeMap<&str, &Value> = of(resources, Envoy::Endpoint).collect();
    let clusters = of(resources, Envoy::Cluster).map(|(name, cluster)| {
        let mut cluster = cluster.clone();
        if let Some(fields) =
            cluster.as_object_mut().filter(|fields| fields.get("type") == Some(&json!("EDS")))
        {
            fields.remove("eds_cluster_config");
            fields.insert("type".into(), json!("STATIC"));
            let none = json!({"cluster_name": name});
            fields.insert("load_assignment".into(), assignments.get(name).map_or(none, |one| (*one).clone()));
        }
        cluster
    });
    let listeners = of(resources, Envoy::Listener).map(|(_, listener)| listener.clone());
    json!({
        "node": {"id": proxy, "cluster": node},
        "static_resources": {
            "listeners": listeners.collect::<Vec<_>>(),
            "clusters": clusters.collect::<Vec<_>>(),
        },
    })
}

fn of(resources: &[Printed], wanted: Envoy) -> impl Iterator<Item = (&str, &Value)> {
    let those = resources.iter().filter(move |(ty, _, _)| *ty == wanted);
    those.map(|(_, name, value)| (name.as_str(), value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clusters_hold_their_assignments_and_none_that_is_missing() {
        let eds = |name: &str| json!({"name": name, "type": "EDS", "eds_cluster_config": {"eds_config": {"ads": {}}}});
        let assignment = json!({"cluster_name": "a", "endpoints": [{"lb_endpoints": []}]});
        let resources = [
            (Envoy::Cluster, "a".to_owned(), eds("a")),
            (Envoy::Cluster, "b".to_owned(), eds("b")),
            (Envoy::Endpoint, "a".to_owned(), assignment.clone()),
            (Envoy::Listener, "l".to_owned(), json!({"name": "l"})),
        ];
        let written = bootstrap(("n1", "nodeproxy/gateway"), &resources);
        assert_eq!(
            written["static_resources"],
            json!({"listeners": [{"name": "l"}], "clusters": [
                {"name": "a", "type": "STATIC", "load_assignment": assignment},
                {"name": "b", "type": "STATIC", "load_assignment": {"cluster_name": "b"}},
            ]})
        );
    }
}
