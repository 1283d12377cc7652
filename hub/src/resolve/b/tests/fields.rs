//! Selection by the fields of pods: hub and agents know the same ones.

use portreeve_api::pod::{FIELDS, Interest, Pod};
use serde_json::{Value, json};

use super::{World, mk_object};
use crate::settings::Settings;

fn mk_pod() -> Pod {
    let pod = json!({
        "metadata": {"name": "w", "namespace": "ns", "uid": "u", "labels": {"app": "w"}},
        "spec": {"nodeName": "n", "serviceAccountName": "sa", "hostNetwork": true, "containers": []},
        "status": {"podIP": "10.0.0.1", "hostIP": "10.0.0.9", "phase": "Running"},
    });
    Pod::from_kube_with(serde_json::from_value(pod).unwrap(), &Interest::of_agents()).unwrap()
}

#[test]
fn hub_keeps_the_fields_that_agents_keep() {
    assert_eq!(crate::kinds::interest(&Settings::default()).fields, FIELDS.map(str::to_owned).into());
    assert_eq!(Interest::of_agents().fields, FIELDS.map(str::to_owned).into());
}

#[test]
fn proxies_and_endpoints_are_selected_by_fields() {
    let field = |key: &str, operator: &str, values: &[&str]| json!({"key": key, "operator": operator, "values": values});
    let rows: [(Value, bool); 12] = [
        (field("metadata.name", "In", &["w"]), true),
        (field("metadata.namespace", "In", &["other", "ns"]), true),
        (field("spec.nodeName", "In", &["n"]), true),
        (field("spec.nodeName", "In", &["m"]), false),
        (field("spec.nodeName", "NotIn", &["m"]), true),
        (field("spec.serviceAccountName", "In", &["sa"]), true),
        (field("spec.hostNetwork", "In", &["true"]), true),
        (field("status.podIP", "Exists", &[]), true),
        (field("status.podIP", "DoesNotexist", &[]), false),
        (field("status.hostIP", "In", &["10.0.0.9"]), true),
        (field("status.phase", "NotIn", &["Running"]), false),
        (field("status.phase", "In", &["Running"]), true),
    ];
    let attributes = mk_pod().attributes();
    for (requirement, expected) in rows {
        let selector = json!({"matchLabels": {"app": "w"}, "matchFields": [requirement]});
        let mut world = World::default();
        let cluster = json!({"spec": {"UDP": {"port": 1}}, "endpoints": [{"selector": selector}]});
        world.put(mk_object("Target", "t", json!({"selector": selector, "cluster": cluster})));
        let resolved = world.resolve("B/Target/default/t");
        assert_eq!(resolved.plan.workload.selector.matches(&attributes), expected, "proxies: {requirement}");
        assert_eq!(resolved.groups.len(), 1);
        assert_eq!(
            resolved.groups[0].requirements().matches(&attributes),
            expected,
            "endpoints: {requirement}"
        );
    }
}
