//! Objects that look others up: who asked is resolved again, and nobody else.

use k8s_openapi::api::core::v1::{ServicePort, ServiceSpec};

use super::random::Dice;
use super::things::{Bed, GATE, PATH, POLICY, TWIN, Thing, mk_thing, thing_key};
use super::*;

/// Gates of the large test; there are as many objects of each other kind.
const GATES: usize = 2_500;

#[test]
fn missing_object_is_found_when_it_comes_and_missed_when_it_goes() {
    let mut bed = Bed::new();
    bed.put(&GATE, "g", json!({"policy": "p"}));
    assert_eq!(bed.told(&GATE, "g"), ["policy missing"]);
    bed.put(&POLICY, "p", json!({"value": "one"}));
    assert_eq!(bed.told(&GATE, "g"), ["policy one"]);
    bed.put(&POLICY, "p", json!({"value": "two"}));
    assert_eq!(bed.told(&GATE, "g"), ["policy two"]);
    bed.index.delete_object(&thing_key(&POLICY, "p"), 0);
    assert_eq!(bed.told(&GATE, "g"), ["policy missing"]);
    bed.put(&POLICY, "p", json!({"value": "three"}));
    bed.index.keep_objects(&POLICY, None, &BTreeSet::new(), 0);
    assert_eq!(bed.told(&GATE, "g"), ["policy missing"]);
}

#[test]
fn listing_follows_objects_that_come_go_change_and_turn_to_another() {
    let mut bed = Bed::new();
    bed.put(&GATE, "g", json!({"paths": "g"}));
    bed.put(&GATE, "h", json!({"paths": "h"}));
    bed.put(&PATH, "a", json!({"of": "g", "value": "1"}));
    bed.put(&PATH, "b", json!({"of": "g", "value": "2"}));
    assert_eq!(bed.told(&GATE, "g"), ["path a 1", "path b 2"]);
    bed.put(&PATH, "b", json!({"of": "g", "value": "3"}));
    assert_eq!(bed.told(&GATE, "g"), ["path a 1", "path b 3"]);
    bed.put(&PATH, "b", json!({"of": "h", "value": "3"}));
    assert_eq!(
        (bed.told(&GATE, "g"), bed.told(&GATE, "h")),
        (vec!["path a 1".into()], vec!["path b 3".into()])
    );
    bed.index.delete_object(&thing_key(&PATH, "b"), 0);
    assert!(bed.told(&GATE, "h").is_empty());
}

#[test]
fn root_that_others_look_at_is_a_root_all_the_same() {
    let mut bed = Bed::new();
    bed.put(&TWIN, "t", json!({"gate": "g"}));
    bed.put(&GATE, "g", json!({"value": "x", "policy": "p"}));
    assert_eq!(bed.told(&TWIN, "t"), ["gate x"]);
    assert_eq!(bed.told(&GATE, "g"), ["policy missing"]);
    // What the Gate is told is no part of what the Twin sees.
    assert_eq!(bed.cost(|index| index.apply_object(&mk_thing(&POLICY, "p", json!({})), 0)), 1);
}

#[test]
fn namespace_service_and_secret_are_told_and_followed() {
    let mut bed = Bed::new();
    bed.put(&GATE, "g", json!({"namespace": "far", "service": "s"}));
    assert_eq!(bed.told(&GATE, "g"), ["namespace None", "service None"]);
    bed.index.apply_namespace(&"far".into(), mk_labels("team=red"), 0);
    let ports = Some(vec![ServicePort { port: 1, ..Default::default() }]);
    bed.index
        .set_service(("ns".into(), "s".into()), Some(ServiceSpec { ports, ..Default::default() }.into()));
    assert_eq!(bed.told(&GATE, "g"), ["namespace Some(\"red\")", "service Some(1)"]);
    bed.index.delete_namespace(&"far".into(), 0);
    bed.index.set_service(("ns".into(), "s".into()), None);
    assert_eq!(bed.told(&GATE, "g"), ["namespace None", "service None"]);
}

#[test]
fn bad_object_rejects_itself_and_those_who_ask_are_told_its_last_good_version() {
    let mut bed = Bed::new();
    bed.put(&POLICY, "p", json!({"value": "good"}));
    bed.put(&GATE, "g", json!({"policy": "p"}));
    bed.put(&POLICY, "p", json!({"value": "new", "bad": "why"}));
    assert_eq!(bed.told(&GATE, "g"), ["policy good"]);
    assert_eq!(bed.rejection(&GATE, "g"), None);
    assert_eq!(bed.rejection(&POLICY, "p").unwrap(), "spec.bad: why");
    assert!(bed.index.subject(&thing_key(&POLICY, "p")).unwrap().verdict.previous_in_force);
}

