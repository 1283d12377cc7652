//! Which targets are probed, and which verdicts are reported.

use super::*;

fn mk_probe(uid: &str, interval_ms: u64) -> plan::Probe {
    plan::Probe { uid: uid.into(), port: 1233, interval_ms, timeout_ms: 80, ..Default::default() }
}

#[test]
fn endpoint_of_the_own_node_is_probed_once_for_all_at_the_strictest_pace() {
    let mut rig = Rig::connected();
    rig.use_all("a", &[pod("own", 1)]);
    rig.use_all("b", &[pod("own", 1)]);
    let slow = plan::Probe { unhealthy_threshold: 5, healthy_threshold: 4, ..mk_probe("own-1", 900) };
    rig.book.set_probe(&name("p"), Some(&slow));
    rig.book.set_address(&name("own-1"), Some([10, 0, 0, 9].into()));
    let targets = rig.book.targets();
    let (target, aim) = targets.first_key_value().unwrap();
    assert_eq!((targets.len(), target), (1, &pod("own", 1).target("own")));
    assert_eq!(aim.address, "10.0.0.9:1233".parse().unwrap(), "its own node knows best where it is");
    let pace = Pace { timeout: Duration::from_millis(80), rise: 4, ..mk_pace(500) };
    assert_eq!(aim.pace, pace);
}

#[test]
fn what_the_hub_asks_for_is_probed_though_nobody_here_uses_it() {
    let mut rig = Rig::connected();
    rig.book.set_probe(&name("p"), Some(&mk_probe("own-1", 500)));
    assert_eq!(rig.targets(), [0; 0], "no pod of this node, as far as is known");
    rig.book.set_address(&name("own-1"), Some([10, 0, 0, 1].into()));
    assert_eq!(rig.book.targets().len(), 1);
    assert_eq!(rig.book.unknown_here().len(), 1, "it has not been probed yet");
    rig.probed(&pod("own", 1), down());
    assert!(rig.book.unknown_here().is_empty());
    let told = rig.book.unhealthy_here();
    assert_eq!((told.len(), told[0].uid.as_str(), told[0].port, told[0].since_ms), (1, "own-1", 1233, 7));
    rig.book.set_probe(&name("p"), None);
    assert!(rig.book.targets().is_empty());
    assert!(rig.book.unhealthy_here().is_empty(), "what is not probed is not told");
}

#[test]
fn one_endpoint_of_each_other_node_is_probed_while_its_owner_is_fresh() {
    let mut rig = Rig::connected();
    let points: Vec<Point> = (1..=8).map(|i| pod("far", i)).collect();
    rig.use_all("a", &points);
    assert_eq!(rig.targets().len(), 8, "nobody vouches for them yet");
    rig.far_says(&[], false);
    let one = rig.targets();
    assert_eq!(one.len(), 1);
    assert_eq!(rig.targets(), one, "the same each time");
    rig.far_says(&one, false);
    assert!(rig.targets().len() == 1 && rig.targets() != one, "one that its owner calls healthy");
}

#[test]
fn failure_of_that_one_has_all_of_the_node_probed_until_the_way_is_back() {
    let mut rig = Rig::connected();
    let points: Vec<Point> = (1..=8).map(|i| pod("far", i)).collect();
    rig.use_all("a", &points);
    rig.far_says(&[8], false);
    let one = rig.targets();
    let point = pod("far", one[0]);
    rig.probed(&point, Verdict::Failing);
    assert_eq!(rig.targets().len(), 8, "before its threshold");
    rig.probed(&point, down());
    points.iter().for_each(|point| drop(rig.probed(point, down())));
    assert_eq!(rig.targets().len(), 8);
    points[..7].iter().for_each(|point| drop(rig.probed(point, Verdict::Up)));
    assert_eq!(rig.targets(), one, "the one that its owner calls unhealthy holds nothing up");
}

#[test]
fn nodes_without_a_fresh_word_and_addresses_are_probed_directly() {
    let mut rig = Rig::connected();
    let outside = outside("192.0.2.77").unwrap();
    rig.use_all("a", &[pod("far", 1), pod("far", 2), pod("other", 3), pod("other", 4), outside]);
    rig.far_says(&[], false);
    assert_eq!(rig.targets().len(), 4, "one of far, both of other, and the address");
    rig.far_says(&[], true);
    assert_eq!(rig.targets(), [1, 2, 3, 4, 77]);
    let health = plan::Health { node: "other".into(), ..Default::default() };
    rig.book.set_health(&name("other"), Some(&health));
    rig.far_says(&[], false);
    assert_eq!(rig.targets().len(), 3);
    rig.book.lease_over(rig.now + LEASE);
    assert_eq!(rig.targets(), [1, 2, 3, 4, 77]);
}

