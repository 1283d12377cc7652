//! Plans that choose proxies by name: the name that an Envoy announces, or the one that its pod or its NodeProxy
//! sets.

use portreeve_agent_core::fleet::Facts;
use portreeve_api::pod::{PROXY_NAME_ANNOTATION, annotation_attribute};

use super::*;

/// A Plan for the proxies of namespace `ns` with this name.
fn mk_named(plan: &str, proxy_name: &str, port: u32) -> plan::Plan {
    let workload =
        plan::Workload { namespace: "ns".into(), proxy_name: proxy_name.into(), ..mk_workload("", "") };
    plan::Plan {
        workload: Some(plan::Workload { selector: Some(plan::Selector::default()), ..workload }),
        ..mk_plan(plan, 1, port, ip("10.0.0.9"))
    }
}

/// A rig with the pod `p` and the Plans of `alice` and `bob`.
fn mk_rig() -> Rig {
    let mut rig = Rig::new();
    rig.put_plan(&mk_named("alice", "alice", 2000));
    rig.put_plan(&mk_named("bob", "bob", 2001));
    rig.world.apply_pod(mk_pod("p", "other"));
    rig
}

/// A process of the pod `p` connects with a stream of this number and announces this name.
fn connect(rig: &mut Rig, stream: u64, announced: &str) {
    let announced = Announced::new(announced, Streams::Aggregated);
    rig.world.open::<Envoy>(&pod_id("p"), &announced).unwrap();
    rig.world.welcome::<Envoy>(stream, &pod_id("p"), announced);
}

fn part(rig: &mut Rig, stream: u64) {
    rig.world.part::<Envoy>(stream, Instant::now());
}

#[test]
fn pods_proxy_gets_the_plans_of_the_name_that_it_announces() {
    for (announced, served) in
        [("alice", &["A/ns/alice/l"][..]), ("bob", &["A/ns/bob/l"]), ("carol", &[]), ("", &[])]
    {
        let mut rig = mk_rig();
        connect(&mut rig, 1, announced);
        assert_eq!(rig.listeners(&pod_id("p")), served, "{announced:?}");
        assert!(rig.listeners(&gateway()).is_empty());
    }
}

#[test]
fn name_is_of_use_in_the_pods_own_namespace_only() {
    let mut rig = mk_rig();
    rig.world.apply_pod(Pod { namespace: "far".into(), ..mk_pod("p", "other") });
    connect(&mut rig, 1, "alice");
    assert!(rig.listeners(&pod_id("p")).is_empty());
}

#[test]
fn names_are_compared_whole() {
    for announced in ["alic", "alice2", "Alice", " alice", "ns/alice"] {
        let mut rig = mk_rig();
        connect(&mut rig, 1, announced);
        assert!(rig.listeners(&pod_id("p")).is_empty(), "{announced:?}");
    }
    let long = "a".repeat(300);
    let mut rig = mk_rig();
    rig.put_plan(&mk_named("long", &long, 2002));
    connect(&mut rig, 1, &long);
    assert!(rig.listeners(&pod_id("p")).is_empty());
}

#[test]
fn annotation_of_the_pod_names_its_proxy_whatever_that_announces() {
    let mut rig = mk_rig();
    connect(&mut rig, 1, "alice");
    let extra = BTreeMap::from([(annotation_attribute(PROXY_NAME_ANNOTATION), "bob".to_owned())]);
    rig.world.apply_pod(Pod { extra, ..mk_pod("p", "other") });
    assert_eq!(rig.listeners(&pod_id("p")), ["A/ns/bob/l"]);
    rig.world.apply_pod(mk_pod("p", "other"));
    assert_eq!(rig.listeners(&pod_id("p")), ["A/ns/alice/l"]);
}

#[test]
fn node_proxy_gets_the_plans_of_the_name_that_its_object_sets() {
    let mut rig = mk_rig();
    let named = plan::NodeProxy { proxy_name: "alice".into(), ..mk_node_proxy("gw") };
    rig.put(PlanType::NodeProxy, "gw", &named);
    let bob = Announced::new("bob", Streams::Aggregated);
    rig.world.open::<Envoy>(&gateway(), &bob).unwrap();
    rig.world.welcome::<Envoy>(1, &gateway(), bob);
    assert_eq!(rig.listeners(&gateway()), ["A/ns/alice/l"]);
    let closed = plan::NodeProxy { all_namespaces: false, allowed_namespaces: vec!["other".into()], ..named };
    rig.put(PlanType::NodeProxy, "gw", &closed);
    assert!(rig.listeners(&gateway()).is_empty());
}

#[test]
fn name_is_that_of_the_oldest_open_stream() {
    let mut rig = mk_rig();
    connect(&mut rig, 1, "alice");
    connect(&mut rig, 2, "bob");
    assert_eq!(rig.listeners(&pod_id("p")), ["A/ns/alice/l"]);
    part(&mut rig, 1);
    assert_eq!(rig.listeners(&pod_id("p")), ["A/ns/bob/l"]);
    part(&mut rig, 2);
    assert_eq!(rig.listeners(&pod_id("p")), ["A/ns/bob/l"], "it may come back at once");
    connect(&mut rig, 3, "alice");
    assert_eq!(rig.listeners(&pod_id("p")), ["A/ns/alice/l"], "it was started with another name");
}

#[test]
fn plan_of_a_name_counts_proxies_of_that_name_only() {
    let mut rig = mk_rig();
    connect(&mut rig, 1, "alice");
    let plan = |rig: &Rig, name: &str| rig.world.plan(name).cloned().unwrap();
    let facts = |rig: &Rig| -> Facts { rig.world.envoys()[&pod_id("p")].facts.clone() };
    let (alice, bob) = (plan(&rig, "A/ns/alice"), plan(&rig, "A/ns/bob"));
    assert!(facts(&rig).may_take(&alice) && !facts(&rig).may_take(&bob));
    let bare = |rig: &Rig, plan: &Plan| rig.world.fleets().all().map(|fleet| fleet.bare(plan)).sum::<usize>();
    rig.world.apply_pod(mk_pod("bare", "other"));
    assert_eq!((bare(&rig, &alice), bare(&rig, &bob)), (0, 0), "nobody knows the name of its proxy");
    let extra = BTreeMap::from([(annotation_attribute(PROXY_NAME_ANNOTATION), "bob".to_owned())]);
    rig.world.apply_pod(Pod { extra, ..mk_pod("bare", "other") });
    assert_eq!((bare(&rig, &alice), bare(&rig, &bob)), (0, 1));
}
