//! What is said of objects, as tables; and when it is written, with a clock that is turned by hand.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::jiff::Timestamp;
use portreeve_api::conditions::{ConditionType, Status, Verdict as Condition};
use portreeve_api::model::ProxyKind;
use portreeve_api::refs::ObjectRef;
use portreeve_api::report::PlanStatus;
use portreeve_xds::Name;

use super::board::{FIRST, JITTER};
use super::*;
use crate::subject::Served;
use crate::verdict::{Refs, Verdict};

mod interface;
mod tunnels;
mod unsupported;
mod writes;

const VERSION: u64 = 7;

fn mk_served(nodes: &[&str]) -> Served {
    let nodes = Arc::new(nodes.iter().map(|node| Name::from(*node)).collect());
    Served {
        plan: "A/ns/o".into(),
        version: VERSION,
        generation: 3,
        nodes,
        proxy_name: None,
        closed: Vec::new(),
    }
}

fn mk_subject(nodes: &[&str]) -> Subject {
    let verdict = Verdict {
        key: ObjectRef::namespaced(&portreeve_api::a::virtual_service::KIND, "ns", "o"),
        uid: "u".into(),
        generation: 3,
        rejection: None,
        previous_in_force: false,
        warnings: Vec::new(),
        missing: Vec::new(),
        refs: Refs::Resolved,
        losses: Vec::new(),
    };
    Subject { of: Of::Plan, verdict, served: Some(mk_served(nodes)), told: Vec::new() }
}

/// A word on the present version: wanted, acked, refused, unreachable.
fn word(node: &str, [wanted, acked, nacked, unreachable]: [u32; 4]) -> PlanReport {
    let refusal = if nacked > 0 { "nodeproxy/gw, listener A/ns/o/l: no".into() } else { String::new() };
    let status = PlanStatus {
        plan: "A/ns/o".into(),
        version: VERSION,
        wanted,
        acked,
        nacked,
        unreachable,
        refusal,
        ..PlanStatus::default()
    };
    PlanReport { node: node.into(), status: Arc::new(status), reachable: true }
}

fn with(mut word: PlanReport, change: impl FnOnce(&mut PlanStatus)) -> PlanReport {
    change(Arc::make_mut(&mut word.status));
    word
}

/// The fields of a NodeProxy's status.
fn nodes(all: usize, ready: usize) -> Fields {
    Fields::from([("nodes", all.into()), ("ready", ready.into())])
}

fn unheard(word: PlanReport) -> PlanReport {
    PlanReport { reachable: false, ..word }
}

fn condition(said: &ObjectStatus, type_: ConditionType) -> &Condition {
    said.conditions.iter().find(|one| one.type_ == type_).unwrap()
}

#[test]
fn node_proxies_that_leave_its_namespace_out_are_named_where_nothing_serves_an_object() {
    let mut subject = mk_subject(&[]);
    subject.served.as_mut().unwrap().closed = vec!["gw".into(), "other".into()];
    let programmed = condition(&subject.status(&[], PATIENCE), ConditionType::Programmed).clone();
    assert_eq!(programmed.reason, Reason::NoProxy);
    assert!(
        programmed.message.contains("matches NodeProxy gw, other, whose allowedNamespaces"),
        "{programmed:?}"
    );
    assert!(programmed.message.ends_with("or the labels of the namespace"), "{programmed:?}");
    let served = subject.status(&[word("a", [1, 1, 0, 0])], PATIENCE);
    assert_eq!(
        condition(&served, ConditionType::Programmed).reason,
        Reason::Programmed,
        "another proxy serves it"
    );
}

