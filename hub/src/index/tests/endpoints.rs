//! Groups of endpoints: their way through a pod's life, and who holds them.

use super::*;

const W: &str = "ns/app=w";

fn with_gateway(upstreams: &[&str]) -> (Index, Fleet) {
    let (mut index, mut fleet) = (mk_index(), Fleet::default());
    index.apply_pod(mk_pod("g1", "app=gw", "n1"), 0);
    index.apply(&mk_vs("call", "app=gw", upstreams));
    fleet.follow(&mut index);
    (index, fleet)
}

#[test]
fn endpoint_appears_when_ready_and_stays_while_it_terminates_and_then_vanishes() {
    let (mut index, mut fleet) = with_gateway(&["app=w"]);
    let ready = mk_pod("w1", "app=w", "n2");
    let steps = [
        (Some(Pod { ready: false, ips: Vec::new(), ..ready.clone() }), vec![]),
        (Some(Pod { ready: false, ..ready.clone() }), vec![]),
        (Some(ready.clone()), vec!["w1"]),
        (Some(Pod { ready: false, ..ready.clone() }), vec![]),
        (Some(ready.clone()), vec!["w1"]),
        (Some(Pod { terminating_ms: 50, ..ready.clone() }), vec!["-w1"]),
        (None, vec![]),
    ];
    for (at, (pod, expected)) in steps.into_iter().enumerate() {
        match pod {
            Some(pod) => index.apply_pod(pod, 0),
            None => index.delete_pod(&"w1".into(), 0),
        }
        fleet.follow(&mut index);
        assert_eq!(fleet.group("n1", W).unwrap(), expected, "step {at}");
        fleet.assert_complete(&index, &["n1", "n2"]);
    }
}

#[test]
fn last_endpoint_leaves_and_the_group_stays() {
    let (mut index, mut fleet) = with_gateway(&["app=w"]);
    index.apply_pod(mk_pod("w1", "app=w", "n2"), 0);
    fleet.follow(&mut index);
    index.delete_pod(&"w1".into(), 0);
    let changes = taken(&mut index);
    let n1 = &changes["n1"];
    assert!(n1.remove.is_empty());
    let moved: Vec<_> = n1.upsert.iter().map(|(ty, r)| (*ty, r.name().to_string())).collect();
    assert_eq!(moved, [(PlanType::Slice, format!("{W}#1.0"))]);
    assert_eq!(index.all_of(&"n1".into()).upsert.len(), 3, "Plan, Group and Slice");
}

#[test]
fn endpoints_go_to_the_nodes_that_use_the_group_and_to_no_other() {
    let (mut index, mut fleet) = with_gateway(&["app=w"]);
    index.apply_pod(mk_pod("other", "app=elsewhere", "n3"), 0);
    index.apply(&mk_vs("other", "app=elsewhere", &["app=v"]));
    fleet.follow(&mut index);
    index.apply_pod(mk_pod("w1", "app=w", "n2"), 0);
    assert_eq!(fleet.follow(&mut index), ["n1"]);
    index.apply_pod(mk_pod("v1", "app=v", "n1"), 0);
    assert_eq!(fleet.follow(&mut index), ["n3"]);
}

#[test]
fn pod_event_without_effect_sends_nothing() {
    let (mut index, _) = with_gateway(&["app=w"]);
    index.apply_pod(mk_pod("w1", "app=w", "n2"), 0);
    index.take();
    index.apply_pod(mk_pod("w1", "app=w", "n2"), 0);
    index.apply_pod(mk_pod("w1", "app=w,unused=label", "n2"), 0);
    index.apply_pod(Pod { service_account: "other".into(), ..mk_pod("w1", "app=w,unused=label", "n2") }, 0);
    assert!(index.take().is_empty());
}

#[test]
fn pod_that_loses_the_label_leaves_the_group() {
    let (mut index, mut fleet) = with_gateway(&["app=w", "app=v"]);
    index.apply_pod(mk_pod("w1", "app=w", "n2"), 0);
    index.apply_pod(mk_pod("w1", "app=v", "n2"), 0);
    fleet.follow(&mut index);
    assert_eq!(fleet.group("n1", W), Some(vec![]));
    assert_eq!(fleet.group("n1", "ns/app=v").unwrap(), ["w1"]);
}

