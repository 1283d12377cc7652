//! Several listeners want one port: the older object gets it.

use super::*;

fn denied(rig: &Rig, id: &ProxyId, plan: &str) -> Vec<(String, String)> {
    let held = rig.world.envoys()[id].plans.get(plan);
    let denied = held.into_iter().flat_map(|contribution| &contribution.findings.denied);
    denied.map(|(listener, lost)| (listener.clone(), lost.winner.to_string())).collect()
}

#[test]
fn older_object_has_the_port_and_the_other_is_told_who() {
    for order in [["old", "young"], ["young", "old"]] {
        let mut rig = Rig::new();
        for name in order {
            rig.put_plan(&mk_plan(name, if name == "old" { 10 } else { 20 }, 2000, ip("10.0.0.9")));
        }
        assert_eq!(rig.listeners(&gateway()), ["A/ns/old/l"], "{order:?}");
        assert_eq!(rig.names(&gateway(), Envoy::Cluster).unwrap(), ["A/ns/old/c"]);
        assert_eq!(denied(&rig, &gateway(), "A/ns/young"), [("l".to_owned(), "A/ns/old".to_owned())]);
        assert!(denied(&rig, &gateway(), "A/ns/old").is_empty());
    }
}

#[test]
fn removal_of_the_winner_and_addition_of_the_loser_are_one_response() {
    let mut rig = Rig::new();
    rig.put_plan(&mk_plan("old", 10, 2000, ip("10.0.0.9")));
    rig.put_plan(&mk_plan("young", 20, 2000, ip("10.0.0.9")));
    let mut watched = rig.watch(Envoy::Listener);
    rig.remove(PlanType::Plan, "A/ns/old");
    assert_eq!(watched.next(), [(vec!["A/ns/young/l".to_owned()], vec!["A/ns/old/l".to_owned()])]);
    assert!(denied(&rig, &gateway(), "A/ns/young").is_empty());
}

#[test]
fn arrival_of_the_winner_and_removal_of_the_loser_are_one_response() {
    let mut rig = Rig::new();
    rig.put_plan(&mk_plan("young", 20, 2000, ip("10.0.0.9")));
    let mut watched = rig.watch(Envoy::Listener);
    rig.put_plan(&mk_plan("old", 10, 2000, ip("10.0.0.9")));
    assert_eq!(watched.next(), [(vec!["A/ns/old/l".to_owned()], vec!["A/ns/young/l".to_owned()])]);
}

#[test]
fn winner_that_moves_to_another_port_frees_the_first_in_one_response() {
    let mut rig = Rig::new();
    rig.put_plan(&mk_plan("old", 10, 2000, ip("10.0.0.9")));
    rig.put_plan(&mk_plan("young", 20, 2000, ip("10.0.0.9")));
    let mut watched = rig.watch(Envoy::Listener);
    rig.put_plan(&mk_plan("old", 10, 2001, ip("10.0.0.9")));
    let mut sent = watched.next();
    sent.iter_mut().for_each(|(put, _)| put.sort());
    assert_eq!(sent, [(vec!["A/ns/old/l".to_owned(), "A/ns/young/l".to_owned()], vec![])]);
}

#[test]
fn all_who_wait_are_told_of_the_new_winner() {
    let mut rig = Rig::new();
    for (name, created) in [("a", 10), ("b", 20), ("c", 30)] {
        rig.put_plan(&mk_plan(name, created, 2000, ip("10.0.0.9")));
    }
    rig.remove(PlanType::Plan, "A/ns/a");
    assert_eq!(denied(&rig, &gateway(), "A/ns/c"), [("l".to_owned(), "A/ns/b".to_owned())]);
}

#[test]
fn proxies_of_one_network_namespace_share_its_ports() {
    let mut rig = Rig::new();
    rig.put_plan(&mk_plan("call", 10, 2000, ip("10.0.0.9")));
    rig.put(PlanType::NodeProxy, "second", &mk_node_proxy("gw"));
    let second = ProxyId::Node("second".into());
    assert_eq!((rig.listeners(&gateway()).len(), rig.listeners(&second).len()), (1, 0));
    let lost = &rig.world.envoys()[&second].plans["A/ns/call"].findings.denied["l"];
    assert_eq!((&lost.winner_proxy, lost.port.number), (&gateway(), 2000));
    rig.remove(PlanType::NodeProxy, "gw");
    assert_eq!(rig.listeners(&second), ["A/ns/call/l"]);
}

#[test]
fn pods_have_ports_of_their_own_and_those_on_the_host_network_do_not() {
    let mut rig = Rig::new();
    rig.put_plan(&mk_plan("call", 10, 2000, ip("10.0.0.9")));
    rig.world.apply_pod(mk_pod("own", "gw"));
    rig.world.apply_pod(Pod { host_network: true, ..mk_pod("host", "gw") });
    assert_eq!(rig.listeners(&pod_id("own")), ["A/ns/call/l"]);
    assert!(rig.listeners(&pod_id("host")).is_empty());
    assert_eq!(denied(&rig, &pod_id("host"), "A/ns/call").len(), 1);
}

