//! What owners are told and when, with a clock that is turned by hand.

use std::time::{Duration, Instant};

use portreeve_api::b::rule::KIND;

use super::*;

fn mk_child(name: &str) -> ObjectRef {
    ObjectRef::namespaced(&KIND, "ns", name)
}

fn mk_reference(api_version: &str, kind: &str, name: &str) -> OwnerReference {
    OwnerReference {
        api_version: api_version.into(),
        kind: kind.into(),
        name: name.into(),
        uid: "u".into(),
        ..OwnerReference::default()
    }
}

fn mk_owner(name: &str) -> Owner {
    Owner {
        api_version: "apps/v1".into(),
        kind: "Deployment".into(),
        namespace: "ns".into(),
        name: name.into(),
        uid: "u".into(),
    }
}

fn owners(names: &[&str]) -> BTreeSet<Owner> {
    names.iter().map(|name| mk_owner(name)).collect()
}

/// A ledger with a clock.
struct Desk {
    ledger: Ledger,
    now: Instant,
}

// === impl Desk ===

impl Desk {
    fn new() -> Self {
        Self { ledger: Ledger::default(), now: Instant::now() }
    }

    fn own(&mut self, child: &str, names: &[&str]) -> bool {
        self.ledger.set_owners(&mk_child(child), owners(names), self.now)
    }

    fn apply(&mut self, child: &str, generation: i64) {
        self.ledger.set_applied(&mk_child(child), Some(generation), self.now);
    }

    fn forget(&mut self, child: &str) {
        self.ledger.forget(&mk_child(child), self.now);
    }

    /// Takes what is due, as `owner: child=generation`, and leaves it unanswered.
    fn take(&mut self) -> Vec<String> {
        let taken = self.ledger.take(9, self.now);
        taken.iter().map(|(owner, entries)| line(owner, entries)).collect()
    }

    /// The same, and all owners have it now.
    fn write(&mut self) -> Vec<String> {
        let taken = self.ledger.take(9, self.now);
        taken.iter().for_each(|(owner, entries)| self.ledger.written(owner, entries));
        taken.iter().map(|(owner, entries)| line(owner, entries)).collect()
    }

    fn wait(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
    }
}

fn line(owner: &Owner, entries: &Entries) -> String {
    let text =
        |generation: Option<i64>| generation.map_or("-".to_owned(), |generation| generation.to_string());
    let all: Vec<_> = entries.iter().map(|(child, told)| format!("{}={}", child.name, text(*told))).collect();
    format!("{}: {}", owner.name, all.join(" "))
}

#[test]
fn owners_are_told_of_each_generation_once() {
    let mut desk = Desk::new();
    assert!(desk.own("a", &["x", "y"]), "its applied generation is not known");
    assert_eq!(desk.write(), [""; 0], "it is not applied");
    desk.apply("a", 1);
    assert_eq!(desk.write(), ["x: a=1", "y: a=1"]);
    desk.apply("a", 1);
    assert!(!desk.own("a", &["x", "y"]));
    assert_eq!((desk.write(), desk.ledger.deadline()), (vec![], None));
    desk.ledger.set_applied(&mk_child("a"), None, desk.now);
    assert_eq!(desk.write(), [""; 0], "the last applied generation stays");
    desk.apply("a", 2);
    assert_eq!(desk.write(), ["x: a=2", "y: a=2"]);
}

#[test]
fn owner_is_told_of_all_its_children_in_one_write() {
    let mut desk = Desk::new();
    for child in ["a", "b", "c"] {
        desk.own(child, &["x"]);
        desk.apply(child, 1);
    }
    desk.forget("b");
    assert_eq!(desk.write(), ["x: a=1 b=- c=1"]);
}

#[test]
fn owner_that_is_none_any_more_loses_the_entry_and_a_new_one_gets_it() {
    let mut desk = Desk::new();
    desk.own("a", &["x", "y"]);
    desk.apply("a", 3);
    desk.write();
    desk.own("a", &["y", "z"]);
    assert_eq!(desk.write(), ["x: a=-", "z: a=3"]);
    desk.own("a", &[]);
    assert_eq!(desk.write(), ["y: a=-", "z: a=-"]);
    assert!(desk.ledger.accounts.is_empty() && desk.ledger.children.is_empty());
}

#[test]
fn object_that_asks_for_nothing_leaves_nothing_behind() {
    let mut desk = Desk::new();
    assert!(!desk.own("a", &[]));
    desk.apply("a", 1);
    desk.forget("a");
    assert_eq!(desk.take(), [""; 0]);
    assert!(desk.ledger.accounts.is_empty() && desk.ledger.children.is_empty());
}

#[test]
fn failed_write_is_tried_again_and_a_change_meanwhile_is_not_lost() {
    let mut desk = Desk::new();
    desk.own("a", &["x"]);
    desk.apply("a", 1);
    let (owner, entries) = desk.ledger.take(9, desk.now).remove(0);
    desk.apply("a", 2);
    desk.ledger.written(&owner, &entries);
    assert_eq!(desk.take(), ["x: a=2"]);
    desk.ledger.failed(&owner, desk.now);
    assert_eq!(desk.take(), [""; 0], "not at once");
    desk.wait(2);
    assert_eq!(desk.write(), ["x: a=2"]);
}

