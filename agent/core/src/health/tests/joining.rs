//! Pods whose proxies have yet to get their configuration.

use super::*;

#[test]
fn pod_that_joins_is_unhealthy_whatever_its_check_says_until_it_has_joined() {
    let mut rig = Rig::connected();
    let (point, uid) = (pod("own", 1), name("own-1"));
    assert!(rig.book.joins(&uid, 1233, 5).is_empty(), "nobody uses it yet");
    rig.use_all("p", &[point.clone(), pod("own", 2)]);
    assert!(rig.book.failed(&point) && !rig.book.failed(&pod("own", 2)));
    assert!(rig.probed(&point, down()).is_empty() && rig.probed(&point, Verdict::Up).is_empty());
    let told = rig.book.unhealthy_here();
    assert_eq!((told.len(), &*told[0].uid, told[0].port, told[0].since_ms), (1, "own-1", 1233, 5));
    assert!(told[0].reason.contains("configuration"), "{}", told[0].reason);

    let before = rig.book.own_changes();
    assert_eq!(shown(rig.book.joined(&uid)), ["p"]);
    assert!(!rig.book.failed(&point) && rig.book.unhealthy_here().is_empty());
    assert!(rig.book.own_changes() > before, "the report changes too");
    assert!(rig.book.joined(&uid).is_empty(), "once");
    assert_eq!(shown(rig.book.joins(&uid, 1233, 5)), ["p"], "a pod in use can join again");
}

#[test]
fn failure_of_a_pod_that_joins_is_told_once_and_stays_afterwards() {
    let mut rig = Rig::connected();
    let (point, uid) = (pod("own", 1), name("own-1"));
    rig.use_all("p", std::slice::from_ref(&point));
    rig.book.joins(&uid, 1233, 5);
    rig.probed(&point, down());
    assert_eq!(rig.book.unhealthy_here().len(), 1);
    assert!(rig.book.joined(&uid).is_empty(), "it is unhealthy still");
    let told = rig.book.unhealthy_here();
    assert_eq!((told.len(), &*told[0].reason), (1, "refused"));
}

#[test]
fn checks_of_other_programs_in_a_pod_that_joins_count() {
    let mut rig = Rig::connected();
    let point = pod("own", 1);
    rig.book.joins(&name("own-1"), 1, 5);
    rig.use_all("p", std::slice::from_ref(&point));
    rig.probed(&point, Verdict::Up);
    assert!(!rig.book.failed(&point));
    let told = rig.book.unhealthy_here();
    assert_eq!(told.iter().map(|one| one.port).collect::<Vec<_>>(), [1], "its proxy's port");
}
