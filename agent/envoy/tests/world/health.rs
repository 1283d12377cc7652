//! Results of health checks reach the proxies that use the endpoint, and only Plans that use it are
//! translated again.

use portreeve_agent_core::health::{Failure, Host as Place, Target, Verdict};

use super::*;

/// A Plan like [`mk_plan`]'s whose endpoints are checked at port 1233.
fn checked(name: &str, port: u32, from: From) -> plan::Plan {
    let mut plan = mk_plan(name, 1, port, from);
    plan.clusters[0].health_check = Some(plan::HealthCheck { interval_ms: 500, ..Default::default() });
    plan.clusters[0].endpoints[0].health_port = 1233;
    plan
}

fn down() -> Verdict {
    Verdict::Down(Failure { reason: "refused".into(), since_ms: 7 })
}

fn target(host: Place) -> Target {
    Target { host, port: 1233, path: "".into() }
}

fn at(text: &str) -> Place {
    Place::Address(text.parse().unwrap())
}

/// Returns the gateway's unhealthy endpoints of cluster `c` of a Plan.
fn unhealthy(rig: &mut Rig, plan: &str) -> Vec<String> {
    use envoy_types::pb::envoy::config::core::v3::HealthStatus;
    use envoy_types::pb::envoy::config::endpoint::v3 as eds;
    let view = rig.world.open_envoy(&gateway()).unwrap();
    let name = format!("A/ns/{plan}/c");
    let decode = |one: &Arc<Resource>| eds::ClusterLoadAssignment::decode(one.body()).unwrap();
    let assignment = view.snapshot(|s| s.get(Envoy::Endpoint, &name).map(decode)).unwrap();
    let statuses = assignment.endpoints.iter().flat_map(|l| &l.lb_endpoints).map(|e| e.health_status());
    let addresses = rig.endpoints(plan).unwrap();
    let failed = addresses.into_iter().zip(statuses).filter(|(_, s)| *s == HealthStatus::Unhealthy);
    failed.map(|(address, _)| address).collect()
}

#[test]
fn verdict_translates_the_plans_that_use_the_endpoint_and_no_other() {
    let mut rig = Rig::new();
    rig.world.set_node("n");
    rig.put_group(&[1, 2]);
    rig.put_plan(&checked("call", 2000, group()));
    rig.put_plan(&mk_plan("unchecked", 1, 2001, group()));
    for other in 0..20 {
        rig.put_plan(&checked(&format!("other-{other}"), 3000 + other, ip("10.0.0.9")));
    }
    let before = rig.world.translated();
    rig.world.set_verdicts(vec![(target(at("10.0.1.1")), down())]);
    assert_eq!(rig.world.translated() - before, 1);
    assert_eq!(unhealthy(&mut rig, "call"), ["10.0.1.1"]);
    assert!(unhealthy(&mut rig, "unchecked").is_empty());
    rig.world.set_verdicts(vec![(target(at("10.0.1.1")), down())]);
    assert_eq!(rig.world.translated() - before, 1, "the same again");
}

#[test]
fn word_that_is_too_old_takes_unchecked_pods_of_other_nodes_out_until_the_hub_is_heard_again() {
    let mut rig = Rig::new();
    // The group's pods have no node name.
    for (node, expected) in [("n", vec!["10.0.1.1", "10.0.1.2"]), ("", vec![])] {
        rig.world.set_node(node);
        rig.put_group(&[1, 2]);
        rig.put_plan(&mk_plan("unchecked", 1, 2001, group()));
        rig.put_plan(&checked("call", 2000, group()));
        rig.world.set_stale(true);
        assert!(rig.world.stale());
        assert_eq!(unhealthy(&mut rig, "unchecked"), expected, "this node is {node:?}");
        assert!(unhealthy(&mut rig, "call").is_empty());
        let before = rig.world.translated();
        rig.world.set_stale(true);
        assert_eq!(rig.world.translated(), before, "the same again");
        rig.world.set_stale(false);
        assert!(unhealthy(&mut rig, "unchecked").is_empty());
    }
}

#[test]
fn verdict_changes_the_assignment_alone() {
    let mut rig = Rig::new();
    rig.put_plan(&checked("call", 2000, ip("10.0.0.9")));
    let (mut listeners, mut clusters) = (rig.watch(Envoy::Listener), rig.watch(Envoy::Cluster));
    rig.world.set_verdicts(vec![(target(at("10.0.0.9")), down())]);
    assert_eq!(unhealthy(&mut rig, "call"), ["10.0.0.9"]);
    assert_eq!((listeners.next(), clusters.next()), (vec![], vec![]));
    rig.world.set_verdicts(vec![(target(at("10.0.0.9")), Verdict::Up)]);
    assert!(unhealthy(&mut rig, "call").is_empty());
}

#[test]
fn pod_of_this_node_is_probed_where_the_pod_watch_says_that_it_is() {
    let mut rig = Rig::new();
    rig.world.set_node("n");
    rig.world.apply_pod(Pod { ips: vec!["10.0.1.7".parse().unwrap()], ..mk_pod("uid-1", "w") });
    let mut slice = mk_slice(&[1]);
    slice.endpoints[0].node = "n".into();
    rig.put(PlanType::Slice, &names::slice_name(W, 1, 0), &slice);
    rig.put(PlanType::Group, W, &plan::Group { shards: 1, ..Default::default() });
    rig.put_plan(&checked("call", 2000, group()));
    let targets = rig.world.health_targets();
    let (found, aim) = targets.first_key_value().unwrap();
    assert_eq!(*found, target(Place::Pod("uid-1".into())));
    assert_eq!(aim.address.to_string(), "10.0.1.7:1233");
    rig.world.set_verdicts(vec![(found.clone(), down())]);
    assert_eq!(unhealthy(&mut rig, "call"), ["10.0.1.1"]);
    assert_eq!(rig.world.health().unhealthy_here().len(), 1);
}

