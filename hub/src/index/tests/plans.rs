//! Which node holds which Plan.

use super::*;

#[test]
fn plan_goes_to_exactly_the_nodes_with_a_matching_workload() {
    let (mut index, mut fleet) = (mk_index(), Fleet::default());
    index.apply_pod(mk_pod("g1", "app=gw", "n1"), 0);
    index.apply_pod(mk_pod("g2", "app=gw", "n2"), 0);
    index.apply_pod(mk_pod("x", "app=other", "n3"), 0);
    index.apply(&mk_vs("call", "app=gw", &["app=w"]));
    assert_eq!(fleet.follow(&mut index), ["n1", "n2"]);
    assert_eq!(fleet.plans("n1"), ["A/ns/call"]);
    assert_eq!(fleet.plans("n3"), [""; 0]);
    fleet.assert_complete(&index, &["n1", "n2", "n3"]);
}

#[test]
fn update_reaches_the_nodes_that_have_the_plan_and_an_equal_one_reaches_none() {
    let (mut index, mut fleet) = (mk_index(), Fleet::default());
    index.apply_pod(mk_pod("g1", "app=gw", "n1"), 0);
    index.apply(&mk_vs("call", "app=gw", &["app=w"]));
    fleet.follow(&mut index);
    let mut same = mk_vs("call", "app=gw", &["app=w"]);
    same.metadata.generation = Some(2);
    index.apply(&same);
    assert!(index.take().is_empty(), "an edit without effect moves nothing");
    index.apply(&mk_vs("call", "app=gw", &["app=w", "app=v"]));
    assert_eq!(fleet.follow(&mut index), ["n1"]);
    assert_eq!(fleet.names("n1", PlanType::Group), ["ns/app=v", "ns/app=w"]);
    index.apply(&mk_vs("call", "app=gw", &["app=v"]));
    fleet.follow(&mut index);
    assert_eq!(fleet.names("n1", PlanType::Group), ["ns/app=v"]);
    fleet.assert_complete(&index, &["n1"]);
}

#[test]
fn delete_takes_plan_and_groups_from_the_nodes() {
    let (mut index, mut fleet) = (mk_index(), Fleet::default());
    index.apply_pod(mk_pod("g1", "app=gw", "n1"), 0);
    index.apply(&mk_vs("call", "app=gw", &["app=w"]));
    fleet.follow(&mut index);
    index.delete(&key("call"));
    assert_eq!(fleet.follow(&mut index), ["n1"]);
    assert!(fleet.held["n1"].is_empty());
    index.delete(&key("call"));
    assert!(index.take().is_empty());
}

#[test]
fn pod_that_is_scheduled_later_brings_the_plan_with_it() {
    let (mut index, mut fleet) = (mk_index(), Fleet::default());
    index.apply(&mk_vs("call", "app=gw", &["app=w"]));
    index.apply_pod(mk_pod("g1", "app=gw", ""), 0);
    assert!(index.take().is_empty());
    index.apply_pod(mk_pod("g1", "app=gw", "n1"), 0);
    assert_eq!(fleet.follow(&mut index), ["n1"]);
    assert_eq!(fleet.plans("n1"), ["A/ns/call"]);
    assert_eq!(fleet.group("n1", "ns/app=w"), Some(vec![]), "an empty group is said");
}

#[test]
fn pod_that_changes_its_label_changes_its_plans() {
    let (mut index, mut fleet) = (mk_index(), Fleet::default());
    index.apply(&mk_vs("a", "app=a", &["app=w"]));
    index.apply(&mk_vs("b", "app=b", &["app=w"]));
    index.apply_pod(mk_pod("g", "app=a", "n1"), 0);
    fleet.follow(&mut index);
    index.apply_pod(mk_pod("g", "app=b", "n1"), 0);
    fleet.follow(&mut index);
    assert_eq!(fleet.plans("n1"), ["A/ns/a", "A/ns/b"], "the old one has its grace");
    index.tick(GRACE_MS);
    fleet.follow(&mut index);
    assert_eq!(fleet.plans("n1"), ["A/ns/b"]);
    fleet.assert_complete(&index, &["n1"]);
}

#[test]
fn pod_that_moves_and_changes_its_label_at_once_leaves_nothing_on_its_new_node() {
    let (mut index, mut fleet) = (mk_index(), Fleet::default());
    index.apply(&mk_vs("a", "app=a", &["app=w"]));
    index.apply(&mk_vs("b", "app=b", &["app=w"]));
    index.apply_pod(mk_pod("g", "app=a", "n1"), 0);
    index.apply_pod(mk_pod("g", "app=b", "n2"), 0);
    fleet.follow(&mut index);
    assert_eq!((fleet.plans("n1"), fleet.plans("n2")), (vec!["A/ns/a".into()], vec!["A/ns/b".into()]));
    index.tick(GRACE_MS);
    fleet.follow(&mut index);
    assert!(fleet.plans("n1").is_empty());
    fleet.assert_complete(&index, &["n1", "n2"]);
}

