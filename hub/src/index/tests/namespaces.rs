//! Namespaces: which of them a NodeProxy takes objects of, and what a change of their labels costs.

use super::*;

const GW: &str = "app=gw";
const NAME_LABEL: &str = "kubernetes.io/metadata.name";

fn selected(selector: Value) -> Value {
    json!({"from": "Selector", "selector": selector})
}

fn of_team() -> Value {
    selected(json!({"matchLabels": {"team": "red"}}))
}

/// A node with a NodeProxy, and a VirtualService of namespace `ns`.
fn mk_gateway(allowed: Value) -> (Index, Fleet) {
    let (mut index, mut fleet) = (mk_index(), Fleet::default());
    index.apply_node("n1".into(), mk_labels("edge=yes"), 0);
    index.apply_proxy(&mk_proxy("gw", "edge=yes", GW, allowed), 0);
    index.apply(&mk_vs("call", GW, &["app=w"]));
    fleet.follow(&mut index);
    (index, fleet)
}

/// The namespaces that the agent of `n1` is told to take.
fn told(fleet: &Fleet) -> Vec<String> {
    let sent = fleet.held["n1"][&(PlanType::NodeProxy, "gw".into())].body();
    let sent = plan::NodeProxy::decode(sent).unwrap();
    assert_eq!((sent.all_namespaces, sent.namespace_selector), (false, None));
    sent.allowed_namespaces
}

#[test]
fn lists_of_namespaces_need_no_namespace_and_their_labels_change_nothing() {
    let cases = [
        (json!({"from": "All"}), true),
        (json!({"from": "List", "names": ["ns", "other"]}), true),
        (json!({"from": "List", "names": ["other"]}), false),
    ];
    for (allowed, expected) in cases {
        let (mut index, mut fleet) = mk_gateway(allowed.clone());
        assert_eq!(fleet.plans("n1").len(), usize::from(expected), "{allowed}");
        index.apply_namespace(&"ns".into(), mk_labels("team=red"), 0);
        index.delete_namespace(&"ns".into(), 0);
        assert!(fleet.follow(&mut index).is_empty(), "{allowed}");
    }
}

#[test]
fn selectors_over_labels_mean_what_they_mean_in_kubernetes() {
    let expressions = |all: Value| json!({"matchExpressions": all});
    let one = |key: &str, operator: &str, values: &[&str]| json!({"matchExpressions": [{"key": key, "operator": operator, "values": values}]});
    let red_and = |operator: &str| json!({"matchLabels": {"team": "red"}, "matchExpressions": [{"key": "old", "operator": operator}]});
    let both = json!([
        {"key": "team", "operator": "In", "values": ["red"]}, {"key": "team", "operator": "NotIn", "values": ["blue"]},
    ]);
    // What is asked of a namespace with the labels team=red and stage= (empty), and of one with none.
    let table = [
        (json!({}), true, true),
        (json!({"matchLabels": {"team": "red"}}), true, false),
        (json!({"matchLabels": {"team": "blue"}}), false, false),
        (json!({"matchLabels": {"team": "red", "stage": ""}}), true, false),
        (json!({"matchLabels": {"team": "red", "more": ""}}), false, false),
        (json!({"matchLabels": {NAME_LABEL: "ns"}}), true, true),
        (json!({"matchLabels": {NAME_LABEL: "other"}}), false, false),
        (one("team", "In", &["blue", "red"]), true, false),
        (one("team", "In", &["blue"]), false, false),
        (one("stage", "In", &[""]), true, false),
        (one("team", "NotIn", &["blue"]), true, true),
        (one("team", "NotIn", &["blue", "red"]), false, true),
        (one("team", "Exists", &[]), true, false),
        (one("stage", "Exists", &[]), true, false),
        (one("team", "DoesNotExist", &[]), false, true),
        (one("more", "DoesNotExist", &[]), true, true),
        (red_and("DoesNotExist"), true, false),
        (red_and("Exists"), false, false),
        (expressions(both), true, false),
        // What makes no sense selects nothing.
        (one("team", "Gt", &["1"]), false, false),
        (one("team", "In", &[]), false, false),
        (one("no key", "DoesNotExist", &[]), false, false),
    ];
    for (selector, labelled, bare) in table {
        for (labels, expected) in [("team=red,stage=", labelled), ("", bare)] {
            let (mut index, mut fleet) = mk_gateway(selected(selector.clone()));
            let labels = mk_labels(&format!("{labels},{NAME_LABEL}=ns"));
            index.apply_namespace(&"ns".into(), labels.clone(), 0);
            fleet.follow(&mut index);
            let wanted = if expected { vec!["ns".to_owned()] } else { Vec::new() };
            assert_eq!(told(&fleet), wanted, "{selector} on {labels:?}");
            assert_eq!(fleet.plans("n1").len(), wanted.len(), "{selector} on {labels:?}");
            fleet.assert_complete(&index, &["n1"]);
        }
    }
}

#[test]
fn namespace_that_is_not_known_yet_is_not_allowed_by_any_selector() {
    let absent = json!({"matchExpressions": [{"key": "team", "operator": "DoesNotExist"}]});
    for selector in [json!({}), absent, json!({"matchLabels": {NAME_LABEL: "ns"}})] {
        let (_, fleet) = mk_gateway(selected(selector));
        assert_eq!((told(&fleet), fleet.plans("n1").len()), (vec![], 0));
    }
}