#[test]
fn proxy_that_goes_leaves_its_ports_though_its_plan_was_never_complete() {
    let mut rig = Rig::new();
    rig.world.apply_pod(Pod { host_network: true, ..mk_pod("host", "first") });
    let waiting =
        plan::Plan { workload: Some(mk_workload("app", "first")), ..mk_plan("waits", 1, 2000, group()) };
    rig.put_plan(&waiting);
    assert!(rig.listeners(&pod_id("host")).is_empty());
    rig.put_plan(&mk_plan("call", 10, 2000, ip("10.0.0.9")));
    rig.world.delete_pod(&"host".into());
    assert_eq!(rig.listeners(&gateway()), ["A/ns/call/l"]);
}

#[test]
fn plan_that_waits_for_its_group_gives_up_the_port_that_it_lost_and_keeps_the_rest() {
    let mut rig = Rig::new();
    rig.put_group(&[1]);
    let two = |from| {
        let mut plan = mk_plan("young", 20, 2000, from);
        let mut second = plan.listeners[0].clone();
        second.name = "kept".into();
        second.socket.as_mut().unwrap().port = 2005;
        plan.listeners.push(second);
        plan
    };
    rig.put_plan(&two(group()));
    rig.put_plan(&two(From::Group("ns/app=v".into())));
    let mut watched = rig.watch(Envoy::Listener);
    rig.put_plan(&mk_plan("old", 10, 2000, ip("10.0.0.9")));
    assert_eq!(watched.next(), [(vec!["A/ns/old/l".to_owned()], vec!["A/ns/young/l".to_owned()])]);
    assert_eq!(rig.listeners(&gateway()), ["A/ns/old/l", "A/ns/young/kept"]);
    assert_eq!(rig.endpoints("young").unwrap(), ["10.0.1.1"], "its previous version is in force");
    assert_eq!(denied(&rig, &gateway(), "A/ns/young").len(), 1);
}

#[test]
fn loser_of_a_port_is_a_fault_that_is_told_once() {
    let mut rig = Rig::new();
    rig.put_plan(&mk_plan("old", 1, 2000, ip("10.0.0.1")));
    rig.put_plan(&mk_plan("young", 2, 2000, ip("10.0.0.2")));
    let faults = rig.world.take_faults();
    let [fault] = faults.as_slice() else { panic!("{faults:?}") };
    assert_eq!(&*fault.listener, "A/ns/young/l");
    assert!(fault.text.starts_with("udp port 2000 is taken by the older A/ns/old/l on "), "{}", fault.text);
    rig.put_plan(&mk_plan("young", 2, 2000, ip("10.0.0.3")));
    assert_eq!(rig.world.take_faults(), []);
}

/// A Plan with listeners of these names and ports, which all use the cluster "c".
fn mk_listeners(name: &str, created_ms: i64, all: &[(&str, u32)]) -> plan::Plan {
    let mut plan = mk_plan(name, created_ms, 0, ip("10.0.0.9"));
    let model = plan.listeners.remove(0);
    plan.listeners = all
        .iter()
        .map(|(name, port)| {
            let socket = plan::Socket { port: *port, ..model.socket.clone().unwrap() };
            plan::Listener { name: (*name).into(), socket: Some(socket), ..model.clone() }
        })
        .collect();
    plan
}

fn strings(names: &[&str]) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}

#[test]
fn listeners_that_swap_ports_are_removed_once_and_sent_in_order() {
    let mut rig = Rig::new();
    rig.put_plan(&mk_listeners("call", 1, &[("a", 17000), ("b", 17001)]));
    let mut watched = rig.watch(Envoy::Listener);
    rig.put_plan(&mk_listeners("call", 1, &[("a", 17001), ("b", 17000)]));
    let [a, b] = ["A/ns/call/a", "A/ns/call/b"];
    assert_eq!(watched.next(), [(vec![], strings(&[a])), (strings(&[b, a]), vec![])]);
}

#[test]
fn listener_moves_before_another_takes_its_port() {
    let mut rig = Rig::new();
    rig.put_plan(&mk_listeners("call", 1, &[("a", 17000), ("b", 17001)]));
    let mut watched = rig.watch(Envoy::Listener);
    rig.put_plan(&mk_listeners("call", 1, &[("a", 17001), ("b", 17002)]));
    assert_eq!(watched.next(), [(strings(&["A/ns/call/b", "A/ns/call/a"]), vec![])]);
}

#[test]
fn accepted_listener_that_was_kept_on_disk_has_its_address() {
    let mut rig = Rig::new();
    rig.put_plan(&mk_listeners("call", 1, &[("a", 17000)]));
    let held = rig
        .world
        .open_envoy(&gateway())
        .unwrap()
        .snapshot(|s| s.get(Envoy::Listener, "A/ns/call/a").cloned());
    let held = held.unwrap();
    assert_eq!(held.address().map(|address| &**address), Some("udp 17000"));
    let kept = Accepted::new(Envoy::Listener, held.name().clone(), 0, held.body());
    assert_eq!(kept.resource.address(), held.address());
}