#[test]
fn owner_that_cannot_be_written_is_tried_once_a_minute_and_each_child_complains_once() {
    let mut desk = Desk::new();
    for child in ["a", "b"] {
        desk.own(child, &["x"]);
        desk.apply(child, 1);
    }
    desk.forget("b");
    assert_eq!(desk.take(), ["x: a=1 b=-"]);
    let complain = |desk: &mut Desk| desk.ledger.unwritable(&mk_owner("x"), desk.now);
    assert_eq!(complain(&mut desk), [mk_child("a")], "the removal is given up");
    desk.wait(59);
    assert_eq!(desk.take(), [""; 0]);
    desk.wait(1);
    assert_eq!(desk.take(), ["x: a=1"]);
    assert_eq!(complain(&mut desk), []);
    desk.own("c", &["x"]);
    desk.apply("c", 1);
    assert_eq!(desk.take(), ["x: a=1 c=1"]);
    assert_eq!(complain(&mut desk), [mk_child("c")]);
    desk.wait(60);
    assert_eq!(desk.write(), ["x: a=1 c=1"], "by now it can be written");
}

#[test]
fn removals_that_nobody_could_do_are_forgotten() {
    let mut desk = Desk::new();
    for child in ["a", "b"] {
        desk.own(child, &["x"]);
        desk.apply(child, 1);
    }
    desk.write();
    desk.forget("a");
    desk.wait(119);
    desk.ledger.expire_all(desk.now);
    assert_eq!(desk.ledger.accounts[&mk_owner("x")].len(), 2);
    desk.wait(1);
    desk.ledger.expire_all(desk.now);
    assert_eq!(desk.ledger.accounts[&mk_owner("x")].len(), 1);
    assert_eq!(desk.take(), [""; 0]);
    desk.forget("b");
    desk.wait(120);
    desk.ledger.expire_all(desk.now);
    assert!(desk.ledger.accounts.is_empty() && desk.ledger.deadline().is_none());
}

#[test]
fn owners_are_those_in_the_namespace_whose_names_fit_into_a_url() {
    for (api_version, kind, name, fits) in [
        ("apps/v1", "Deployment", "x", true),
        ("v1", "ConfigMap", "x.y-z", true),
        ("a/b/c", "Kind", "x", false),
        ("../v1", "Kind", "x", false),
        ("apps/", "Kind", "x", false),
        ("apps/v1?watch=1", "Kind", "x", false),
        ("apps/v1", "Kind", "x/status", false),
        ("apps/v1", "Kind", "..", false),
        ("apps/v1", "Kind", "", false),
        ("apps/v1", "Kind#", "x", false),
    ] {
        let references = Some(vec![mk_reference(api_version, kind, name)]);
        let meta = ObjectMeta {
            namespace: Some("ns".into()),
            owner_references: references,
            ..ObjectMeta::default()
        };
        assert_eq!(Owner::all_of(&meta).len(), usize::from(fits), "{api_version} {kind} {name}");
        assert!(Owner::all_of(&ObjectMeta { namespace: None, ..meta }).is_empty());
    }
}

#[test]
fn overwritten_entry_is_restored_and_what_an_older_event_says_costs_one_look() {
    let mut desk = Desk::new();
    desk.own("a", &["x"]);
    desk.apply("a", 2);
    desk.write();
    let see = |desk: &mut Desk, seen: &[(&str, i64)]| {
        let seen = seen.iter().map(|(child, told)| (mk_child(child), *told)).collect();
        desk.ledger.observe(&mk_owner("x"), &seen, &[], desk.now);
    };
    see(&mut desk, &[("a", 2), ("other", 1)]);
    assert_eq!(desk.ledger.deadline(), None);
    for seen in [&[("a", 1)][..], &[]] {
        see(&mut desk, seen);
        see(&mut desk, seen);
        assert_eq!(desk.take(), [""; 0], "not at once");
        desk.wait(2);
        assert_eq!(desk.write(), ["x: a=2"]);
    }
}

#[test]
fn entry_of_a_child_that_went_while_no_hub_ran_is_removed() {
    let mut desk = Desk::new();
    let seen = [(mk_child("a"), 1), (mk_child("b"), 1)].into();
    desk.ledger.observe(&mk_owner("x"), &seen, &[mk_child("a")], desk.now);
    assert_eq!(desk.take(), ["x: a=-"]);
    desk.ledger.observe(&mk_owner("x"), &seen, &[mk_child("a")], desk.now);
    assert_eq!(desk.take(), [""; 0], "it is under way");
    desk.own("a", &["x"]);
    desk.apply("a", 1);
    assert_eq!(desk.write(), ["x: a=1"], "it is there again");
}

#[test]
fn entries_of_known_kinds_are_read() {
    let entries = serde_json::json!({
        "/l7mp.io/v1/Rule/ns/a": 2, "/l7mp.io/v1/Rule/ns/b": "2", "/l7mp.io/v1/Other/ns/a": 1, "/apps/v1/Rule/ns/a": 1,
        "/l7mp.io/v1/Rule/ns/a/b": 1, "l7mp.io/v1/Rule/ns/a": 1, "/portreeve.dev/v1alpha1/NodeProxy/ns/a": 1, "": 1,
    });
    let read = children(entries.as_object().unwrap().clone());
    assert_eq!(read, [(mk_child("a"), 2), (mk_child("b"), 0)].into());
    let own = Owner::own(&mk_child("a"), "u").unwrap();
    assert_eq!((&*own.api_version, &*own.kind, &*own.name, &*own.uid), ("l7mp.io/v1", "Rule", "a", "u"));
}

#[test]
fn child_has_its_full_path_in_the_status_of_its_owners() {
    assert_eq!(path(&mk_child("a")).as_deref(), Some("/l7mp.io/v1/Rule/ns/a"));
}
