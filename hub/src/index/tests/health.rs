//! Who is told of whose health, and what the nodes are asked to probe.

use super::*;

pub(super) fn mk_health(node: &str, sequence: u64) -> plan::Health {
    plan::Health { node: node.into(), epoch: 1, sequence, ..Default::default() }
}

fn say(index: &mut Index, node: &str, sequence: u64) {
    index.set_health(&node.into(), Some(&mk_health(node, sequence)));
}

/// A VirtualService whose endpoints are checked at a port, each (interval, port).
pub(super) fn mk_checked(name: &str, upstream: &str, checks: &[(u64, u32)]) -> VirtualService {
    let mut object = mk_vs(name, "app=gw", &vec![upstream; checks.len()]);
    for (listener, (interval, port)) in object.spec.listeners.iter_mut().zip(checks) {
        let cluster = &mut listener.udp.as_mut().unwrap().cluster;
        let check = json!({"interval": interval, "protocol": "TCP"});
        cluster.health_check = Some(serde_json::from_value(check).unwrap());
        cluster.endpoints[0].health_check_port = Some(i32::try_from(*port).unwrap());
    }
    object
}

/// Gateways on n1 and n2, workers of the group on n2 and n3, nodes n4 and n5 without any use of it.
fn with_call() -> (Index, Fleet) {
    let (mut index, mut fleet) = (mk_index(), Fleet::default());
    index.apply_pod(mk_pod("g1", "app=gw", "n1"), 0);
    index.apply_pod(mk_pod("g2", "app=gw", "n2"), 0);
    index.apply_pod(mk_pod("w2", "app=w", "n2"), 0);
    index.apply_pod(mk_pod("w3", "app=w", "n3"), 0);
    index.apply_pod(mk_pod("other", "app=other", "n4"), 0);
    index.apply(&mk_vs("call", "app=gw", &["app=w"]));
    fleet.follow(&mut index);
    (index, fleet)
}

fn health(fleet: &Fleet, node: &str) -> Vec<String> {
    fleet.names(node, PlanType::Health)
}

fn probe(fleet: &Fleet, node: &str, name: &str) -> plan::Probe {
    plan::Probe::decode(fleet.held[node][&(PlanType::Probe, name.into())].body()).unwrap()
}

#[test]
fn health_goes_to_those_who_use_an_endpoint_there_and_not_to_the_node_itself() {
    let (mut index, mut fleet) = with_call();
    say(&mut index, "n3", 1);
    assert_eq!(fleet.follow(&mut index), ["n1", "n2"]);
    say(&mut index, "n2", 1);
    assert_eq!(fleet.follow(&mut index), ["n1"]);
    say(&mut index, "n4", 1);
    assert!(fleet.follow(&mut index).is_empty(), "nobody uses an endpoint of n4");
    assert_eq!(
        (health(&fleet, "n1"), health(&fleet, "n2")),
        (vec!["n2".into(), "n3".into()], vec!["n3".into()])
    );
    fleet.assert_complete(&index, &["n1", "n2", "n3", "n4"]);
}

#[test]
fn nothing_is_sent_of_a_node_that_was_never_heard() {
    let (index, fleet) = with_call();
    assert!(health(&fleet, "n1").is_empty());
    fleet.assert_complete(&index, &["n1", "n2"]);
}

#[test]
fn health_that_says_the_same_again_is_not_sent() {
    let (mut index, mut fleet) = with_call();
    say(&mut index, "n3", 1);
    fleet.follow(&mut index);
    say(&mut index, "n3", 1);
    assert!(index.take().is_empty());
    say(&mut index, "n3", 2);
    assert_eq!(fleet.follow(&mut index), ["n1", "n2"]);
}

#[test]
fn health_follows_the_endpoints_and_the_users() {
    let (mut index, mut fleet) = with_call();
    ["n2", "n3", "n4", "n5"].iter().for_each(|node| say(&mut index, node, 1));
    fleet.follow(&mut index);
    index.apply_pod(mk_pod("w5", "app=w", "n5"), 0);
    fleet.follow(&mut index);
    assert_eq!(health(&fleet, "n1"), ["n2", "n3", "n5"]);
    index.apply_pod(Pod { ready: false, ..mk_pod("w5", "app=w", "n5") }, 0);
    fleet.follow(&mut index);
    assert_eq!(health(&fleet, "n1"), ["n2", "n3"], "the last endpoint there went");
    index.apply_pod(mk_pod("g4", "app=gw", "n4"), 0);
    fleet.follow(&mut index);
    assert_eq!(health(&fleet, "n4"), ["n2", "n3"], "a new user is told of all");
    index.delete(&key("call"));
    fleet.follow(&mut index);
    assert!(health(&fleet, "n1").is_empty());
    fleet.assert_complete(&index, &["n1", "n2", "n3", "n4", "n5"]);
}

#[test]
fn health_stays_while_another_group_has_an_endpoint_there() {
    let (mut index, mut fleet) = with_call();
    index.apply(&mk_vs("second", "app=gw", &["app=v"]));
    index.apply_pod(mk_pod("v3", "app=v", "n3"), 0);
    say(&mut index, "n3", 1);
    fleet.follow(&mut index);
    index.delete_pod(&"w3".into(), 0);
    fleet.follow(&mut index);
    assert_eq!(health(&fleet, "n1"), ["n3"]);
    index.delete(&key("second"));
    fleet.follow(&mut index);
    assert!(health(&fleet, "n1").is_empty());
    fleet.assert_complete(&index, &["n1", "n2"]);
}