#[test]
fn word_of_another_nodes_agent_comes_with_the_feed() {
    let mut rig = Rig::new();
    rig.world.set_node("n");
    rig.world.hub_heard(Instant::now());
    let mut slice = mk_slice(&[1, 2]);
    slice.endpoints.iter_mut().for_each(|e| e.node = "far".into());
    rig.put(PlanType::Slice, &names::slice_name(W, 1, 0), &slice);
    rig.put(PlanType::Group, W, &plan::Group { shards: 1, ..Default::default() });
    rig.put_plan(&checked("call", 2000, group()));
    let one = plan::Unhealthy { uid: "uid-2".into(), port: 1233, ..Default::default() };
    let health = plan::Health { node: "far".into(), unhealthy: vec![one], ..Default::default() };
    rig.put(PlanType::Health, "far", &health);
    assert_eq!(unhealthy(&mut rig, "call"), ["10.0.1.2"]);
    rig.put(PlanType::Health, "far", &plan::Health { unhealthy: vec![], ..health });
    assert!(unhealthy(&mut rig, "call").is_empty());
    rig.put(PlanType::Probe, "p", &plan::Probe { uid: "mine".into(), port: 80, ..Default::default() });
    rig.world.apply_pod(mk_pod("mine", "w"));
    let targets = rig.world.health_targets();
    assert!(targets.contains_key(&Target { port: 80, ..target(Place::Pod("mine".into())) }));
}

#[test]
fn what_plans_use_follows_names_and_goes_with_the_plan() {
    let mut rig = Rig::new();
    rig.put_plan(&checked("call", 2000, From::Host("echo".into())));
    assert!(rig.world.health_targets().is_empty(), "nothing is known of the name");
    rig.world.set_host(&("ns".into(), "echo".into()), vec!["10.0.0.5".parse().unwrap()]);
    let targets = rig.world.health_targets();
    assert_eq!(targets.keys().collect::<Vec<_>>(), [&target(at("10.0.0.5"))]);
    rig.put_plan(&checked("own", 2001, ip("127.0.0.1")));
    assert_eq!(rig.world.health_targets().len(), 1, "a loopback address is the proxy's own");
    assert_eq!(rig.world.health().counts("A/ns/own").by_proxy, 1);
    rig.remove(PlanType::Plan, "A/ns/call");
    assert!(rig.world.health_targets().is_empty());
}

#[test]
fn while_a_group_is_incomplete_its_previous_endpoints_go_on_being_probed() {
    let mut rig = Rig::new();
    rig.put_group(&[1, 2]);
    rig.put_plan(&checked("call", 2000, group()));
    rig.put(PlanType::Group, W, &plan::Group { shards: 2, ..Default::default() });
    assert_eq!(rig.world.health_targets().len(), 2);
}

/// A world of node `n` whose hub requests a probe of port 80 of its pod `mine`.
fn asked() -> Rig {
    let mut rig = Rig::new();
    rig.world.set_node("n");
    rig.put(PlanType::Probe, "p", &plan::Probe { uid: "mine".into(), port: 80, ..Default::default() });
    rig
}

/// Returns the prober's targets after `change`, which must wake the prober.
fn probed_after(rig: &mut Rig, change: impl FnOnce(&mut World)) -> Vec<String> {
    rig.world.health_targets();
    let seen = rig.world.health().changes();
    change(&mut rig.world);
    assert_ne!(rig.world.health().changes(), seen, "nothing wakes the prober");
    rig.world.health_targets().values().map(|aim| aim.address.to_string()).collect()
}

#[test]
fn pod_that_comes_after_its_probe_wakes_the_prober() {
    let mut rig = asked();
    let probed = probed_after(&mut rig, |world| world.apply_pod(mk_pod("mine", "w")));
    assert_eq!(probed, ["10.0.0.1:80"]);
}

#[test]
fn pod_whose_address_changes_wakes_the_prober() {
    let mut rig = asked();
    rig.world.apply_pod(mk_pod("mine", "w"));
    let moved = Pod { ips: vec!["10.0.0.77".parse().unwrap()], ..mk_pod("mine", "w") };
    assert_eq!(probed_after(&mut rig, |world| world.apply_pod(moved)), ["10.0.0.77:80"]);
    let without = Pod { ips: Vec::new(), ..mk_pod("mine", "w") };
    assert!(probed_after(&mut rig, |world| world.apply_pod(without)).is_empty());
}

#[test]
fn pod_that_goes_in_whatever_way_wakes_the_prober() {
    let ways: [fn(&mut World); 3] = [
        |world| world.delete_pod(&"mine".into()),
        |world| world.apply_pod(Pod { finished: true, ..mk_pod("mine", "w") }),
        |world| world.reset_pods(Vec::new()),
    ];
    for way in ways {
        let mut rig = asked();
        rig.world.apply_pod(mk_pod("mine", "w"));
        assert!(probed_after(&mut rig, way).is_empty());
    }
}

#[test]
fn pod_that_changes_in_nothing_that_is_probed_wakes_nobody() {
    let mut rig = asked();
    rig.world.apply_pod(mk_pod("mine", "w"));
    let seen = rig.world.health().changes();
    rig.world.apply_pod(Pod { labels: mk_labels("other"), ready: false, ..mk_pod("mine", "w") });
    assert_eq!(rig.world.health().changes(), seen);
}
