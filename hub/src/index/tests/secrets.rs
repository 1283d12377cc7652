//! Secrets that objects ask for.

use super::things::{Bed, GATE};
use super::*;
use crate::files::Folder;
use crate::lookup::{SecretBytes, SecretFacts};

fn at(name: &str) -> (Name, Name) {
    ("ns".into(), name.into())
}

/// A Secret with these keys and contents.
fn mk_secret(contents: &[(&str, &str)]) -> Option<SecretFacts> {
    let contents =
        contents.iter().map(|(key, content)| (Name::from(*key), SecretBytes::new((*content).into())));
    Some(SecretFacts::new("kubernetes.io/tls", contents.collect()))
}

/// The wanted Secrets as `secret: key key`.
fn wanted(bed: &Bed) -> Vec<String> {
    let keys = |keys: &BTreeSet<Name>| keys.iter().map(|key| format!(" {key}")).collect::<String>();
    bed.index.wanted_secrets().iter().map(|((_, name), of)| format!("{name}:{}", keys(&of.keys))).collect()
}

#[test]
fn nothing_is_served_before_a_secret_was_looked_for() {
    let mut bed = Bed::new();
    bed.put(&GATE, "g", json!({"secret": "s"}));
    assert!(bed.told(&GATE, "g").is_empty());
    let withheld = bed.index.withheld().names;
    assert!(withheld.contains(&(PlanType::Plan, "E/Gate/ns/g".into())), "nodes keep what they have");
    assert_eq!(wanted(&bed), ["s:"]);
    bed.index.set_secret(at("s"), None);
    assert_eq!(bed.told(&GATE, "g"), ["secret None"]);
    assert!(bed.index.withheld().names.is_empty());
    bed.index.set_secret(at("s"), mk_secret(&[("tls.crt", "c")]));
    assert_eq!(bed.told(&GATE, "g"), ["secret Some(1)"]);
    bed.put(&GATE, "g", json!({}));
    assert!(wanted(&bed).is_empty());
    // Asked for again, it has to be read again.
    bed.put(&GATE, "g", json!({"secret": "s"}));
    assert!(bed.rejection(&GATE, "g").unwrap().contains("Secret ns/s was not read yet"));
}

#[test]
fn content_is_kept_of_the_wanted_keys_alone() {
    let mut bed = Bed::new();
    let secret = || mk_secret(&[("tls.crt", "public"), ("tls.key", "hidden")]);
    bed.put(&GATE, "g", json!({"secret": "s", "key": "tls.crt"}));
    assert_eq!(wanted(&bed), ["s: tls.crt"]);
    bed.index.set_secret(at("s"), secret());
    assert_eq!(bed.told(&GATE, "g"), ["secret Some(2)", "tls.crt Some(\"public\")"]);
    bed.put(&GATE, "h", json!({"secret": "s", "key": "tls.key"}));
    assert_eq!(bed.rejection(&GATE, "h").unwrap(), "key tls.key of Secret ns/s was not read yet");
    assert_eq!(wanted(&bed), ["s: tls.crt tls.key"]);
    bed.index.set_secret(at("s"), secret());
    assert_eq!(bed.told(&GATE, "h"), ["secret Some(2)", "tls.key Some(\"hidden\")"]);
    // The content goes with the last object that asks for it.
    bed.put(&GATE, "h", json!({"secret": "s"}));
    assert_eq!(wanted(&bed), ["s: tls.crt"]);
    bed.put(&GATE, "h", json!({"secret": "s", "key": "tls.key"}));
    assert_eq!(bed.rejection(&GATE, "h").unwrap(), "key tls.key of Secret ns/s was not read yet");
}

#[test]
fn missing_key_is_an_answer() {
    let mut bed = Bed::new();
    bed.put(&GATE, "g", json!({"secret": "s", "key": "ca.crt"}));
    bed.index.set_secret(at("s"), mk_secret(&[("tls.crt", "c")]));
    assert_eq!(bed.told(&GATE, "g"), ["secret Some(1)", "ca.crt None"]);
    bed.index.set_secret(at("s"), mk_secret(&[("tls.crt", "c"), ("ca.crt", "a")]));
    assert_eq!(bed.told(&GATE, "g"), ["secret Some(2)", "ca.crt Some(\"a\")"]);
    assert_eq!(
        bed.cost(|index| index.set_secret(at("s"), mk_secret(&[("tls.crt", "c"), ("ca.crt", "a")]))),
        0
    );
}

#[test]
fn secret_that_became_unreadable_stays_in_force_with_the_reason_in_the_status() {
    let mut bed = Bed::new();
    bed.put(&GATE, "g", json!({"secret": "s", "key": "ca.crt"}));
    bed.index.set_secret(at("s"), mk_secret(&[("ca.crt", "a")]));
    bed.index.set_secret_unreadable(at("s"), "no right".into());
    assert_eq!(bed.rejection(&GATE, "g").unwrap(), "no right");
    assert_eq!(bed.told(&GATE, "g"), ["secret Some(1)", "ca.crt Some(\"a\")"]);
    bed.index.set_secret(at("s"), mk_secret(&[("ca.crt", "b")]));
    assert_eq!(bed.rejection(&GATE, "g"), None);
    assert_eq!(bed.told(&GATE, "g"), ["secret Some(1)", "ca.crt Some(\"b\")"]);
}