#[test]
fn programmed_is_true_only_when_every_wanted_proxy_of_every_node_acked_this_version() {
    let old = |w| with(w, |s| s.version = 1);
    let conflict = |w| with(w, |s| s.conflicts = vec!["udp port 5 is taken by the older A/ns/x/l".into()]);
    let bare = |w| with(w, |s| s.without_proxy = 2);
    let soon = Duration::from_millis(10);
    let late = PATIENCE;
    // (nodes, words, waited, reason, part of the message)
    type Row = (&'static [&'static str], Vec<PlanReport>, Duration, Reason, &'static str);
    let table: Vec<Row> = vec![
        (
            &["a", "b"],
            vec![word("a", [2, 2, 0, 0]), word("b", [1, 1, 0, 0])],
            soon,
            Reason::Programmed,
            "wanted 3, acked 3",
        ),
        (
            &["a", "b"],
            vec![word("a", [2, 2, 0, 0]), word("b", [1, 0, 0, 0])],
            late,
            Reason::Pending,
            "wanted 3, acked 2",
        ),
        (&["a", "b"], vec![word("a", [2, 2, 0, 0])], soon, Reason::Pending, "wanted 2, acked 2"),
        (&["a", "b"], vec![word("a", [2, 2, 0, 0])], late, Reason::Unreachable, "not reached on b"),
        (&["a"], vec![old(word("a", [1, 1, 0, 0]))], late, Reason::Pending, "wanted 1, acked 0"),
        (&["a"], vec![unheard(old(word("a", [1, 1, 0, 0])))], soon, Reason::Pending, "wanted 1, acked 0"),
        (
            &["a"],
            vec![unheard(old(word("a", [2, 2, 0, 0])))],
            late,
            Reason::Unreachable,
            "wanted 2, acked 0, unreachable 2; not reached on a",
        ),
        (&["a"], vec![unheard(word("a", [1, 1, 0, 0]))], late, Reason::Programmed, "wanted 1, acked 1"),
        (&["a"], vec![word("a", [2, 1, 0, 1])], soon, Reason::Unreachable, "unreachable 1"),
        (
            &["a"],
            vec![word("a", [4, 3, 1, 0])],
            soon,
            Reason::Nacked,
            "wanted 4, acked 3, refused 1; node a: nodeproxy/gw, listener A/ns/o/l: no",
        ),
        (&["a"], vec![conflict(word("a", [1, 1, 0, 0]))], soon, Reason::PortConflict, "A/ns/x/l"),
        (&["a"], vec![conflict(word("a", [2, 1, 1, 0]))], soon, Reason::Nacked, "refused 1"),
        (&[], vec![], soon, Reason::NoProxy, "no proxy serves it"),
        (&["a"], vec![bare(word("a", [0, 0, 0, 0]))], soon, Reason::NoProxy, "pods without a proxy 2"),
        (&[], vec![word("grace", [1, 1, 0, 0])], soon, Reason::Programmed, "wanted 1"),
        (&[], vec![unheard(old(word("gone", [1, 1, 0, 0])))], late, Reason::NoProxy, ""),
    ];
    for (row, (nodes, words, waited, reason, part)) in table.into_iter().enumerate() {
        let said = mk_subject(nodes).status(&words, waited);
        let found = condition(&said, ConditionType::Programmed);
        assert_eq!((found.reason, found.generation), (reason, Some(3)), "row {row}: {found:?}");
        assert!(found.message.contains(part), "row {row}: {}", found.message);
        assert_eq!(found.status == Status::True, reason == Reason::Programmed, "row {row}");
        assert_eq!(said.pending, reason == Reason::Pending, "row {row}");
    }
}

#[test]
fn of_many_nodes_that_are_not_reached_the_first_are_named_and_all_are_counted() {
    let nodes: Vec<String> = (1..=9).map(|number| format!("n{number}")).collect();
    let subject = mk_subject(&nodes.iter().map(String::as_str).collect::<Vec<_>>());
    let silent = |node| unheard(with(word(node, [1, 0, 0, 0]), |s| s.version = 1));
    for (words, message) in [
        (vec![], "unreachable 9; not reached on n1, n2, n3, n4, n5 and 4 more"),
        (
            vec![word("n1", [1, 1, 0, 0]), word("n3", [1, 1, 0, 0])],
            "unreachable 7; not reached on n2, n4, n5, n6, n7 and 2 more",
        ),
        (
            vec![silent("n8"), silent("n9"), word("elsewhere", [1, 1, 0, 0])],
            "unreachable 9; not reached on n8, n9, n1, n2, n3 and 4 more",
        ),
    ] {
        let found = condition(&subject.status(&words, PATIENCE), ConditionType::Programmed).clone();
        assert!(found.message.ends_with(message), "{found:?}");
    }
}

