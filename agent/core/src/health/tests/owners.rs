//! Whose verdict counts for an endpoint.

use super::*;

#[test]
fn endpoint_of_the_own_node_is_what_the_own_probe_says() {
    let mut rig = Rig::connected();
    rig.use_all("a", &[pod("own", 1)]);
    assert!(!rig.book.failed(&pod("own", 1)), "healthy until something is known");
    assert_eq!(rig.probed(&pod("own", 1), down()), ["a"]);
    assert!(rig.book.failed(&pod("own", 1)));
    assert_eq!(rig.probed(&pod("own", 1), Verdict::Up), ["a"]);
}

#[test]
fn after_a_restart_the_own_nodes_last_word_stands_until_the_first_probe() {
    let mut rig = Rig::new();
    let one = plan::Unhealthy { uid: "own-1".into(), port: 1233, ..Default::default() };
    let health = plan::Health { node: "own".into(), unhealthy: vec![one], stale: true, ..Default::default() };
    rig.book.set_health(&name("own"), Some(&health));
    rig.use_all("a", &[pod("own", 1)]);
    assert!(rig.book.failed(&pod("own", 1)));
    rig.probed(&pod("own", 1), Verdict::Up);
    assert!(!rig.book.failed(&pod("own", 1)));
}

#[test]
fn fresh_word_of_the_owner_counts_and_a_failure_from_here_wins() {
    let mut rig = Rig::connected();
    rig.use_all("a", &[pod("far", 1)]);
    assert_eq!(rig.far_says(&[1], false), ["a"]);
    assert!(rig.probed(&pod("far", 1), Verdict::Up).is_empty(), "a success from here proves nothing");
    assert!(rig.book.failed(&pod("far", 1)));
    assert_eq!(rig.far_says(&[], false), ["a"]);
    assert_eq!(rig.probed(&pod("far", 1), down()), ["a"]);
    assert!(rig.book.failed(&pod("far", 1)));
}

#[test]
fn loss_of_an_agent_alone_changes_nothing() {
    let mut rig = Rig::connected();
    rig.use_all("a", &[pod("far", 1), pod("far", 2)]);
    rig.far_says(&[2], false);
    assert!(rig.far_says(&[2], true).is_empty());
    assert!(!rig.book.failed(&pod("far", 1)) && rig.book.failed(&pod("far", 2)));
    assert!(shown(rig.book.set_health(&name("far"), None)).is_empty());
    assert!(!rig.book.failed(&pod("far", 1)) && rig.book.failed(&pod("far", 2)));
}

#[test]
fn without_a_fresh_word_the_own_probe_counts_once_there_is_one() {
    let mut rig = Rig::connected();
    rig.use_all("a", &[pod("far", 1), pod("far", 2)]);
    rig.far_says(&[2], false);
    rig.far_says(&[2], true);
    assert_eq!(rig.probed(&pod("far", 2), Verdict::Failing), [""; 0], "a failure is no recovery");
    assert_eq!(rig.probed(&pod("far", 2), Verdict::Up), ["a"]);
    assert_eq!(rig.probed(&pod("far", 1), Verdict::Failing), [""; 0], "below the threshold");
    assert_eq!(rig.probed(&pod("far", 1), down()), ["a"]);
    assert_eq!(rig.far_says(&[2], false), ["a"], "2 is what its owner says, 1 fails from here");
    assert!(rig.book.failed(&pod("far", 1)) && rig.book.failed(&pod("far", 2)));
}

