//! Refused objects, with the field and the reason (C2, C7, C14, C32).

use std::fs;
use std::path::Path;

use portreeve_api::c::load_balancer::LoadBalancer;
use portreeve_api::c::refusal;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{broken_rules, judge, sample, schema, with};

/// A change of a sample, and the rule that it breaks.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    kind: String,
    at: String,
    value: Value,
    path: String,
    reason: String,
    /// Whether only the programs check the rule.
    #[serde(default)]
    hub: bool,
}

fn rows() -> Vec<Row> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/epic/refused.yaml");
    serde_yaml::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

/// Checks that an object breaks exactly one rule.
fn assert_refused(object: Value, path: &str, reason: &str) {
    let title = format!("{} {path} {reason}", object["kind"]);
    let judged = judge(object).unwrap();
    let found: Vec<_> = judged.violations.iter().map(|one| one.path.as_str()).collect();
    assert_eq!(found, [path], "{title}: {:?}", judged.violations);
    assert!(judged.violations[0].message.contains(reason), "{title}: {}", judged.violations[0].message);
}

#[test]
fn changes_that_break_a_rule_are_refused_with_field_and_reason() {
    let rows = rows();
    assert!(rows.len() > 50 && rows.iter().any(|row| row.hub));
    for row in rows {
        assert_refused(with(sample("e1.yaml", &row.kind), &row.at, row.value), &row.path, &row.reason);
    }
}

#[test]
fn texts_and_lists_that_are_too_long_are_refused() {
    let most = |number: usize| format!("must have at most {number} characters");
    for (kind, at, path, number) in [
        ("EPIC", "/spec/eds-image", "spec.eds-image", 1024),
        ("EPIC", "/spec/base/gue-ingress-nics/1", "spec.base.gue-ingress-nics[1]", 15),
        ("ServiceGroup", "/spec/envoy-image", "spec.envoy-image", 1024),
        ("LoadBalancer", "/spec/public-ports/2/name", "spec.public-ports[2].name", 63),
        ("LoadBalancer", "/spec/public-ports/2/appProtocol", "spec.public-ports[2].appProtocol", 253),
        ("LoadBalancer", "/spec/service-group", "spec.service-group", 253),
        ("LoadBalancer", "/spec/display-name", "spec.display-name", 253),
        ("RemoteEndpoint", "/spec/port/name", "spec.port.name", 63),
        ("RemoteEndpoint", "/spec/cluster", "spec.cluster", 1024),
        ("ServicePrefix", "/spec/multus-bridge", "spec.multus-bridge", 15),
    ] {
        let of = |length: usize| with(sample("e1.yaml", kind), at, json!("x".repeat(length)));
        assert_eq!(judge(of(number)).unwrap().violations, [], "{kind} {at}");
        assert_refused(of(number + 1), path, &most(number));
    }
    let spaced = |spaces: usize| {
        let pool = format!("192.168.77.2{}- 192.168.77.8", " ".repeat(spaces));
        with(sample("e1.yaml", "ServicePrefix"), "/spec/pool", json!(pool))
    };
    assert_eq!(judge(spaced(65)).unwrap().violations, []);
    assert_refused(spaced(66), "spec.pool", &most(91));
    let ports: Vec<_> = (0..1025).map(|at| json!({"port": at + 1})).collect();
    let object = with(sample("e1.yaml", "LoadBalancer"), "/spec/public-ports", json!(ports));
    assert_refused(object, "spec.public-ports", "must have 0 to 1024 entries");
}

#[test]
fn names_that_no_namespace_can_have_are_no_accounts() {
    for name in [&"a".repeat(59), "a.b"] {
        let object = with(sample("e1.yaml", "Account"), "/metadata/namespace", json!("epic"));
        let object = with(object, "/metadata/name", json!(name));
        assert!(broken_rules(&object, None).contains("at most 58 characters and no dot"), "{name}");
        assert_refused(object, "metadata.name", "at most 58 characters and no dot");
    }
}

#[test]
fn epic_has_one_name_and_stays() {
    let other = with(sample("e1.yaml", "EPIC"), "/metadata/name", json!("other"));
    assert!(broken_rules(&other, None).contains("the EPIC object's name must be"));
    assert!(refusal::epic_deletion().contains("can't be deleted"));
}