#[test]
fn object_without_any_good_version_keeps_those_who_ask_as_they_are() {
    let mut bed = Bed::new();
    bed.put(&GATE, "g", json!({"policy": "p"}));
    assert_eq!(bed.told(&GATE, "g"), ["policy missing"]);
    bed.put(&POLICY, "p", json!({"bad": "why"}));
    assert_eq!(bed.told(&GATE, "g"), ["policy missing"], "the version in force stays");
    let why = bed.rejection(&GATE, "g").unwrap();
    assert!(why.contains("Policy ns/p has no acceptable version"), "{why}");
    bed.put(&POLICY, "p", json!({"value": "good"}));
    assert_eq!(bed.told(&GATE, "g"), ["policy good"]);
    assert_eq!(bed.rejection(&GATE, "g"), None);
}

#[test]
fn rejected_version_is_not_forgotten_when_what_it_asked_for_changes() {
    let mut bed = Bed::new();
    bed.put(&GATE, "g", json!({"policy": "p"}));
    bed.put(&GATE, "g", json!({"policy": "p", "bad": "why"}));
    bed.put(&POLICY, "p", json!({"value": "one"}));
    assert_eq!(bed.rejection(&GATE, "g").unwrap(), "spec.bad: why");
    assert_eq!(bed.told(&GATE, "g"), ["policy missing"], "the version in force stays as it was");
}

#[test]
fn status_and_bookkeeping_wake_nobody() {
    let mut bed = Bed::new();
    bed.put(&POLICY, "p", json!({"value": "one"}));
    bed.put(&GATE, "g", json!({"policy": "p"}));
    let mut same: Thing = mk_thing(&POLICY, "p", json!({"value": "one"}));
    same.meta_mut().resource_version = Some("7".into());
    same.meta_mut().generation = Some(2);
    assert_eq!(bed.cost(|index| index.apply_object(&same, 0)), 0);
    same.meta_mut().annotations = Some(mk_labels("a=b"));
    assert_eq!(bed.cost(|index| index.apply_object(&same, 0)), 1);
}

/// All objects of the large test: each Gate asks for its Policy (shared by ten), its Paths and a namespace; each Twin for a Gate.
fn mk_large() -> Bed {
    let mut bed = Bed::new();
    for i in 0..GATES {
        let gate = format!("g{i}");
        bed.put(&POLICY, &format!("p{i}"), json!({"value": "1"}));
        bed.put(&PATH, &format!("r{i}"), json!({"of": gate, "value": "1"}));
        let asks =
            json!({"policy": format!("p{}", i / 10), "paths": gate, "namespace": format!("n{}", i % 50)});
        bed.put(&GATE, &gate, asks);
        bed.put(&TWIN, &format!("t{i}"), json!({"gate": format!("g{}", i % 100)}));
    }
    bed
}

#[test]
fn change_of_one_of_ten_thousand_objects_resolves_only_those_who_asked_for_it() {
    let mut bed = mk_large();
    let put = |kind, name: &str, spec: Value| {
        let thing = mk_thing(kind, name, spec);
        move |index: &mut Index| index.apply_object(&thing, 0)
    };
    assert_eq!(bed.cost(put(&POLICY, "p7", json!({"value": "2"}))), 10, "the Gates that share it");
    assert_eq!(bed.cost(put(&POLICY, "p7", json!({"value": "2"}))), 0, "the same again");
    assert_eq!(bed.cost(put(&POLICY, "p2000", json!({"value": "2"}))), 0, "nobody asks for it");
    assert_eq!(bed.cost(put(&PATH, "r7", json!({"of": "g7", "value": "2"}))), 1);
    assert_eq!(bed.cost(put(&PATH, "r7", json!({"of": "g8", "value": "2"}))), 2, "the old Gate and the new");
    let gate = json!({"policy": "p0", "paths": "g7", "namespace": "n7", "value": "x"});
    assert_eq!(
        bed.cost(put(&GATE, "g7", gate)),
        1 + GATES as u64 / 100,
        "itself, and the Twins that look at it"
    );
    assert_eq!(bed.cost(put(&GATE, "g700", json!({}))), 1, "itself");
    let namespace = |index: &mut Index| index.apply_namespace(&"n7".into(), mk_labels("team=red"), 0);
    assert_eq!(bed.cost(namespace), GATES as u64 / 50);
    assert_eq!(bed.cost(namespace), 0);
    assert_eq!(bed.cost(|index| index.delete_object(&thing_key(&TWIN, "t5"), 0)), 0);
    assert_eq!(bed.cost(|index| index.delete_object(&thing_key(&POLICY, "p9"), 0)), 10);
}