#[test]
fn plan_leaves_a_node_after_the_grace_and_not_before() {
    let (mut index, mut fleet) = (mk_index(), Fleet::default());
    index.apply_pod(mk_pod("g1", "app=gw", "n1"), 0);
    index.apply(&mk_vs("call", "app=gw", &["app=w"]));
    fleet.follow(&mut index);
    index.delete_pod(&"g1".into(), 500);
    assert_eq!(index.deadline(), Some(500 + GRACE_MS));
    index.tick(499 + GRACE_MS);
    assert!(index.take().is_empty());
    index.tick(500 + GRACE_MS);
    assert_eq!(fleet.follow(&mut index), ["n1"]);
    assert!(fleet.held["n1"].is_empty());
    assert_eq!(index.deadline(), None);
}

#[test]
fn workload_that_comes_back_inside_the_grace_moves_nothing() {
    let (mut index, mut fleet) = (mk_index(), Fleet::default());
    index.apply_pod(mk_pod("g1", "app=gw", "n1"), 0);
    index.apply(&mk_vs("call", "app=gw", &["app=w"]));
    fleet.follow(&mut index);
    index.delete_pod(&"g1".into(), 500);
    index.apply_pod(mk_pod("g2", "app=gw", "n1"), 600);
    assert_eq!(index.deadline(), None);
    index.tick(10 * GRACE_MS);
    assert!(index.take().is_empty());
    assert_eq!(fleet.plans("n1"), ["A/ns/call"]);
}

#[test]
fn plan_whose_workload_is_gone_and_is_deleted_within_the_grace_leaves_at_once() {
    let (mut index, mut fleet) = (mk_index(), Fleet::default());
    index.apply_pod(mk_pod("g1", "app=gw", "n1"), 0);
    index.apply(&mk_vs("call", "app=gw", &["app=w"]));
    index.delete_pod(&"g1".into(), 500);
    index.delete(&key("call"));
    fleet.follow(&mut index);
    assert!(fleet.held["n1"].is_empty());
    index.tick(10 * GRACE_MS);
    assert!(index.take().is_empty());
}

#[test]
fn changed_selector_moves_the_plan() {
    let (mut index, mut fleet) = (mk_index(), Fleet::default());
    index.apply_pod(mk_pod("a", "app=a", "n1"), 0);
    index.apply_pod(mk_pod("ab", "app=a,also=b", "n2"), 0);
    index.apply_pod(mk_pod("b", "also=b", "n3"), 0);
    index.apply(&mk_vs("call", "app=a", &["app=w"]));
    fleet.follow(&mut index);
    index.apply(&mk_vs("call", "also=b", &["app=w"]));
    fleet.follow(&mut index);
    let plans: Vec<_> = ["n1", "n2", "n3"].map(|n| fleet.plans(n).len()).into();
    assert_eq!(plans, [0, 1, 1]);
    fleet.assert_complete(&index, &["n1", "n2", "n3"]);
}

#[test]
fn finished_pod_is_no_workload() {
    let (mut index, mut fleet) = (mk_index(), Fleet::default());
    index.apply(&mk_vs("call", "app=gw", &["app=w"]));
    index.apply_pod(mk_pod("g1", "app=gw", "n1"), 0);
    index.apply_pod(Pod { finished: true, ..mk_pod("g1", "app=gw", "n1") }, 0);
    index.tick(GRACE_MS);
    fleet.follow(&mut index);
    assert!(fleet.plans("n1").is_empty());
}

#[test]
fn resets_remove_what_vanished() {
    let (mut index, mut fleet) = (mk_index(), Fleet::default());
    for name in ["keep", "vanish"] {
        index.attach(&format!("n-{name}").as_str().into());
        index.apply_pod(mk_pod(&format!("{name}-gw"), &format!("app={name}"), &format!("n-{name}")), 0);
        index.apply_pod(mk_pod(&format!("{name}-w"), "app=w", "n-w"), 0);
        index.apply(&mk_vs(name, &format!("app={name}"), &["app=w"]));
    }
    fleet.follow(&mut index);
    index.keep_objects(&KIND, None, &BTreeSet::from([key("keep")]), 0);
    fleet.follow(&mut index);
    assert!(fleet.held["n-vanish"].is_empty());
    index.reset_pods(
        None,
        vec![mk_pod("keep-w", "app=w", "n-w"), mk_pod("keep-gw", "app=keep", "n-keep")],
        0,
    );
    fleet.follow(&mut index);
    assert_eq!(fleet.group("n-keep", "ns/app=w").unwrap(), ["keep-w"]);
    index.reset_pods(None, Vec::new(), 0);
    index.tick(GRACE_MS);
    fleet.follow(&mut index);
    assert!(fleet.held.values().all(BTreeMap::is_empty), "{:?}", fleet.held);
}