#[test]
fn forgotten_node_is_taken_away() {
    let (mut index, mut fleet) = with_call();
    say(&mut index, "n3", 1);
    fleet.follow(&mut index);
    index.set_health(&"n3".into(), None);
    assert_eq!(fleet.follow(&mut index), ["n1", "n2"]);
    assert!(health(&fleet, "n1").is_empty());
}

#[test]
fn growth_of_a_group_leaves_its_nodes_alone() {
    let (mut index, mut fleet) = with_call();
    ["n3", "n6"].iter().for_each(|node| say(&mut index, node, 1));
    for i in 0..250 {
        index.apply_pod(mk_pod(&format!("x{i}"), "app=w", "n6"), 0);
    }
    fleet.follow(&mut index);
    assert_eq!(health(&fleet, "n1"), ["n3", "n6"]);
    for i in 0..250 {
        index.delete_pod(&format!("x{i}").into(), 0);
    }
    fleet.follow(&mut index);
    assert_eq!(health(&fleet, "n1"), ["n3"]);
    fleet.assert_complete(&index, &["n1", "n2"]);
}

#[test]
fn owner_of_each_endpoint_is_asked_to_probe_it_and_nobody_else() {
    let (mut index, mut fleet) = with_call();
    index.apply(&mk_checked("call", "app=w", &[(1000, 7)]));
    assert_eq!(fleet.follow(&mut index), ["n1", "n2", "n3"]);
    assert_eq!(fleet.names("n1", PlanType::Probe), Vec::<String>::new());
    assert_eq!(fleet.names("n2", PlanType::Probe), ["w2:7"]);
    assert_eq!(fleet.names("n3", PlanType::Probe), ["w3:7"]);
    let asked = probe(&fleet, "n3", "w3:7");
    assert_eq!((asked.uid.as_str(), asked.port, asked.interval_ms, asked.timeout_ms), ("w3", 7, 1000, 100));
    assert_eq!((asked.unhealthy_threshold, asked.healthy_threshold), (1, 1));
    fleet.assert_complete(&index, &["n1", "n2", "n3"]);
}

#[test]
fn probe_of_several_users_runs_at_the_shortest_interval() {
    let (mut index, mut fleet) = with_call();
    index.apply(&mk_checked("slow", "app=w", &[(5000, 7), (3000, 7), (9000, 8)]));
    index.apply(&mk_checked("fast", "app=w", &[(1000, 7)]));
    fleet.follow(&mut index);
    assert_eq!(fleet.names("n3", PlanType::Probe), ["w3:7", "w3:8"]);
    assert_eq!(probe(&fleet, "n3", "w3:7").interval_ms, 1000);
    index.delete(&key("fast"));
    fleet.follow(&mut index);
    assert_eq!(probe(&fleet, "n3", "w3:7").interval_ms, 3000);
    index.delete(&key("slow"));
    fleet.follow(&mut index);
    assert!(fleet.names("n3", PlanType::Probe).is_empty());
    fleet.assert_complete(&index, &["n1", "n2", "n3"]);
}

#[test]
fn probe_follows_its_pod() {
    let (mut index, mut fleet) = with_call();
    index.apply(&mk_checked("call", "app=w", &[(1000, 7)]));
    let w3 = mk_pod("w3", "app=w", "n3");
    let steps = [
        (Pod { ready: false, ..w3.clone() }, 0, "no endpoint"),
        (w3.clone(), 1, "an endpoint again"),
        (Pod { terminating_ms: 5, ..w3.clone() }, 1, "sessions are on it still"),
        (
            Pod { terminating_ms: 5, ready: false, ..w3.clone() },
            0,
            "it was not ready when its deletion began",
        ),
        (Pod { labels: mk_labels("app=v"), ..w3.clone() }, 0, "nobody uses it"),
        (Pod { node: Some("n4".into()), ..w3.clone() }, 0, "elsewhere"),
    ];
    for (pod, wanted, why) in steps {
        index.apply_pod(pod, 0);
        fleet.follow(&mut index);
        assert_eq!(fleet.names("n3", PlanType::Probe).len(), wanted, "{why}");
        fleet.assert_complete(&index, &["n2", "n3", "n4"]);
    }
    assert_eq!(fleet.names("n4", PlanType::Probe), ["w3:7"]);
    index.delete_pod(&"w3".into(), 0);
    fleet.follow(&mut index);
    assert!(fleet.names("n4", PlanType::Probe).is_empty());
}

#[test]
fn pod_event_that_changes_no_probe_sends_none() {
    let (mut index, mut fleet) = with_call();
    index.apply(&mk_checked("call", "app=w", &[(1000, 7)]));
    fleet.follow(&mut index);
    index.apply_pod(mk_pod("w3", "app=w,unused=label", "n3"), 0);
    assert!(fleet.follow(&mut index).is_empty());
}

#[test]
fn endpoint_without_a_health_port_is_not_probed() {
    let (_, fleet) = with_call();
    assert!(fleet.names("n2", PlanType::Probe).is_empty() && fleet.names("n3", PlanType::Probe).is_empty());
}