#[test]
fn objects_that_come_in_any_order_lead_to_the_same_plans() {
    let mut plans = Vec::new();
    for backwards in [false, true] {
        let mut all = [
            mk_thing(&POLICY, "p", json!({"value": "1"})),
            mk_thing(&PATH, "r", json!({"of": "g", "value": "1"})),
            mk_thing(&GATE, "g", json!({"policy": "p", "paths": "g", "value": "v"})),
            mk_thing(&TWIN, "t", json!({"gate": "g"})),
        ];
        if backwards {
            all.reverse();
        }
        let mut bed = Bed::new();
        all.iter().for_each(|thing| bed.index.apply_object(thing, 0));
        plans.push((bed.told(&GATE, "g"), bed.told(&TWIN, "t")));
    }
    assert_eq!(plans[0], plans[1]);
    assert_eq!(plans[0].0, ["policy 1", "path r 1"]);
}

#[test]
fn root_tells_each_object_that_it_used() {
    let mut bed = Bed::new();
    bed.put(&PATH, "a", json!({"of": "g"}));
    bed.put(&GATE, "g", json!({"paths": "g", "value": "1"}));
    let told = |bed: &Bed| {
        let told = bed.index.subject(&thing_key(&GATE, "g")).unwrap().told.into_iter();
        told.map(|told| (told.about.name.to_string(), told.part[0].message.clone())).collect::<Vec<_>>()
    };
    let pair = |name: &str, text: &str| (name.to_owned(), text.to_owned());
    assert_eq!(told(&bed), [pair("a", "1")]);
    bed.put(&PATH, "b", json!({"of": "g"}));
    assert_eq!(told(&bed), [pair("a", "1"), pair("b", "1")]);
    bed.index.take_affected();
    // The Plan is the same; what the others are told is not.
    bed.put(&GATE, "g", json!({"paths": "g", "value": "2"}));
    assert_eq!(told(&bed), [pair("a", "2"), pair("b", "2")]);
    assert!(bed.index.take_affected().contains(&thing_key(&GATE, "g")));
    bed.index.delete_object(&thing_key(&PATH, "a"), 0);
    assert_eq!(told(&bed), [pair("b", "2")]);
}

/// A random object with one of four names of each kind.
fn random_thing(dice: &mut Dice) -> Thing {
    let kind = dice.pick(&[&GATE, &TWIN, &PATH, &POLICY]);
    let (name, other) = (format!("o{}", dice.roll(4)), format!("o{}", dice.roll(4)));
    let value = dice.roll(3).to_string();
    let spec = match dice.roll(3) {
        0 => json!({"policy": other, "value": value, "namespace": "ns"}),
        1 => json!({"paths": other, "of": other, "gate": name, "value": value}),
        _ => json!({"gate": other, "of": name, "value": value}),
    };
    mk_thing(kind, &name, spec)
}

#[test]
fn random_changes_lead_to_the_plans_of_an_index_that_sees_the_end_only() {
    let (mut bed, mut dice) = (Bed::new(), Dice(77));
    let mut model: BTreeMap<ObjectRef, Thing> = BTreeMap::new();
    for step in 0..2_000 {
        let thing = random_thing(&mut dice);
        let reference = thing.reference();
        match dice.roll(4) {
            0 => {
                bed.index.delete_object(&reference, 0);
                model.remove(&reference);
            }
            1 => {
                let listed = model.keys().filter(|key| key.kind == reference.kind && **key != reference);
                let listed = listed.cloned().collect();
                bed.index.keep_objects(reference.kind, None, &listed, 0);
                model.remove(&reference);
            }
            _ => {
                bed.index.apply_object(&thing, 0);
                model.insert(reference, thing);
            }
        }
        if step % 50 == 0 {
            let mut fresh = Bed::new();
            model.values().for_each(|thing| fresh.index.apply_object(thing, 0));
            bed.fleet.follow(&mut bed.index);
            fresh.fleet.follow(&mut fresh.index);
            let held = |bed: &Bed| bed.fleet.held.get("a").cloned().unwrap_or_default();
            assert_eq!(held(&bed), held(&fresh), "step {step}");
        }
    }
}