#[test]
fn secret_that_nobody_asks_for_is_not_kept() {
    let mut bed = Bed::new();
    assert_eq!(bed.index.take_wanted_secrets(), None);
    bed.index.set_secret(at("s"), mk_secret(&[("ca.crt", "a")]));
    bed.index.set_secret_unreadable(at("s"), "no right".into());
    bed.put(&GATE, "g", json!({"secret": "s"}));
    assert!(bed.rejection(&GATE, "g").unwrap().contains("was not read yet"));
    assert_eq!(bed.index.take_wanted_secrets().map(|wanted| wanted.len()), Some(1));
    assert_eq!(bed.index.take_wanted_secrets(), None);
    bed.index.delete_object(&super::things::thing_key(&GATE, "g"), 0);
    assert_eq!(bed.index.take_wanted_secrets().map(|wanted| wanted.len()), Some(0));
}

#[test]
fn secret_that_was_forgotten_is_requested_again_and_a_known_one_is_not() {
    let mut bed = Bed::new();
    let request = |bed: &Bed| bed.index.wanted_secrets()[&at("s")].request;
    bed.put(&GATE, "g", json!({"secret": "s", "key": "ca.crt"}));
    let first = request(&bed);
    bed.put(&GATE, "g", json!({"secret": "s", "key": "ca.crt", "value": "new"}));
    bed.put(&GATE, "h", json!({"secret": "s", "key": "ca.crt"}));
    assert_eq!(request(&bed), first, "it is known");
    bed.put(&GATE, "h", json!({"secret": "s", "key": "tls.crt"}));
    let second = request(&bed);
    assert!(second > first, "another key");
    bed.put(&GATE, "h", json!({"secret": "s"}));
    assert_eq!(request(&bed), second, "a key less");
    for name in ["g", "h"] {
        bed.index.delete_object(&super::things::thing_key(&GATE, name), 0);
    }
    bed.put(&GATE, "g", json!({"secret": "s", "key": "ca.crt"}));
    assert!(request(&bed) > second, "what was known is forgotten");
}

/// The name of the Secret resource of Secret `s`.
const CERTIFICATE: &str = "ns/s/tls.crt";

/// A Secret for TLS with this certificate.
fn mk_pair(certificate: &str) -> Option<SecretFacts> {
    mk_secret(&[("tls.crt", certificate), ("tls.key", "hidden")])
}

/// A bed with another pod on node `b`, whose Gates use Secret `s`.
fn mk_bed(gates: &[(&str, &str)]) -> Bed {
    let mut bed = Bed::new();
    bed.index.apply_pod(mk_pod("other", "app=other", "b"), 0);
    for (gate, workload) in gates {
        bed.put(&GATE, gate, json!({"tls": "s", "workload": workload}));
    }
    bed.index.set_secret(at("s"), mk_pair("one"));
    bed.fleet.follow(&mut bed.index);
    bed
}

/// The Secret resources of a node.
fn secrets(bed: &Bed, node: &str) -> Vec<String> {
    bed.fleet.names(node, PlanType::Secret)
}

/// What each node is sent, as `node: type name`, and `-` before the type of a removed resource.
fn sent(bed: &mut Bed) -> Vec<String> {
    let taken = taken(&mut bed.index);
    for (node, changes) in &taken {
        take_in(bed.fleet.held.entry(node.clone()).or_default(), changes);
    }
    let of = |(node, changes): (&Name, &Changes<PlanType>)| {
        let put = changes.upsert.iter().map(|(ty, one)| format!("{node}: {ty:?} {}", one.name()));
        let gone = changes.remove.iter().map(|(ty, name)| format!("{node}: -{ty:?} {name}"));
        put.chain(gone).collect::<Vec<_>>()
    };
    taken.iter().flat_map(of).collect()
}

#[test]
fn secret_resource_goes_with_plans_that_name_it_and_is_encoded_once() {
    let mut bed = mk_bed(&[("g", "app=gw")]);
    assert_eq!(secrets(&bed, "a"), [CERTIFICATE]);
    assert!(secrets(&bed, "b").is_empty());
    bed.put(&GATE, "h", json!({"tls": "s", "workload": "app=other"}));
    assert_eq!(sent(&mut bed), ["b: Secret ns/s/tls.crt", "b: Plan E/Gate/ns/h"]);
    let held = |node: &str| bed.fleet.held[node][&(PlanType::Secret, CERTIFICATE.into())].clone();
    assert!(Arc::ptr_eq(&held("a"), &held("b")));
    let message = plan::Secret::decode(held("a").body()).unwrap();
    assert_eq!((&*message.certificate_chain, &*message.private_key), (&b"one"[..], &b"hidden"[..]));
    bed.fleet.assert_complete(&bed.index, &["a", "b"]);
}