#[test]
fn healthy_is_as_the_node_sees_it_that_sees_the_fewest() {
    let seen = |node: &str, endpoints, healthy, unchecked| {
        with(word(node, [1, 1, 0, 0]), |s| {
            (s.endpoints, s.healthy, s.unchecked) = (endpoints, healthy, unchecked)
        })
    };
    let table = vec![
        (vec![seen("a", 3, 3, 0), seen("b", 3, 3, 0)], Reason::Healthy, true, "3 of 3"),
        (
            vec![seen("a", 3, 3, 0), seen("b", 3, 2, 0)],
            Reason::Degraded,
            true,
            "2 of 3 endpoints healthy (as seen from node b)",
        ),
        (vec![seen("a", 3, 0, 0), seen("b", 3, 2, 0)], Reason::Unhealthy, false, "0 of 3"),
        (vec![seen("a", 3, 3, 3)], Reason::Unchecked, true, "3 of them unchecked"),
        (vec![seen("a", 3, 3, 1)], Reason::Healthy, true, "1 of them unchecked"),
        (vec![seen("a", 0, 0, 0)], Reason::NoEndpoints, false, "no endpoint"),
    ];
    for (row, (words, reason, holds, part)) in table.into_iter().enumerate() {
        let said = mk_subject(&["a", "b"]).status(&words, Duration::ZERO);
        let found = condition(&said, ConditionType::Healthy);
        assert_eq!((found.reason, found.status == Status::True), (reason, holds), "row {row}: {found:?}");
        assert!(found.message.contains(part), "row {row}: {}", found.message);
    }
    assert!(
        mk_subject(&["a"])
            .status(&[], Duration::ZERO)
            .conditions
            .iter()
            .all(|c| c.type_ != ConditionType::Healthy)
    );
}

#[test]
fn object_of_which_nothing_is_served_says_so_and_one_with_an_earlier_version_speaks_of_that() {
    let mut subject = mk_subject(&["a"]);
    subject.verdict.generation = 4;
    subject.verdict.rejection =
        Some(crate::object::Rejection { reason: Reason::Invalid, message: "bad".into() });
    let said = subject.status(&[word("a", [1, 1, 0, 0])], Duration::ZERO);
    let found = condition(&said, ConditionType::Programmed);
    assert_eq!((found.reason, found.generation), (Reason::Programmed, Some(3)));
    subject.served = None;
    let said = subject.status(&[], Duration::ZERO);
    let found = condition(&said, ConditionType::Programmed);
    assert_eq!((found.reason, found.generation, said.pending), (Reason::Invalid, Some(4), false));
    assert!(found.message.ends_with(": bad"), "{}", found.message);
}

#[test]
fn lack_of_endpoints_is_told_with_its_cause_and_not_of_listeners_that_lost_their_port() {
    let mut subject = mk_subject(&["a"]);
    subject.verdict.refs = Refs::Empty("app=wroker".into());
    let mut empty = word("a", [1, 1, 0, 0]);
    Arc::make_mut(&mut empty.status).endpoints = 0;
    let said = subject.status(std::slice::from_ref(&empty), Duration::ZERO);
    let found = condition(&said, ConditionType::Healthy);
    assert_eq!(found.reason, Reason::NoEndpoints);
    assert!(found.message.contains("app=wroker"), "{}", found.message);
    Arc::make_mut(&mut empty.status).conflicts.push("listener l: taken".into());
    let said = subject.status(&[empty], Duration::ZERO);
    assert!(said.conditions.iter().all(|c| c.type_ != ConditionType::Healthy));
}