#[test]
fn cluster_scope_matches_in_every_namespace() {
    let (mut index, mut fleet) = (attached(Index::new(SelectorScope::Cluster, GRACE_MS)), Fleet::default());
    index.apply_pod(Pod { namespace: "far".into(), ..mk_pod("g1", "app=gw", "n1") }, 0);
    index.apply_pod(Pod { namespace: "farther".into(), ..mk_pod("w1", "app=w", "n2") }, 0);
    index.apply(&mk_vs("call", "app=gw", &["app=w"]));
    fleet.follow(&mut index);
    assert_eq!(fleet.plans("n1"), ["A/ns/call"]);
    assert_eq!(fleet.group("n1", "*/app=w").unwrap(), ["w1"]);
}

#[test]
fn namespace_scope_matches_in_its_own_namespace_only() {
    let (mut index, mut fleet) = (mk_index(), Fleet::default());
    index.apply_pod(Pod { namespace: "far".into(), ..mk_pod("g1", "app=gw", "n1") }, 0);
    index.apply_pod(mk_pod("g2", "app=gw", "n2"), 0);
    index.apply_pod(Pod { namespace: "far".into(), ..mk_pod("w1", "app=w", "n2") }, 0);
    index.apply(&mk_vs("call", "app=gw", &["app=w"]));
    assert_eq!(fleet.follow(&mut index), ["n2"]);
    assert_eq!(fleet.group("n2", "ns/app=w"), Some(vec![]));
}

#[test]
fn pod_must_carry_all_labels_of_a_selector() {
    let (mut index, mut fleet) = (mk_index(), Fleet::default());
    index.apply_pod(mk_pod("one", "app=gw", "n1"), 0);
    index.apply_pod(mk_pod("both", "app=gw,tier=edge,more=yes", "n2"), 0);
    index.apply(&mk_vs("call", "app=gw,tier=edge", &["app=w"]));
    assert_eq!(fleet.follow(&mut index), ["n2"]);
}

#[test]
fn changes_are_kept_for_connected_agents_only() {
    let (mut index, node) = (mk_index(), Name::from("late"));
    index.apply(&mk_vs("call", "app=gw", &["app=w"]));
    index.apply_pod(mk_pod("g1", "app=gw", "late"), 0);
    assert!(index.take().is_empty());
    index.attach(&node);
    assert!(index.take().is_empty(), "an agent that connects is sent everything at once");
    assert_eq!(index.all_of(&node).upsert.len(), 3);
    index.apply_pod(mk_pod("w1", "app=w", "n2"), 0);
    assert_eq!(index.take().into_keys().collect::<Vec<_>>(), std::slice::from_ref(&node));
    index.apply_pod(mk_pod("w2", "app=w", "n2"), 0);
    index.detach(&node);
    assert!(index.take().is_empty());
    index.apply_pod(mk_pod("w3", "app=w", "n2"), 0);
    assert!(index.take().is_empty());
}

#[test]
fn gateways_part_and_meet_again_and_each_is_sent_what_is_its_own() {
    let (mut index, mut fleet) = (mk_index(), Fleet::default());
    for name in ["a", "b", "both"] {
        index.apply(&mk_vs(name, &format!("{name}=yes"), &[&format!("app={name}"), "app=w"]));
    }
    for (step, labels) in
        ["both=yes", "a=yes,both=yes", "a=yes,b=yes,both=yes", "b=yes", "a=yes,b=yes", "x=y"]
            .into_iter()
            .enumerate()
    {
        // The second gateway follows the first one step later.
        for (gateway, node) in [("g1", "n1"), ("g2", "n2")] {
            index.apply_pod(mk_pod(gateway, labels, node), 0);
            index.tick(GRACE_MS);
            index.apply_pod(mk_pod("w", &format!("app=w,step={step}"), "n3"), 0);
            fleet.follow(&mut index);
            fleet.assert_complete(&index, &["n1", "n2", "n3"]);
        }
        assert_eq!(fleet.plans("n1"), fleet.plans("n2"));
        assert_eq!(fleet.plans("n1").len(), labels.matches("=yes").count());
    }
}
