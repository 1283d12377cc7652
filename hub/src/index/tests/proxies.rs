//! NodeProxies: on which nodes they are and whose Plans they take.

use super::*;

const GW: &str = "app=gw";

fn all() -> Value {
    json!({"from": "All"})
}

fn on_two_nodes() -> (Index, Fleet) {
    let (mut index, mut fleet) = (mk_index(), Fleet::default());
    index.apply_node("n1".into(), mk_labels("edge=yes"), 0);
    index.apply_node("n2".into(), mk_labels("edge=no"), 0);
    index.apply(&mk_vs("call", GW, &["app=w"]));
    fleet.follow(&mut index);
    (index, fleet)
}

fn proxies(fleet: &Fleet, node: &str) -> Vec<String> {
    fleet.names(node, PlanType::NodeProxy)
}

#[test]
fn node_proxy_and_its_plans_go_to_the_nodes_with_its_labels() {
    let (mut index, mut fleet) = on_two_nodes();
    index.apply_proxy(&mk_proxy("gw", "edge=yes", GW, all()), 0);
    assert_eq!(fleet.follow(&mut index), ["n1"]);
    assert_eq!((proxies(&fleet, "n1"), fleet.plans("n1")), (vec!["gw".into()], vec!["A/ns/call".into()]));
    fleet.assert_complete(&index, &["n1", "n2"]);
}

#[test]
fn order_of_node_proxy_node_and_object_does_not_matter() {
    let orders = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
    for order in orders {
        let (mut index, mut fleet) = (mk_index(), Fleet::default());
        for step in order {
            match step {
                0 => index.apply_node("n1".into(), mk_labels("edge=yes"), 0),
                1 => index.apply_proxy(&mk_proxy("gw", "edge=yes", GW, all()), 0),
                _ => index.apply(&mk_vs("call", GW, &["app=w"])),
            }
        }
        fleet.follow(&mut index);
        assert_eq!((proxies(&fleet, "n1").len(), fleet.plans("n1").len()), (1, 1), "{order:?}");
    }
}

#[test]
fn changed_node_selector_moves_the_node_proxy() {
    let (mut index, mut fleet) = on_two_nodes();
    index.apply_proxy(&mk_proxy("gw", "edge=yes", GW, all()), 0);
    fleet.follow(&mut index);
    index.apply_proxy(&mk_proxy("gw", "edge=no", GW, all()), 0);
    fleet.follow(&mut index);
    assert_eq!((proxies(&fleet, "n1"), proxies(&fleet, "n2")), (vec![], vec!["gw".to_string()]));
    assert_eq!(fleet.plans("n1"), ["A/ns/call"], "it has its grace");
    index.tick(GRACE_MS);
    fleet.follow(&mut index);
    assert!(fleet.held["n1"].is_empty());
    assert_eq!(fleet.plans("n2"), ["A/ns/call"]);
    fleet.assert_complete(&index, &["n1", "n2"]);
}

#[test]
fn node_that_changes_its_labels_or_goes_takes_its_proxies_along() {
    let (mut index, mut fleet) = on_two_nodes();
    index.apply_proxy(&mk_proxy("gw", "edge=yes", GW, all()), 0);
    index.apply_node("n2".into(), mk_labels("edge=yes"), 0);
    fleet.follow(&mut index);
    assert_eq!(proxies(&fleet, "n2"), ["gw"]);
    index.apply_node("n2".into(), mk_labels("edge=no"), 0);
    index.delete_node(&"n1".into(), 0);
    index.tick(GRACE_MS);
    fleet.follow(&mut index);
    assert!(fleet.held.values().all(BTreeMap::is_empty), "{:?}", fleet.held);
}

#[test]
fn equal_node_proxy_sends_nothing_and_starts_no_grace() {
    let (mut index, _) = on_two_nodes();
    index.apply_proxy(&mk_proxy("gw", "edge=yes", GW, all()), 0);
    index.take();
    index.apply_proxy(&mk_proxy("gw", "edge=yes", GW, all()), 0);
    assert!(index.take().is_empty());
    assert_eq!(index.deadline(), None);
}

#[test]
fn changed_settings_reach_the_nodes_and_leave_the_plans_alone() {
    let (mut index, mut fleet) = on_two_nodes();
    index.apply_proxy(&mk_proxy("gw", "edge=yes", GW, all()), 0);
    fleet.follow(&mut index);
    let mut changed = mk_proxy("gw", "edge=yes", GW, all());
    changed.spec.envoy.concurrency = 4;
    index.apply_proxy(&changed, 0);
    let sent = taken(&mut index);
    assert_eq!(sent.len(), 1);
    let types: Vec<_> = sent["n1"].upsert.iter().map(|(ty, _)| *ty).collect();
    assert_eq!((types, sent["n1"].remove.len()), (vec![PlanType::NodeProxy], 0));
    assert_eq!(index.deadline(), None);
}

#[test]
fn namespaces_that_are_no_longer_allowed_leave_after_the_grace() {
    let (mut index, mut fleet) = on_two_nodes();
    index.apply_proxy(&mk_proxy("gw", "edge=yes", GW, all()), 0);
    index.apply_proxy(&mk_proxy("gw", "edge=yes", GW, json!({"from": "List", "names": ["other"]})), 0);
    index.tick(GRACE_MS);
    fleet.follow(&mut index);
    assert!(fleet.plans("n1").is_empty());
    assert_eq!(proxies(&fleet, "n1"), ["gw"]);
}

#[test]
fn deleted_node_proxy_leaves_and_a_pod_keeps_the_plan_there() {
    let (mut index, mut fleet) = on_two_nodes();
    index.apply_proxy(&mk_proxy("gw", "", GW, all()), 0);
    index.apply_pod(mk_pod("g1", GW, "n1"), 0);
    fleet.follow(&mut index);
    index.delete_proxy(&"gw".into(), 0);
    index.tick(GRACE_MS);
    fleet.follow(&mut index);
    assert!(proxies(&fleet, "n1").is_empty());
    assert_eq!((fleet.plans("n1").len(), fleet.plans("n2").len()), (1, 0));
}

#[test]
fn resets_of_nodes_and_node_proxies_remove_what_vanished() {
    let (mut index, mut fleet) = on_two_nodes();
    index.apply_proxy(&mk_proxy("a", "", GW, all()), 0);
    index.apply_proxy(&mk_proxy("b", "", GW, all()), 0);
    reset_proxies(&mut index, &[mk_proxy("b", "", GW, all())], 0);
    index.reset_nodes(vec![("n2".into(), mk_labels("edge=no"))], 0);
    index.tick(GRACE_MS);
    fleet.follow(&mut index);
    assert!(fleet.held["n1"].is_empty());
    assert_eq!((proxies(&fleet, "n2"), fleet.plans("n2").len()), (vec!["b".to_string()], 1));
}
