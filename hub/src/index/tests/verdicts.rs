//! What the index says of each object.

use super::super::{Refs, Verdict};
use super::things::{Bed, PATH, thing_key};
use super::*;

fn one(index: &mut Index) -> Verdict {
    let mut taken = index.take_verdicts();
    assert_eq!(taken.len(), 1, "{taken:?}");
    taken.remove(0)
}

#[test]
fn rejected_update_keeps_the_previous_version_in_force_and_says_so() {
    let (mut index, mut fleet) = (mk_index(), Fleet::default());
    index.apply_pod(mk_pod("g1", "app=gw", "n1"), 0);
    index.apply(&mk_vs("call", "app=gw", &["app=w"]));
    fleet.follow(&mut index);
    assert_eq!(one(&mut index).rejection, None);
    index.apply(&mk_bad_vs("call"));
    let verdict = one(&mut index);
    assert!(verdict.rejection.unwrap().message.contains("udp.port"));
    assert!(verdict.previous_in_force);
    assert!(index.take().is_empty());
    assert_eq!(fleet.plans("n1"), ["A/ns/call"]);
    index.apply(&mk_vs("call", "app=gw", &["app=w"]));
    let verdict = one(&mut index);
    assert_eq!((verdict.rejection, verdict.previous_in_force), (None, false));
}

#[test]
fn rejected_object_that_never_worked_has_nothing_in_force_and_harms_no_other() {
    let (mut index, mut fleet) = (mk_index(), Fleet::default());
    index.apply_pod(mk_pod("g1", "app=gw", "n1"), 0);
    index.apply(&mk_bad_vs("bad"));
    assert!(!one(&mut index).previous_in_force);
    index.apply(&mk_vs("good", "app=gw", &["app=w"]));
    fleet.follow(&mut index);
    assert_eq!(fleet.plans("n1"), ["A/ns/good"]);
}

#[test]
fn rejected_object_of_another_uid_is_no_version_of_the_old_one() {
    let (mut index, mut fleet) = (mk_index(), Fleet::default());
    index.apply_pod(mk_pod("g1", "app=gw", "n1"), 0);
    index.apply(&mk_vs("call", "app=gw", &["app=w"]));
    index.take_verdicts();
    let mut other = mk_bad_vs("call");
    other.metadata.uid = Some("another".into());
    index.apply(&other);
    assert!(!one(&mut index).previous_in_force);
    fleet.follow(&mut index);
    assert!(fleet.plans("n1").is_empty());
}

#[test]
fn selection_that_finds_nothing_is_told_and_told_again_when_that_changes() {
    let mut index = mk_index();
    index.apply(&mk_vs("call", "app=gw", &["app=w"]));
    assert_eq!(one(&mut index).refs, Refs::Empty("ns/app=w".into()));
    index.apply_pod(mk_pod("w1", "app=w", "n1"), 0);
    assert_eq!(one(&mut index).refs, Refs::Resolved);
    index.apply_pod(mk_pod("w2", "app=w", "n1"), 0);
    assert!(index.take_verdicts().is_empty());
    index.delete_pod(&"w1".into(), 0);
    assert!(index.take_verdicts().is_empty());
    index.delete_pod(&"w2".into(), 0);
    assert_eq!(one(&mut index).refs, Refs::Empty("ns/app=w".into()));
}

#[test]
fn endpoints_outside_of_the_namespace_are_named() {
    let mut index = mk_index();
    index.apply_pod(Pod { namespace: "far".into(), ..mk_pod("w1", "app=w", "n1") }, 0);
    index.apply(&mk_vs("call", "app=gw", &["app=w"]));
    assert_eq!(one(&mut index).refs, Refs::Elsewhere("ns/app=w".into(), vec!["far/w1".into()]));
}

#[test]
fn workload_outside_of_the_namespace_is_named_and_one_that_is_nowhere_is_no_fault() {
    let mut index = mk_index();
    index.apply_pod(Pod { namespace: "far".into(), ..mk_pod("g1", "app=gw", "n1") }, 0);
    index.apply_pod(mk_pod("w1", "app=w", "n1"), 0);
    index.apply(&mk_vs("call", "app=gw", &["app=w"]));
    assert_eq!(one(&mut index).refs, Refs::Elsewhere("ns/app=gw".into(), vec!["far/g1".into()]));
    index.apply(&mk_vs("none", "app=nobody", &["app=w"]));
    assert_eq!(one(&mut index).refs, Refs::Resolved);
    index.apply_pod(mk_pod("g2", "app=gw", "n1"), 0);
    assert_eq!(one(&mut index).refs, Refs::Resolved);
}

#[test]
fn pods_that_appear_or_vanish_elsewhere_change_the_verdict_on_an_empty_selection() {
    let mut index = mk_index();
    index.apply(&mk_vs("call", "app=gw", &["app=w"]));
    one(&mut index);
    index.apply_pod(Pod { namespace: "far".into(), ..mk_pod("w1", "app=w", "n1") }, 0);
    assert_eq!(one(&mut index).refs, Refs::Elsewhere("ns/app=w".into(), vec!["far/w1".into()]));
    index.delete_pod(&"w1".into(), 0);
    assert_eq!(one(&mut index).refs, Refs::Empty("ns/app=w".into()));
}

#[test]
fn event_without_news_gives_no_verdict() {
    let mut index = mk_index();
    let object = mk_vs("call", "app=gw", &["app=w"]);
    index.apply(&object);
    one(&mut index);
    index.apply(&object);
    assert!(index.take_verdicts().is_empty());
    let mut edited = object.clone();
    edited.metadata.generation = Some(2);
    index.apply(&edited);
    assert_eq!(one(&mut index).generation, 2);
    index.delete(&key("call"));
    assert!(index.take_verdicts().is_empty());
    index.apply(&edited);
    assert_eq!(one(&mut index).generation, 2, "a new object is judged anew");
}

#[test]
fn objects_are_counted_as_they_come_change_and_go() {
    let mut index = mk_index();
    let of = |index: &Index| (index.census().objects[0].1, index.census().refused);
    let [good, bad] = [mk_vs("one", "app=gw", &["app=w"]), mk_bad_vs("one")];
    let other = mk_bad_vs("two");
    for (object, counted) in
        [(&good, (1, 0)), (&good, (1, 0)), (&bad, (1, 1)), (&other, (2, 2)), (&good, (2, 1))]
    {
        index.apply(object);
        assert_eq!(of(&index), counted);
    }
    for (key, counted) in
        [(ObjectRef::of(&KIND, &other.metadata), (1, 0)), (ObjectRef::of(&KIND, &good.metadata), (0, 0))]
    {
        index.delete(&key);
        assert_eq!(of(&index), counted);
        index.delete(&key);
        assert_eq!(of(&index), counted, "it is gone already");
    }
}

#[test]
fn part_says_what_it_did_not_get_until_it_has_it() {
    let mut bed = Bed::new();
    bed.put(&PATH, "one", json!({}));
    bed.index.take_verdicts();
    let key = thing_key(&PATH, "one");
    bed.index.set_unallocated(&key, Some("no id is left".into()));
    assert_eq!(one(&mut bed.index).missing, ["no id is left"]);
    bed.put(&PATH, "one", json!({"changed": true}));
    assert_eq!(bed.index.verdicts.get(&key).unwrap().missing, ["no id is left"], "it is still missing");
    bed.index.set_unallocated(&key, None);
    assert_eq!(one(&mut bed.index).missing, Vec::<String>::new());
}
