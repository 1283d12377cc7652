//! Older spellings become valid objects, and what has no valid form is named.

use serde_json::{Value, json};

use super::{judge, mk_object, mk_route, mk_rule, mk_service, mk_target, with};
use crate::Violation;
use crate::b::convert::{Refusal, convert};
use crate::b::target::Target;
use crate::b::virtual_service::VirtualService;

/// Returns the spec of a converted object, which is valid, and the fields that were changed.
fn converted(document: Value) -> (Value, Vec<String>) {
    let converted = convert(document).unwrap_or_else(|refusal| panic!("{refusal:?}"));
    assert_eq!(judge(converted.object.clone()), (vec![], vec![]), "{}", converted.object);
    let field = |change: &String| change.split(": ").next().unwrap_or_default().to_owned();
    (converted.object["spec"].clone(), converted.changes.iter().map(field).collect())
}

/// The same for a spec.
fn spec(kind: &str, spec: Value) -> (Value, Vec<String>) {
    converted(mk_object(kind, spec))
}

/// Returns the fields of a spec that can't be converted.
fn broken(document: Value) -> Vec<Violation> {
    match convert(document) {
        Err(Refusal::Broken(broken)) => broken,
        other => panic!("{other:?}"),
    }
}

fn everyone() -> Value {
    json!({"matchLabels": {"app": "w"}})
}

#[test]
fn deployed_spelling_passes_through() {
    for object in [mk_service(), mk_target(), mk_route(), mk_rule()] {
        let converted = convert(object.clone()).unwrap();
        assert_eq!((converted.object, converted.changes, converted.warnings), (object, vec![], vec![]));
    }
}

#[test]
fn version_and_selector_of_the_document_move_to_their_places() {
    let document = json!({
        "apiVersion": "l7mp.io/MSM/v1", "kind": "VirtualService",
        "metadata": {"name": "v", "selector": {"serviceName": "s"}},
        "spec": {"udp": {"port": "8001,", "connect": {"address": "10.0.0.1", "port": 1}}},
    });
    let converted = convert(document).unwrap();
    assert_eq!(
        converted.object,
        json!({
            "apiVersion": "l7mp.io/v1", "kind": "VirtualService", "metadata": {"name": "v"},
            "spec": {"selector": {"serviceName": "s"}, "udp": {"port": 8001, "connect": {"address": "10.0.0.1", "port": 1}}},
        })
    );
    assert_eq!(
        converted.changes,
        [
            "apiVersion: l7mp.io/MSM/v1 is l7mp.io/v1 now",
            "metadata.selector: is spec.selector now",
            r#"spec.udp.port: the text "8001," is the number 8001 now"#,
        ]
    );
}

#[test]
fn numbers_are_read_from_texts_only_where_numbers_belong() {
    let rule = |value: Value| {
        json!([{
            "match": {"op": "test", "path": "/a", "value": {"port": "1,"}},
            "action": {"rewrite": [{"path": "/a", "value": {"port": "1,"}}], "route": {"destination": "d", "retry": value}},
        }])
    };
    let of = |retry: Value| json!({"selector": everyone(), "udp": {"port": 1}, "rules": rule(retry)});
    let (found, changes) = spec("VirtualService", of(json!({"num_retries": "3", "timeout": "200,"})));
    assert_eq!(found, of(json!({"num_retries": 3, "timeout": 200})));
    let fields = ["num_retries", "timeout"].map(|key| format!("spec.rules[0].action.route.retry.{key}"));
    assert_eq!(changes, fields);
}

#[test]
fn single_items_become_lists() {
    let route = json!({"destination": "d", "ingress": "t"});
    let given = json!({"selector": everyone(), "tcp": {"port": 1}, "rules": {"action": {"route": route}}});
    let (found, changes) = spec("VirtualService", given);
    assert_eq!(found["rules"], json!([{"action": {"route": {"destination": "d", "ingress": ["t"]}}}]));
    assert_eq!(changes, ["spec.rules", "spec.rules[0].action.route.ingress"]);
    let named = json!({"selector": everyone(), "tcp": {"port": 1}, "rules": "a-list"});
    assert_eq!(spec("VirtualService", named.clone()), (named, vec![]));
    let given =
        json!({"cluster": {"spec": {"UDP": {"port": 1}}, "endpoints": {"spec": {"address": "10.0.0.1"}}}});
    let (found, changes) = spec("Target", given);
    assert_eq!(found["cluster"]["endpoints"], json!([{"spec": {"address": "10.0.0.1"}}]));
    assert_eq!(changes, ["spec.cluster.endpoints"]);
}

#[test]
fn protocol_of_a_listener_becomes_a_block_beside_its_rules() {
    let transport = json!({"protocol": "UDP", "port": 2});
    for (listener, key, block) in [
        (json!({"protocol": "UDP", "port": 1}), "udp", json!({"port": 1})),
        (json!({"protocol": "websocket", "port": "1,"}), "websocket", json!({"port": 1})),
        (
            json!({"protocol": "JSONSocket", "transport": transport}),
            "jsonsocket",
            json!({"transport": {"UDP": {"port": 2}}}),
        ),
    ] {
        let options = json!({"removeOrphanSessions": true});
        let rules = json!([{"action": {"route": "r"}}]);
        let given = json!({"selector": everyone(), "listener": listener, "rules": rules, "options": options});
        let (found, _) = spec("VirtualService", given);
        assert_eq!(found, json!({"selector": everyone(), key: block, "rules": rules, "options": options}));
        let mut inside = listener.clone();
        (inside["rules"], inside["options"]) = (rules.clone(), options.clone());
        assert_eq!(spec("VirtualService", json!({"selector": everyone(), "listener": inside})).0, found);
    }
}