#[test]
fn nothing_is_kept_of_endpoints_that_nobody_uses() {
    let mut rig = Rig::connected();
    rig.use_all("a", &[pod("own", 1), pod("far", 2)]);
    rig.far_says(&[2], false);
    rig.probed(&pod("own", 1), down());
    rig.use_all("a", &[]);
    assert!(rig.targets().is_empty());
    assert!(rig.book.unhealthy_here().is_empty());
    assert!(!rig.book.failed(&pod("far", 2)));
}

#[test]
fn changes_are_counted_when_they_may_change_the_targets() {
    let mut rig = Rig::connected();
    let mut last = rig.book.changes();
    let mut changed = |rig: &Rig| std::mem::replace(&mut last, rig.book.changes()) != rig.book.changes();
    rig.use_all("a", &[pod("far", 1)]);
    assert!(changed(&rig));
    rig.use_all("a", &[pod("far", 1)]);
    assert!(!changed(&rig), "the same again");
    rig.far_says(&[], false);
    assert!(changed(&rig));
    rig.book.hub_heard(rig.now);
    assert!(!changed(&rig));
    rig.book.lease_over(rig.now + LEASE);
    assert!(changed(&rig));
    for (address, news) in
        [(Some([10, 0, 0, 1]), true), (Some([10, 0, 0, 1]), false), (None, true), (None, false)]
    {
        rig.book.set_address(&name("own-1"), address.map(IpAddr::from));
        assert_eq!(changed(&rig), news, "{address:?}");
    }
}

#[test]
fn asked_paces_are_bounded() {
    let pace = Pace::of_probe(&plan::Probe { interval_ms: 1, ..Default::default() });
    assert_eq!(pace, mk_pace(100));
    let endless = plan::Probe { interval_ms: u64::MAX, timeout_ms: u64::MAX, ..Default::default() };
    let pace = Pace::of_probe(&endless);
    assert_eq!(pace, Pace { interval: LONGEST, timeout: LONGEST, fall: 1, rise: 1 });
    assert_eq!((port_of(0), port_of(65_536), port_of(65_535)), (None, None, Some(65_535)));
}

#[test]
fn what_is_not_known_here_is_said_to_be_unknown() {
    let mut rig = Rig::connected();
    let unknown = |rig: &Rig| rig.book.unknown_here().into_iter().map(|check| check.uid).collect::<Vec<_>>();
    rig.use_all("a", &[pod("own", 1), pod("far", 2)]);
    rig.book.set_probe(&name("p"), Some(&mk_probe("own-2", 500)));
    assert_eq!(unknown(&rig), ["own-1", "own-2"], "at once, before the prober looks");
    rig.targets();
    assert_eq!(unknown(&rig), ["own-1", "own-2"], "one has no address");
    rig.probed(&pod("own", 1), down());
    assert_eq!(unknown(&rig), ["own-2"]);
    rig.probed(&pod("own", 1), Verdict::Unknown);
    assert_eq!(unknown(&rig), ["own-1", "own-2"], "it can't be probed any more");
    assert_eq!(rig.book.unhealthy_here().len(), 1, "what was known last stands");
    assert!(rig.book.failed(&pod("own", 1)));
    rig.probed(&pod("own", 1), Verdict::Up);
    rig.book.set_address(&name("own-1"), Some([10, 0, 0, 9].into()));
    assert_eq!(unknown(&rig), ["own-1", "own-2"], "it was found at its old address");
    rig.probed(&pod("own", 1), Verdict::Up);
    rig.book.set_probe(&name("p"), None);
    assert!(unknown(&rig).is_empty());
}

#[test]
fn endpoint_that_its_owner_does_not_know_is_probed_by_its_users() {
    let mut rig = Rig::connected();
    let points: Vec<Point> = (1..=8).map(|i| pod("far", i)).collect();
    rig.use_all("a", &points);
    rig.far_says(&[], false);
    let one = rig.targets();
    let other = 1 + one[0] % 8;
    rig.far_says_of(&[], &[other], false);
    let both: BTreeSet<u8> = rig.targets().into_iter().collect();
    assert_eq!(both, BTreeSet::from([one[0], other]), "one for the way, and what is unknown");
    rig.far_says_of(&[], &[one[0]], false);
    assert_eq!(rig.targets().len(), 2, "the way is looked at by one that is known");
    let health = plan::Health { node: "far".into(), more_unknown: true, ..Default::default() };
    rig.book.set_health(&name("far"), Some(&health));
    assert_eq!(rig.targets().len(), 8, "nothing is vouched for");
}