#[test]
fn objects_share_a_group_and_it_goes_with_the_last_of_them() {
    let (mut index, mut fleet) = with_gateway(&["app=w"]);
    index.apply_pod(mk_pod("w1", "app=w", "n2"), 0);
    fleet.follow(&mut index);
    index.apply(&mk_vs("second", "app=gw", &["app=w"]));
    let sent = &taken(&mut index)["n1"];
    let types: Vec<_> = sent.upsert.iter().map(|(ty, _)| *ty).collect();
    assert_eq!(types, [PlanType::Plan], "the group is there already");
    fleet = Fleet::default();
    take_in(fleet.held.entry("n1".into()).or_default(), &index.all_of(&"n1".into()));
    index.delete(&key("call"));
    fleet.follow(&mut index);
    assert_eq!(fleet.plans("n1"), ["A/ns/second"]);
    assert_eq!(fleet.group("n1", W).unwrap(), ["w1"]);
    index.delete(&key("second"));
    fleet.follow(&mut index);
    assert!(fleet.held["n1"].is_empty());
    assert!(index.groups.resources(&W.into()).is_empty(), "the group is closed");
}

#[test]
fn group_that_is_also_a_workload_is_closed_with_its_last_endpoint_user() {
    let (mut index, mut fleet) = with_gateway(&["app=w"]);
    index.apply_pod(mk_pod("w1", "app=w", "n2"), 0);
    index.apply(&mk_vs("sidecar", "app=w", &["app=v"]));
    fleet.follow(&mut index);
    index.delete(&key("call"));
    fleet.follow(&mut index);
    assert!(index.groups.resources(&W.into()).is_empty());
    assert_eq!(fleet.plans("n2"), ["A/ns/sidecar"], "its members are workloads as before");
    index.apply(&mk_vs("call", "app=gw", &["app=w"]));
    index.apply_pod(mk_pod("w2", "app=w", "n3"), 0);
    fleet.follow(&mut index);
    assert_eq!(fleet.group("n1", W).unwrap(), ["w1", "w2"]);
    assert_eq!(fleet.plans("n3"), ["A/ns/sidecar"]);
    fleet.assert_complete(&index, &["n1", "n2", "n3"]);
}

#[test]
fn group_outlives_the_workload_role_of_its_selection() {
    let (mut index, mut fleet) = with_gateway(&["app=w"]);
    index.apply_pod(mk_pod("w1", "app=w", "n2"), 0);
    index.apply(&mk_vs("sidecar", "app=w", &["app=v"]));
    index.delete(&key("sidecar"));
    index.apply_pod(mk_pod("w2", "app=w", "n2"), 0);
    fleet.follow(&mut index);
    assert_eq!(fleet.group("n1", W).unwrap(), ["w1", "w2"]);
    assert!(fleet.plans("n2").is_empty());
}

#[test]
fn group_grows_on_the_nodes_in_one_change() {
    let (mut index, mut fleet) = with_gateway(&["app=w"]);
    for i in 0..350 {
        index.apply_pod(mk_pod(&format!("w{i}"), "app=w", "n2"), 0);
        fleet.follow(&mut index);
        assert_eq!(fleet.group("n1", W).unwrap().len(), i + 1);
    }
    assert_eq!(fleet.names("n1", PlanType::Slice).len(), 16);
    fleet.assert_complete(&index, &["n1"]);
    index.apply_pod(mk_pod("g2", "app=gw", "n5"), 0);
    fleet.follow(&mut index);
    assert_eq!(fleet.group("n5", W).unwrap().len(), 350);
}

#[test]
fn pod_that_was_not_ready_is_no_endpoint_when_it_is_deleted_either() {
    let (mut index, mut fleet) = with_gateway(&["app=w"]);
    let never = Pod { ready: false, ..mk_pod("w1", "app=w", "n2") };
    for pod in [never.clone(), Pod { terminating_ms: 50, ..never }] {
        index.apply_pod(pod, 0);
        fleet.follow(&mut index);
        assert_eq!(fleet.group("n1", W).unwrap(), Vec::<String>::new());
    }
}

#[test]
fn hub_that_starts_while_pods_terminate_has_the_endpoints_of_the_one_that_saw_them_ready() {
    let terminating = |uid: &str, ready| Pod { ready, terminating_ms: 50, ..mk_pod(uid, "app=w", "n2") };
    let (mut index, mut fleet) = with_gateway(&["app=w"]);
    index.reset_pods(
        None,
        vec![mk_pod("g1", "app=gw", "n1"), terminating("w1", true), terminating("w2", false)],
        0,
    );
    fleet.follow(&mut index);
    assert_eq!(fleet.group("n1", W).unwrap(), ["-w1"]);
}