#[test]
fn sessions_outlive_a_converted_listener_as_they_did() {
    let of = |object: Value| {
        let object = convert(object).unwrap().object;
        VirtualService::parse(object).unwrap().0.form().unwrap().listener.options.remove_orphan_sessions
    };
    let later = json!({"selector": everyone(), "listener": {"protocol": "UDP", "port": 1}, "rules": []});
    assert!(!of(mk_object("VirtualService", later)), "that is the document's default");
    assert!(of(mk_service()), "that is what the deployed operator did");
}

#[test]
fn rules_beside_a_deployed_listener_move_into_it() {
    let given =
        json!({"selector": everyone(), "listener": {"spec": {"protocol": "TCP", "port": 1}}, "rules": []});
    let (found, changes) = spec("VirtualService", given);
    assert_eq!(found["listener"], json!({"spec": {"TCP": {"port": 1}}, "rules": []}));
    assert_eq!(changes, ["spec.listener.spec", "spec.rules"]);
}

#[test]
fn protocol_of_a_cluster_becomes_the_key_of_its_settings_wherever_the_cluster_is() {
    let old = json!({"spec": {"protocol": "JSONSocket", "transport": {"protocol": "UDP", "port": "1,"}}});
    let new = json!({"spec": {"JSONSocket": {"transport": {"UDP": {"port": 1}}}}});
    assert_eq!(spec("Target", json!({"cluster": old})).0["cluster"], new);
    let route = |cluster: &Value| json!({"destination": cluster, "ingress": [{"cluster": cluster}, "name"], "egress": [cluster]});
    assert_eq!(spec("Route", route(&old)).0, route(&new));
    let rule = |cluster: &Value| json!({"selector": everyone(), "rulelist": "l", "rule": {"action": {"route": route(cluster)}}});
    assert_eq!(spec("Rule", rule(&old)).0, rule(&new));
    let sync = json!({"cluster": {"spec": {"protocol": "Sync", "query": "/labels/a"}}});
    assert_eq!(spec("Target", sync).0, json!({"cluster": {"spec": {"Sync": {"query": "/labels/a"}}}}));
    let flat = json!({"destination": {"protocol": "UDP", "port": 1, "loadbalancer": {"policy": "Trivial"}}});
    let expected = json!({"spec": {"UDP": {"port": 1}}, "loadbalancer": {"policy": "Trivial"}});
    assert_eq!(spec("Route", flat).0["destination"], expected);
}

#[test]
fn linked_virtual_service_may_have_endpoints_and_a_balancer() {
    let balancer = json!({"policy": "ConsistentHash", "key": "/a"});
    let plain = json!({"selector": everyone(), "linkedVirtualService": "v"});
    assert_eq!(spec("Target", plain.clone()), (plain, vec![]));
    let expected = json!({"selector": everyone(), "serviceName": "v", "loadbalancer": balancer});
    for more in [json!({"loadbalancer": balancer}), json!({"cluster": {"loadbalancer": balancer}})] {
        let mut given = json!({"selector": everyone(), "linkedVirtualService": "v"});
        given.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let (found, _) = spec("Target", given);
        assert_eq!(found, expected);
        let form = Target::parse(mk_object("Target", found)).unwrap().0.form().unwrap();
        assert!(form.cluster.balancer.is_some());
    }
}

#[test]
fn what_has_no_valid_form_is_named_with_one() {
    let listener =
        |listener: Value| mk_object("VirtualService", json!({"selector": everyone(), "listener": listener}));
    let mut both = with(mk_service(), "/selector", everyone());
    both["metadata"]["selector"] = everyone();
    let mut version = mk_route();
    version["apiVersion"] = "l7mp.io/v2".into();
    let mut kind = mk_route();
    kind["kind"] = "RuleList".into();
    for (document, path, part) in [
        (listener(json!({"protocol": "SCTP", "port": 1})), "spec.listener.protocol", "must be one of"),
        (listener(json!({"protocol": "UDP", "port": "http"})), "spec.listener.port", "for example 8001"),
        (listener(json!({"protocol": "UDP"})), "spec.udp.port", "is required"),
        (both, "metadata.selector", "keep that alone"),
        (version, "apiVersion", "must be l7mp.io/v1 or l7mp.io/MSM/v1"),
        (kind, "kind", "must be VirtualService, Target, Route or Rule"),
        (json!({"kind": "Route"}), "apiVersion", "must be l7mp.io/v1"),
        (json!("text"), "apiVersion", "must be l7mp.io/v1"),
        (mk_object("Target", json!({"selector": everyone()})), "spec", "needs a cluster"),
        (with(mk_service(), "/rules", json!([])), "spec.rules", "spec.listener has rules too"),
        (
            mk_object("VirtualService", json!({"listener": {"protocol": "UDP", "port": 1}})),
            "spec.selector",
            "is required",
        ),
    ] {
        let found = broken(document.clone());
        let named = found.iter().any(|one| one.path == path && one.message.contains(part));
        assert!(named, "{document}: {found:?}");
    }
}

#[test]
fn objects_of_other_groups_are_foreign() {
    for (version, kind) in
        [("v1", "Service"), ("servicemesh.l7mp.io/v1", "VirtualService"), ("apps/v1", "DaemonSet")]
    {
        let document = json!({"apiVersion": version, "kind": kind, "metadata": {"name": "a"}});
        assert_eq!(convert(document), Err(Refusal::Foreign(format!("{kind} of {version}"))));
    }
}

#[test]
fn unknown_fields_stay_and_are_warned_of() {
    let mut route = mk_route();
    route["spec"]["colour"] = "red".into();
    let converted = convert(route.clone()).unwrap();
    assert_eq!(converted.object, route);
    assert_eq!(converted.warnings, ["spec.colour: unknown field, ignored"]);
}