#[test]
fn label_opens_the_proxy_and_its_removal_closes_it_with_the_reason() {
    let (mut index, mut fleet) = mk_gateway(of_team());
    index.take_affected();
    let closed = |index: &Index| index.subject(&key("call")).unwrap().served.unwrap().closed;
    assert_eq!(closed(&index), [Name::from("gw")]);
    index.apply_namespace(&"ns".into(), mk_labels("team=red"), 0);
    assert_eq!(fleet.follow(&mut index), ["n1"]);
    assert_eq!((told(&fleet), fleet.plans("n1")), (vec!["ns".into()], vec!["A/ns/call".into()]));
    assert!(closed(&index).is_empty() && index.take_affected().contains(&key("call")));
    index.apply_namespace(&"ns".into(), mk_labels("team=blue"), 0);
    fleet.follow(&mut index);
    assert!(told(&fleet).is_empty(), "the agent closes it at once");
    assert_eq!(fleet.plans("n1"), ["A/ns/call"], "it has its grace");
    assert!(index.take_affected().contains(&key("call")));
    assert_eq!(closed(&index), [Name::from("gw")]);
    assert!(index.subject(&key("call")).unwrap().served.unwrap().nodes.is_empty());
    index.tick(GRACE_MS);
    fleet.follow(&mut index);
    assert!(fleet.plans("n1").is_empty());
    fleet.assert_complete(&index, &["n1"]);
}

#[test]
fn object_is_told_of_a_label_also_where_the_proxy_has_no_node() {
    let (mut index, _) = mk_gateway(of_team());
    index.delete_node(&"n1".into(), 0);
    index.take_affected();
    index.apply_namespace(&"ns".into(), mk_labels("team=red"), 0);
    assert!(index.take_affected().contains(&key("call")));
    index.apply_proxy(&mk_proxy("gw", "edge=yes", GW, selected(json!({"matchLabels": {"team": "blue"}}))), 0);
    assert!(index.take_affected().contains(&key("call")), "it is refused now");
    index.delete_proxy(&"gw".into(), 0);
    assert!(index.take_affected().contains(&key("call")), "nothing refuses it any more");
}

#[test]
fn order_of_namespace_node_proxy_and_object_does_not_matter() {
    for first in 0..4 {
        let (mut index, mut fleet) = (mk_index(), Fleet::default());
        for step in 0..4 {
            match (first + step) % 4 {
                0 => index.apply_node("n1".into(), mk_labels("edge=yes"), 0),
                1 => index.apply_proxy(&mk_proxy("gw", "edge=yes", GW, of_team()), 0),
                2 => index.apply_namespace(&"ns".into(), mk_labels("team=red"), 0),
                _ => index.apply(&mk_vs("call", GW, &["app=w"])),
            }
            if (first + step) % 2 == 0 {
                fleet.follow(&mut index);
            }
        }
        fleet.follow(&mut index);
        assert_eq!((told(&fleet), fleet.plans("n1").len()), (vec!["ns".into()], 1), "{first}");
    }
}

#[test]
fn reset_takes_away_what_vanished_and_sends_each_proxy_once() {
    let (mut index, mut fleet) = mk_gateway(of_team());
    let all = |names: &[&str]| names.iter().map(|name| (Name::from(*name), mk_labels("team=red"))).collect();
    index.reset_namespaces(all(&["ns", "a", "b"]), 0);
    fleet.follow(&mut index);
    assert_eq!(told(&fleet), ["a", "b", "ns"]);
    index.reset_namespaces(all(&["ns", "a", "b"]), 0);
    assert!(fleet.follow(&mut index).is_empty(), "the same list changes nothing");
    assert_eq!(index.deadline(), None);
    index.reset_namespaces(all(&["a", "c"]), 0);
    index.tick(GRACE_MS);
    fleet.follow(&mut index);
    assert_eq!((told(&fleet), fleet.plans("n1").len()), (vec!["a".into(), "c".into()], 0));
    assert_eq!(index.census().namespaces, 2);
}

#[test]
fn changed_label_costs_what_it_changes() {
    let mut index = mk_gateway(of_team()).0;
    for i in 0..500 {
        let mut other = mk_vs(&format!("v{i}"), GW, &["app=w"]);
        other.metadata.namespace = Some(format!("far-{i}"));
        index.apply(&other);
        index.apply_proxy(&mk_proxy(&format!("x{i}"), "edge=no", "app=other", of_team()), 0);
    }
    index.take();
    let mut cost = |labels: &str| {
        let before = index.visited();
        index.apply_namespace(&"ns".into(), mk_labels(labels), 0);
        (index.visited() - before, index.take().len())
    };
    assert_eq!(cost("stage=test"), (0, 0), "no selector asks for it");
    let (opened, nodes) = cost("team=red,stage=test");
    assert_eq!(nodes, 1);
    // Each NodeProxy with this selector is looked at; of the other namespaces' objects none.
    assert!(opened <= 520, "{opened} entries");
    assert_eq!(cost("team=red,stage=live").1, 0, "what is selected stays");
}