#[test]
fn withdrawn_plan_lingers_while_a_proxy_that_can_be_reached_runs_it() {
    assert!(!lingers(&[]));
    assert!(lingers(&[word("a", [1, 1, 0, 0])]));
    assert!(!lingers(&[word("a", [1, 0, 0, 1])]), "its proxies are away");
    assert!(!lingers(&[unheard(word("a", [1, 1, 0, 0]))]), "its agent is away");
    assert!(lingers(&[unheard(word("a", [1, 1, 0, 0])), word("b", [1, 1, 0, 0])]));
}

#[test]
fn node_proxy_is_programmed_when_it_runs_on_all_its_nodes() {
    let subject = Subject { of: Of::NodeProxy(ProxyKind::Envoy), ..mk_subject(&["a", "b"]) };
    let (runs, fails) = ([1, 1, 0, 0], [1, 0, 1, 0]);
    let old = |node| with(word(node, runs), |status| status.version = VERSION - 1);
    let cases = [
        (vec![word("a", runs), word("b", runs)], 0, Reason::Programmed, 2, "runs on 2 of 2 nodes"),
        (vec![word("a", runs)], 0, Reason::Pending, 1, "runs on 1 of 2 nodes"),
        (vec![word("a", runs), old("b")], 0, Reason::Pending, 1, "runs on 1 of 2 nodes"),
        (vec![word("a", runs)], 9, Reason::Unreachable, 1, "not heard of on 1: b"),
        (
            vec![word("a", runs), word("b", fails)],
            0,
            Reason::NotRunning,
            1,
            "fails on 1; node b: nodeproxy/gw",
        ),
        // What a node said of this version stands while its agent is away: the proxy goes on.
        (vec![word("a", runs), unheard(word("b", runs))], 9, Reason::Programmed, 2, "2 of 2"),
        (vec![word("a", runs), word("b", runs), word("c", fails)], 0, Reason::Programmed, 2, "2 of 2"),
    ];
    for (words, waited, reason, ready, message) in cases {
        let said = subject.status(&words, Duration::from_secs(waited));
        let found = condition(&said, ConditionType::Programmed);
        assert_eq!((found.reason, &said.fields), (reason, &nodes(2, ready)), "{found:?}");
        assert!(found.message.contains(message), "{}", found.message);
        assert_eq!(said.pending, reason == Reason::Pending);
        assert_eq!(said.conditions.len(), 2, "Accepted and Programmed");
    }
    let nowhere = Subject { of: Of::NodeProxy(ProxyKind::Envoy), ..mk_subject(&[]) };
    assert_eq!(
        condition(&nowhere.status(&[], Duration::ZERO), ConditionType::Programmed).reason,
        Reason::NoNode
    );
}

#[test]
fn node_whose_agent_knows_no_l7mp_is_told_with_what_to_do() {
    let subject = Subject { of: Of::NodeProxy(ProxyKind::L7mp), ..mk_subject(&["a", "b"]) };
    let lacking = PlanReport::lacking(&"b".into(), subject.served.as_ref().unwrap());
    let said = subject.status(&[word("a", [1, 1, 0, 0]), lacking], Duration::ZERO);
    let found = condition(&said, ConditionType::Programmed);
    assert_eq!((found.reason, &said.fields), (Reason::NotRunning, &nodes(2, 1)));
    assert_eq!(
        found.message,
        "runs on 1 of 2 nodes, fails on 1; node b: its agent is of a version that runs Envoys only: update the agent"
    );
}

/// A board with one object.
struct Desk {
    board: Board,
    key: ObjectRef,
    start: Instant,
}

// === impl Desk ===

impl Desk {
    fn new() -> Self {
        Self {
            board: Board::default(),
            key: ObjectRef::namespaced(&portreeve_api::a::virtual_service::KIND, "ns", "o"),
            start: Instant::now(),
        }
    }

    fn at(&self, ms: u64) -> Instant {
        self.start + Duration::from_millis(ms)
    }

