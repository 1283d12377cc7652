//! Groups by annotation, by Service, and of objects that are endpoints themselves.

use super::things::{GATE, PATH, mk_thing};
use super::*;
use crate::index::Slices;
use crate::verdict::Refs;

/// A gateway's pod on node "a", and a Gate with this spec.
fn mk_gate(spec: Value) -> (Index, Fleet) {
    let mut index = mk_index();
    index.apply_pod(mk_pod("gw", "app=gw", "a"), 0);
    index.apply_object(&mk_thing(&GATE, "g", spec), 0);
    (index, Fleet::default())
}

/// The endpoints of a group as node "a" has them.
fn group(index: &mut Index, fleet: &mut Fleet, name: &str) -> Vec<String> {
    fleet.follow(index);
    fleet.group("a", name).unwrap()
}

fn refs(index: &mut Index) -> Option<Refs> {
    index.take_verdicts().into_iter().next().map(|verdict| verdict.refs)
}

fn service() -> (Name, Name) {
    ("ns".into(), "s".into())
}

fn address(ip: &str) -> plan::Endpoint {
    plan::Endpoint { uid: format!("address/{ip}"), ips: vec![ip.into()], ready: true, ..Default::default() }
}

#[test]
fn group_by_annotation_follows_the_annotation() {
    const NAME: &str = "ns/annotation%3Ajoin=blue";
    let (mut index, mut fleet) = mk_gate(json!({"annotated": "blue"}));
    let annotated = |value: &str| {
        let extra = [("annotation:join".to_owned(), value.to_owned())].into();
        Pod { extra, ..mk_pod("w", "app=w", "b") }
    };
    index.apply_pod(annotated("blue"), 0);
    assert_eq!(group(&mut index, &mut fleet, NAME), ["w"]);
    index.apply_pod(annotated("red"), 0);
    assert!(group(&mut index, &mut fleet, NAME).is_empty());
    index.apply_pod(annotated("blue"), 0);
    index.apply_pod(mk_pod("w", "annotation=blue", "b"), 0);
    assert!(group(&mut index, &mut fleet, NAME).is_empty(), "a label is no annotation");
}

#[test]
fn group_of_a_service_has_its_pods_and_its_bare_addresses() {
    const NAME: &str = "@service/ns/s";
    let (mut index, mut fleet) = mk_gate(json!({"slices": "s"}));
    index.apply_pod(mk_pod("w", "app=w", "b"), 0);
    assert!(group(&mut index, &mut fleet, NAME).is_empty());
    assert_eq!(refs(&mut index), Some(Refs::Empty(NAME.into())));
    let listed =
        Slices { pods: BTreeSet::from(["w".into(), "late".into()]), addresses: vec![address("10.9.9.9")] };
    index.set_slices(&service(), Some(&listed), 0);
    assert_eq!(group(&mut index, &mut fleet, NAME), ["address/10.9.9.9", "w"]);
    assert_eq!(refs(&mut index), Some(Refs::Resolved));
    index.apply_pod(mk_pod("late", "", "b"), 0);
    assert_eq!(group(&mut index, &mut fleet, NAME), ["address/10.9.9.9", "late", "w"]);
    index.set_slices(&service(), Some(&Slices { pods: ["late".into()].into(), ..Slices::default() }), 0);
    assert_eq!(group(&mut index, &mut fleet, NAME), ["late"]);
    index.set_slices(&service(), None, 0);
    assert!(group(&mut index, &mut fleet, NAME).is_empty());
    assert_eq!(refs(&mut index), Some(Refs::Empty(NAME.into())));
}

#[test]
fn group_of_a_service_that_was_listed_before_anybody_asked_is_whole() {
    let mut index = mk_index();
    index.apply_pod(mk_pod("gw", "app=gw", "a"), 0);
    index.apply_pod(mk_pod("w", "app=w", "b"), 0);
    let listed = Slices { pods: BTreeSet::from(["w".into()]), addresses: vec![address("10.9.9.9")] };
    index.set_slices(&service(), Some(&listed), 0);
    index.apply_object(&mk_thing(&GATE, "g", json!({"slices": "s", "members_of": "s"})), 0);
    let mut fleet = Fleet::default();
    assert_eq!(group(&mut index, &mut fleet, "@service/ns/s"), ["address/10.9.9.9", "w"]);
    assert_eq!(group(&mut index, &mut fleet, "ns/service%3Ans/s"), ["w"], "only its pods");
}

#[test]
fn objects_that_are_endpoints_come_and_go_with_their_owner() {
    const NAME: &str = "@objects/E/Gate/ns/g";
    let (mut index, mut fleet) = mk_gate(json!({"objects": "yes"}));
    let member =
        |name: &str, gate: &str, ip: &str| mk_thing(&PATH, name, json!({"endpoint_of": gate, "value": ip}));
    index.apply_object(&member("one", "g", "10.0.0.1"), 0);
    index.apply_object(&member("two", "g", "10.0.0.2"), 0);
    assert_eq!(group(&mut index, &mut fleet, NAME), ["E/Path/ns/one", "E/Path/ns/two"]);
    index.apply_object(&member("two", "other", "10.0.0.2"), 0);
    assert_eq!(group(&mut index, &mut fleet, NAME), ["E/Path/ns/one"]);
    index.apply_object(&mk_thing(&PATH, "one", json!({"endpoint_of": "g", "bad": "why"})), 0);
    assert_eq!(group(&mut index, &mut fleet, NAME), ["E/Path/ns/one"], "its last good version stays");
    index.keep_objects(&PATH, None, &BTreeSet::new(), 0);
    assert!(group(&mut index, &mut fleet, NAME).is_empty());
}