#[test]
fn endpoint_of_the_document_needs_its_load_balancer() {
    for (name, path) in [(json!(null), "metadata.labels"), (json!("x".repeat(254)), "spec.load-balancer")] {
        assert_refused(with(sample("document.yaml", "Endpoint"), "/spec/load-balancer", name), path, "");
    }
}

#[test]
fn fields_of_another_type_are_named() {
    for (kind, pointer, value, path) in [
        ("EPIC", "/spec", json!([]), "spec"),
        ("EPIC", "/spec/base", json!([]), "spec.base"),
        ("Account", "/spec/group-id", json!("1"), "spec.group-id"),
        ("ServiceGroup", "/spec/can-be-shared", json!("yes"), "spec.can-be-shared"),
        ("ServiceGroup", "/spec/envoy-template/envoyAPI", json!("v4"), "spec.envoy-template.envoyAPI"),
        (
            "ServiceGroup",
            "/spec/envoy-template/envoyResources",
            json!([]),
            "spec.envoy-template.envoyResources",
        ),
        (
            "ServiceGroup",
            "/spec/envoy-template/envoyResources/clusters/0/value",
            json!({}),
            "spec.envoy-template.envoyResources.clusters[0].value",
        ),
        ("LoadBalancer", "/spec/public-ports/0/targetPort", json!(true), "spec.public-ports[0].targetPort"),
        ("RemoteEndpoint", "/spec/port", json!(["http", 80]), "spec.port"),
        ("ServicePrefix", "/apiVersion", json!("egw.acnodal.io/v1"), "apiVersion"),
    ] {
        let found = judge(with(sample("e1.yaml", kind), pointer, value)).err().map(|error| error.path);
        assert_eq!(found.as_deref(), Some(path), "{kind} {pointer}");
    }
}

#[test]
fn ids_are_immutable_once_they_are_set() {
    let key = "AAECAwQFBgcICQoLDA0ODw==";
    for (kind, field, unset, set, other) in [
        ("Account", "group-id", json!(0), json!(1), json!(2)),
        ("LoadBalancer", "service-id", json!(0), json!(1), json!(2)),
        ("LoadBalancer", "tunnel-key", json!(""), json!(key), json!("AQECAwQFBgcICQoLDA0ODw==")),
    ] {
        let of = |value: &Value| with(sample("e1.yaml", kind), &format!("/spec/{field}"), value.clone());
        let message = format!("{field} can't change once it is set");
        let rules = schema(kind)["properties"]["spec"]["x-kubernetes-validations"].as_array().unwrap();
        let rule = rules.iter().find(|rule| rule["message"] == message.as_str()).unwrap();
        assert_eq!(rule["fieldPath"], format!(".{field}"));
        for (old, new, allowed) in [
            (&Value::Null, &set, true),
            (&unset, &set, true),
            (&unset, &Value::Null, true),
            (&Value::Null, &unset, true),
            (&set, &set, true),
            (&set, &other, false),
            (&set, &unset, false),
            (&set, &Value::Null, false),
        ] {
            let said = broken_rules(&of(new), Some(&of(old)));
            assert_eq!(!said.contains(&message), allowed, "{field}: {old} to {new}: {said:?}");
            assert_eq!(said.is_empty(), allowed, "{field}: {old} to {new}: {said:?}");
        }
    }
}

#[test]
fn load_balancer_with_upstream_clusters_is_not_deleted() {
    let of = |clusters: Value| {
        let object = with(sample("e1.yaml", "LoadBalancer"), "/spec/upstream-clusters", clusters);
        LoadBalancer::parse(object).unwrap().0.deletion_refusal()
    };
    assert_eq!(
        of(json!(["a", "b"])).as_deref(),
        Some("LB epic-sample/sample-web has upstream clusters, can't delete: [a b]")
    );
    assert_eq!((of(json!([])), of(json!(null))), (None, None));
}

#[test]
fn stored_object_that_lacks_a_later_rule_has_a_form() {
    for (kind, pointer) in [("LoadBalancer", "/metadata/labels"), ("RemoteEndpoint", "/metadata/labels")] {
        let judged = judge(with(sample("e1.yaml", kind), pointer, Value::Null)).unwrap();
        assert_eq!((judged.violations.len(), judged.reasons), (1, vec![]), "{kind}");
    }
}