    /// This is to stand there, of the first version.
    fn say(&mut self, ms: u64, words: &[PlanReport]) {
        let now = self.at(ms);
        let waited = self.board.waited(&self.key, (3, Some(VERSION)), now);
        self.board.set(&self.key, mk_subject(&["a"]).status(words, waited), now);
    }

    /// What is due is written; answers with its reason.
    fn write(&mut self, ms: u64) -> Option<Reason> {
        let now = self.at(ms);
        let (key, said) = self.board.take(now)?;
        let reason = condition(&said, ConditionType::Programmed).reason;
        self.board.written(&key, said, now);
        Some(reason)
    }
}

#[test]
fn first_word_is_written_at_the_last_ack_or_after_300_ms() {
    let mut desk = Desk::new();
    desk.say(0, &[]);
    assert_eq!(desk.write(299), None);
    desk.say(299, &[word("a", [1, 1, 0, 0])]);
    assert_eq!(desk.write(299), Some(Reason::Programmed), "at once");
    assert_eq!(desk.board.deadline(), None, "one write");
    let mut desk = Desk::new();
    desk.say(0, &[]);
    assert_eq!(desk.write(FIRST.as_millis() as u64), Some(Reason::Pending));
    desk.say(400, &[word("a", [2, 1, 0, 0])]);
    assert_eq!(desk.write(1400), None, "a count on its way is worth no write");
    desk.say(1500, &[word("a", [2, 2, 0, 0])]);
    assert_eq!(desk.write(1500), Some(Reason::Programmed), "the answer that was waited for");
    assert_eq!(desk.board.deadline(), None, "two writes");
}

#[test]
fn later_changes_are_spread_and_those_that_pass_are_not_written() {
    let mut desk = Desk::new();
    desk.say(0, &[word("a", [1, 1, 0, 0])]);
    desk.write(0);
    desk.say(10, &[word("a", [1, 0, 1, 0])]);
    let due = desk.board.deadline().unwrap();
    assert!(due > desk.at(10) && due <= desk.at(10) + JITTER);
    desk.say(20, &[word("a", [1, 1, 0, 0])]);
    assert_eq!(desk.board.deadline(), None, "it is as it was");
    desk.say(30, &[word("a", [1, 0, 0, 0])]);
    assert!(
        desk.board.deadline().unwrap() > desk.at(30) + JITTER,
        "mostly over before anybody could read of it"
    );
}

#[test]
fn overwritten_conditions_are_restored() {
    let mut desk = Desk::new();
    desk.say(0, &[word("a", [1, 1, 0, 0])]);
    let said = mk_subject(&["a"]).status(&[word("a", [1, 1, 0, 0])], Duration::ZERO);
    let mut stands = Vec::new();
    for one in said.conditions {
        conditions::set(&mut stands, one, Timestamp::UNIX_EPOCH);
    }
    let mut other = stands.clone();
    other[0].status = "False".into();
    desk.write(0);
    for (ms, seen) in [(10, (&other, Some(3))), (2000, (&stands, None))] {
        desk.board.observe(&desk.key.clone(), (&stands, Some(3)), desk.at(ms));
        assert_eq!(desk.board.deadline(), None, "our own words");
        desk.board.observe(&desk.key.clone(), (seen.0, seen.1), desk.at(ms));
        assert_eq!(desk.write(ms + JITTER.as_millis() as u64), Some(Reason::Programmed), "{seen:?}");
    }
}

#[test]
fn object_that_the_hub_may_not_annotate_is_tried_again_much_later() {
    let mut desk = Desk::new();
    desk.say(0, &[word("a", [1, 1, 0, 0])]);
    let (key, _) = desk.board.take(desk.at(0)).unwrap();
    desk.board.forbidden(&key, desk.at(0));
    let again = desk.board.deadline().unwrap();
    assert!(again >= desk.at(60_000) && again <= desk.at(60_000) + JITTER, "{again:?}");
}