#[test]
fn rotation_sends_one_resource_to_each_of_these_nodes_and_resolves_who_asked() {
    let mut bed = mk_bed(&[("g", "app=gw"), ("h", "app=other")]);
    bed.put(&GATE, "i", json!({"tls": "s"}));
    bed.put(&GATE, "plain", json!({}));
    bed.fleet.follow(&mut bed.index);
    assert_eq!(bed.cost(|index| index.set_secret(at("s"), mk_pair("two"))), 3);
    assert_eq!(sent(&mut bed), ["a: Secret ns/s/tls.crt", "b: Secret ns/s/tls.crt"]);
    assert_eq!(bed.cost(|index| index.set_secret(at("s"), mk_pair("two"))), 0);
    assert!(sent(&mut bed).is_empty());
    bed.fleet.assert_complete(&bed.index, &["a", "b"]);
}

#[test]
fn secret_resource_goes_with_the_last_plan_of_a_node_that_names_it() {
    let mut bed = mk_bed(&[("g", "app=gw"), ("h", "app=gw"), ("i", "app=other")]);
    bed.index.delete_object(&super::things::thing_key(&GATE, "g"), 0);
    assert_eq!(sent(&mut bed), ["a: -Plan E/Gate/ns/g"]);
    bed.put(&GATE, "h", json!({"tls": "t"}));
    assert!(sent(&mut bed).is_empty(), "Secret t was not read yet");
    bed.index.set_secret(at("t"), mk_pair("t"));
    let expected = ["a: Plan E/Gate/ns/h", "a: Secret ns/t/tls.crt", "a: -Secret ns/s/tls.crt"];
    assert_eq!(BTreeSet::from_iter(sent(&mut bed)), expected.map(str::to_owned).into());
    assert_eq!(
        (secrets(&bed, "a"), secrets(&bed, "b")),
        (vec!["ns/t/tls.crt".into()], vec![CERTIFICATE.into()])
    );
    bed.index.delete_pod(&"other".into(), 0);
    bed.index.tick(GRACE_MS);
    assert_eq!(sent(&mut bed), ["b: -Secret ns/s/tls.crt", "b: -Plan E/Gate/ns/i"]);
    bed.fleet.assert_complete(&bed.index, &["a", "b"]);
}

#[test]
fn broken_secret_withdraws_plan_and_resource_and_an_unreadable_one_keeps_both() {
    let mut bed = mk_bed(&[("g", "app=gw")]);
    bed.index.set_secret_unreadable(at("s"), "no right".into());
    assert!(sent(&mut bed).is_empty());
    bed.index.set_secret(at("s"), mk_secret(&[("tls.crt", "one")]));
    assert_eq!(sent(&mut bed), ["a: -Secret ns/s/tls.crt", "a: -Plan E/Gate/ns/g"]);
    bed.index.set_secret(at("s"), mk_pair("two"));
    assert_eq!(sent(&mut bed), ["a: Secret ns/s/tls.crt", "a: Plan E/Gate/ns/g"]);
    bed.index.set_secret(at("s"), None);
    assert_eq!(sent(&mut bed), ["a: -Secret ns/s/tls.crt", "a: -Plan E/Gate/ns/g"]);
    bed.fleet.assert_complete(&bed.index, &["a", "b"]);
}

#[test]
fn last_accepted_version_of_a_rejected_object_keeps_its_secret_resource() {
    let mut bed = mk_bed(&[("g", "app=gw")]);
    bed.put(&GATE, "g", json!({"tls": "s", "bad": "for a test"}));
    assert!(sent(&mut bed).is_empty());
    assert_eq!(secrets(&bed, "a"), [CERTIFICATE]);
    // A node that joins now is sent it too.
    bed.index.apply_pod(mk_pod("new", "app=gw", "c"), 0);
    assert_eq!(sent(&mut bed), ["c: Secret ns/s/tls.crt", "c: Plan E/Gate/ns/g"]);
}

#[test]
fn content_is_never_printed() {
    let text = format!("{:?}", mk_secret(&[("tls.key", "hidden")]));
    assert!(text.contains("tls.key") && !text.contains("hidden"), "{text}");
}

/// Two keys in both fields of a Secret of a folder.
const SECRET: &str = "{apiVersion: v1, kind: Secret, metadata: {name: s, namespace: ns}, \
    data: {tls.crt: b2xk, tls.key: aGlkZGVu}, stringData: {tls.crt: new}}";

#[test]
fn secrets_of_a_folder_are_told_to_those_who_ask() {
    let dir = tempfile::tempdir().unwrap();
    let mut bed = Bed::new();
    bed.put(&GATE, "g", json!({"secret": "s", "key": "tls.crt"}));
    let read = |bed: &mut Bed| {
        let objects = Folder::new(dir.path()).read(0).objects;
        assert!(!format!("{objects:?}").contains("hidden"), "content is printed");
        objects.reset_secrets(&mut bed.index);
    };
    read(&mut bed);
    assert_eq!(bed.told(&GATE, "g"), ["secret None", "tls.crt None"]);
    std::fs::write(dir.path().join("secret.yaml"), SECRET).unwrap();
    read(&mut bed);
    assert_eq!(bed.told(&GATE, "g"), ["secret Some(2)", "tls.crt Some(\"new\")"]);
}