#[test]
fn own_probe_counts_for_what_the_owner_does_not_know() {
    let mut rig = Rig::connected();
    rig.use_all("a", &[pod("far", 1), pod("far", 2)]);
    rig.far_says(&[2], false);
    // The agent of `far` restarts. For pod 2, the hub sends the last known verdict.
    assert!(rig.far_says_of(&[2], &[1, 2], false).is_empty(), "both are as they were");
    assert_eq!(rig.probed(&pod("far", 2), Verdict::Up), ["a"]);
    assert_eq!(rig.probed(&pod("far", 1), down()), ["a"]);
    assert!(rig.far_says_of(&[], &[1], false).is_empty(), "2 is healthy by now");
    assert_eq!(rig.probed(&pod("far", 1), Verdict::Up), ["a"]);
    // Without any known verdict, not even in the hub.
    rig.far_says(&[2], false);
    rig.probed(&pod("far", 2), Verdict::Unknown);
    rig.book.set_plan(&name("a"), mk_uses(&[pod("far", 1), pod("far", 2)]));
    assert!(rig.book.failed(&pod("far", 2)));
}

#[test]
fn lease_outlasts_the_hub_by_two_seconds_and_then_own_probes_count() {
    let mut rig = Rig::connected();
    rig.use_all("a", &[pod("far", 1)]);
    rig.far_says(&[], false);
    assert_eq!(rig.book.lease_deadline(), Some(rig.now + LEASE));
    assert!(rig.book.lease_over(rig.now + LEASE / 2).is_empty());
    assert_eq!(rig.targets().len(), 1);
    assert!(rig.far_says(&[1], false) == ["a"], "it is still fresh");
    assert!(rig.book.lease_over(rig.now + LEASE).is_empty());
    assert_eq!(rig.book.lease_deadline(), None);
    assert_eq!(rig.probed(&pod("far", 1), Verdict::Up), ["a"]);
    assert_eq!(shown(rig.book.hub_heard(rig.now + LEASE)), ["a"], "the owner counts again");
}

#[test]
fn hub_that_is_heard_keeps_the_lease() {
    let mut rig = Rig::new();
    rig.book.hub_heard(rig.now);
    rig.book.hub_heard(rig.now + LEASE / 2);
    // An answer that is processed late.
    rig.book.hub_heard(rig.now + LEASE / 4);
    rig.book.lease_over(rig.now + LEASE);
    assert_eq!(rig.book.lease_deadline(), Some(rig.now + LEASE * 3 / 2));
}

#[test]
fn verdict_touches_the_plans_that_use_the_endpoint_and_no_other() {
    let mut rig = Rig::connected();
    rig.use_all("a", &[pod("own", 1), pod("own", 2)]);
    rig.use_all("b", &[pod("own", 2)]);
    let http = Point { path: "/healthcheck".into(), ..pod("own", 1) };
    rig.use_all("c", &[http]);
    assert_eq!(rig.probed(&pod("own", 1), down()), ["a"]);
    assert_eq!(rig.probed(&pod("own", 2), down()), ["a", "b"]);
    assert_eq!(rig.probed(&pod("own", 2), down()), [""; 0]);
    rig.use_all("a", &[]);
    assert_eq!(rig.probed(&pod("own", 1), Verdict::Up), [""; 0]);
}

#[test]
fn address_is_what_the_own_probe_says() {
    let mut rig = Rig::new();
    let point = outside("192.0.2.1").unwrap();
    rig.use_all("a", std::slice::from_ref(&point));
    assert_eq!(rig.probed(&point, down()), ["a"]);
    assert!(rig.book.failed(&point));
    assert_eq!(outside("127.0.0.1"), None, "that is the proxy's own");
}

#[test]
fn endpoints_are_counted_by_who_checks_them() {
    let mut rig = Rig::connected();
    let uses = Uses { by_proxy: 1, unchecked: 2, ..mk_uses(&[pod("own", 1), pod("own", 2)]) };
    rig.book.set_plan(&name("a"), uses);
    rig.probed(&pod("own", 1), down());
    let counts = Counts { endpoints: 5, healthy: 4, unchecked: 2, by_proxy: 1 };
    assert_eq!(rig.book.counts("a"), counts);
    assert_eq!(rig.book.counts("b"), Counts::default());
}