#[test]
fn what_failed_is_tried_again_and_what_is_gone_is_not() {
    let mut desk = Desk::new();
    desk.say(0, &[word("a", [1, 1, 0, 0])]);
    let (key, _) = desk.board.take(desk.at(0)).unwrap();
    desk.board.failed(&key, desk.at(0));
    assert!(desk.board.deadline().is_some_and(|at| at > desk.at(1000)));
    desk.board.forget(&key);
    assert_eq!(desk.board.deadline(), None);
}

#[test]
fn object_that_others_look_up_is_not_said_to_run_anywhere() {
    let part = Subject { of: Of::Part, served: None, ..mk_subject(&[]) };
    let types: Vec<ConditionType> =
        part.status(&[], Duration::ZERO).conditions.iter().map(|one| one.type_).collect();
    assert_eq!(types, [ConditionType::Accepted, ConditionType::ResolvedRefs]);
}

/// A route and two gateways that it is attached to.
fn mk_route() -> (Desk, [ObjectRef; 2]) {
    let mut desk = Desk::new();
    desk.say(0, &[word("a", [1, 1, 0, 0])]);
    desk.write(0);
    (
        desk,
        ["one", "two"]
            .map(|name| ObjectRef::namespaced(&portreeve_api::a::virtual_service::KIND, "ns", name)),
    )
}

/// A contribution to the status of one object.
fn about(key: &ObjectRef, message: &str) -> BTreeMap<ObjectRef, Vec<Condition>> {
    let message = message.to_owned();
    let (type_, status, reason) = (ConditionType::Accepted, Status::True, Reason::Accepted);
    [(key.clone(), vec![Condition { type_, status, reason, message, generation: Some(3) }])].into()
}

#[test]
fn status_is_composed_of_its_contributors_and_the_part_of_one_that_is_removed_disappears() {
    let (mut desk, [one, two]) = mk_route();
    let (key, late) = (desk.key.clone(), JITTER.as_millis() as u64);
    desk.board.contribute(&one, about(&key, "by one"), desk.at(10));
    desk.board.contribute(&two, about(&key, "by two"), desk.at(10));
    let parts = |desk: &mut Desk, ms| {
        let (key, said) = desk.board.take(desk.at(ms)).unwrap();
        desk.board.written(&key, said.clone(), desk.at(ms));
        said.parts.into_iter().map(|(by, part)| (by, part[0].message.clone())).collect::<Vec<_>>()
    };
    let both = [(one.clone(), "by one".to_owned()), (two.clone(), "by two".to_owned())];
    assert_eq!(parts(&mut desk, 10 + late), both, "in one write");
    assert_eq!(desk.board.deadline(), None);
    desk.board.contribute(&one, about(&key, "by one"), desk.at(20));
    assert_eq!(desk.board.deadline(), None, "it contributes what it did before");
    desk.board.contribute(&one, BTreeMap::new(), desk.at(30));
    assert_eq!(parts(&mut desk, 30 + late), both[1..]);
    desk.say(40, &[word("a", [1, 1, 0, 0])]);
    assert_eq!(desk.board.deadline(), None, "its own words leave the contributions");
}

#[test]
fn contribution_to_an_object_that_comes_later_waits_for_it() {
    let (mut desk, [one, _]) = (Desk::new(), mk_route().1);
    desk.board.contribute(&one, about(&desk.key, "early"), desk.at(0));
    assert_eq!(desk.board.deadline(), None, "the object is not known");
    for ms in [10, 20] {
        desk.say(ms, &[word("a", [1, 1, 0, 0])]);
        let (key, said) = desk.board.take(desk.at(ms)).unwrap();
        assert_eq!(said.parts.len(), 1);
        desk.board.forget(&key);
    }
}

#[test]
fn all_objects_of_a_kind_are_written_again_when_nothing_stands_there() {
    let (mut desk, _) = mk_route();
    desk.board.write_again(&portreeve_api::own::node_proxy::KIND, desk.at(10));
    assert_eq!(desk.board.deadline(), None, "another kind");
    desk.board.write_again(desk.key.kind, desk.at(10));
    assert_eq!(desk.write(10 + JITTER.as_millis() as u64), Some(Reason::Programmed));
}
