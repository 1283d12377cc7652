//! Tests of the pure state: which verdicts win, when they become stale, and which Plans change.

use portreeve_api::plan::{Check, Health, Unhealthy};
use portreeve_api::report::{PlanStatus, Unknown, Verdicts};

use super::*;

/// Latest reports with a manual clock, in milliseconds.
struct Rig {
    latest: LatestReports,
    start: Instant,
    now_ms: u64,
    nodes: Vec<&'static str>,
}

// === impl Rig ===

impl Rig {
    fn new() -> Self {
        Self { latest: LatestReports::default(), start: Instant::now(), now_ms: 0, nodes: Vec::new() }
    }

    fn now(&self) -> Instant {
        self.start + Duration::from_millis(self.now_ms)
    }

    fn attach(&mut self, node: &str) -> Attached {
        self.latest.attach(&mk_hello(node, &[]), self.now()).unwrap()
    }

    /// Applies a report, and returns the change of the node's Health.
    fn hear(&mut self, stream: &mut Attached, report: Report) -> Option<Health> {
        let news = self.latest.take(stream, report, false, self.now()).unwrap();
        news.and_then(|news| {
            assert_eq!(news.node, stream.node);
            news.health
        })
    }

    fn beat(&mut self, stream: &mut Attached) -> Option<Health> {
        self.hear(stream, Report::default())
    }

    /// Advances the time as the task does, and returns the nodes whose Health changed, and how.
    fn pass(&mut self, ms: u64) -> Vec<(String, Option<bool>)> {
        let (end, mut news) = (self.now_ms + ms, Vec::new());
        while self.now_ms < end {
            self.now_ms = (self.now_ms + 50).min(end);
            let nodes = self.nodes.clone();
            news.extend(self.latest.lapse(self.now(), |node| nodes.contains(&&**node)));
        }
        news.into_iter().map(|one| (one.node.to_string(), one.health.map(|h| h.stale))).collect()
    }

    fn changed(&mut self) -> Vec<String> {
        self.latest.statuses.take_changed().keys().map(ToString::to_string).collect()
    }
}

fn mk_hello(node: &str, programs: &[&str]) -> Hello {
    let programs = programs.iter().map(ToString::to_string).collect();
    Hello { node: node.into(), agent_version: String::new(), programs }
}

fn verdicts(epoch: u64, sequence: u64, uids: &[&str]) -> Report {
    let one = |uid: &&str| Unhealthy { uid: (*uid).into(), port: 7, ..Default::default() };
    let verdicts = Verdicts { epoch, sequence, unhealthy: uids.iter().map(one).collect() };
    Report { verdicts: Some(verdicts), ..Default::default() }
}

fn plans(named: &[(&str, u32)], gone: &[&str]) -> Report {
    let status = |(plan, acked): &(&str, u32)| PlanStatus {
        plan: (*plan).into(),
        acked: *acked,
        ..Default::default()
    };
    Report {
        plans: named.iter().map(status).collect(),
        plans_gone: gone.iter().map(|plan| (*plan).into()).collect(),
        ..Default::default()
    }
}

fn uids(health: &Health) -> Vec<&str> {
    health.unhealthy.iter().map(|one| one.uid.as_str()).collect()
}

#[test]
fn changed_plan_is_told_with_the_time_of_the_report_that_is_read() {
    let mut rig = Rig::new();
    let mut streams = ["n1", "n2"].map(|node| rig.attach(node));
    rig.hear(&mut streams[0], plans(&[("a", 1)], &[]));
    rig.hear(&mut streams[0], plans(&[("b", 1)], &[]));
    assert_eq!(rig.changed(), ["a", "b"]);
    assert_eq!(rig.latest.statuses.take_change("a"), None, "nothing came since");
    // The second node's report comes after the changes were taken, and before the statuses are read.
    rig.now_ms = 7;
    rig.hear(&mut streams[1], plans(&[("a", 1)], &[]));
    assert_eq!(rig.latest.statuses_of("a").len(), 2);
    assert_eq!(rig.latest.statuses.take_change("a"), Some(rig.now()));
    assert!(rig.changed().is_empty(), "it was told");
}

#[test]
fn newest_verdicts_win_whatever_stream_they_come_by() {
    // (stream, epoch, sequence, applied)
    let table = [
        (0, 5, 1, true),
        (1, 5, 1, false),
        (1, 5, 2, true),
        (0, 5, 1, false),
        (0, 4, 9, false),
        (1, 6, 0, true),
        (0, 5, 3, false),
        (0, 6, 1, true),
    ];
    let mut rig = Rig::new();
    let mut streams = [rig.attach("n"), rig.attach("n")];
    for (at, (stream, epoch, sequence, taken)) in table.into_iter().enumerate() {
        let news = rig.hear(&mut streams[stream], verdicts(epoch, sequence, &[&format!("u{at}")]));
        assert_eq!(news.is_some(), taken, "row {at}");
        if let Some(health) = news {
            assert_eq!(
                (health.epoch, health.sequence, uids(&health)),
                (epoch, sequence, vec![&*format!("u{at}")])
            );
        }
    }
    assert_eq!(rig.latest.epoch_of(&"n".into()), 6);
}

#[test]
fn node_that_is_not_heard_for_its_lease_is_stale_until_it_is_heard_again() {
    let mut rig = Rig::new();
    let mut stream = rig.attach("n");
    assert!(!rig.hear(&mut stream, verdicts(1, 1, &["u"])).unwrap().stale);
    for _ in 0..10 {
        assert!(rig.pass(900).is_empty());
        assert!(rig.beat(&mut stream).is_none(), "a beat alone is no news");
    }
    assert_eq!(rig.pass(1100), [("n".into(), Some(true))]);
    assert!(rig.pass(5000).is_empty(), "it is said once");
    let again = rig.beat(&mut stream).unwrap();
    assert!(!again.stale);
    assert_eq!(uids(&again), ["u"], "what was said stands");
    assert_eq!(rig.pass(1100), [("n".into(), Some(true))]);
}

#[test]
fn node_that_said_nothing_has_no_health() {
    let mut rig = Rig::new();
    let mut stream = rig.attach("n");
    assert!(rig.beat(&mut stream).is_none());
    assert!(rig.pass(5000).is_empty());
    assert_eq!(rig.latest.epoch_of(&"n".into()), 0);
}

#[test]
fn agent_that_has_not_probed_yet_renews_nothing_of_its_predecessor() {
    let mut rig = Rig::new();
    let mut old = rig.attach("n");
    rig.hear(&mut old, verdicts(1, 1, &["u"]));
    rig.latest.detach(&old);
    let mut new = rig.attach("n");
    rig.beat(&mut new);
    rig.pass(900);
    rig.beat(&mut new);
    assert_eq!(rig.pass(200), [("n".into(), Some(true))]);
    assert!(!rig.hear(&mut new, verdicts(2, 0, &[])).unwrap().stale);
}

#[test]
fn agent_whose_successor_has_spoken_renews_nothing() {
    let mut rig = Rig::new();
    let (mut old, mut new) = (rig.attach("n"), rig.attach("n"));
    rig.hear(&mut old, verdicts(1, 1, &["u"]));
    rig.hear(&mut new, verdicts(2, 1, &[]));
    let mut stale = Vec::new();
    for _ in 0..4 {
        stale.extend(rig.pass(400));
        rig.beat(&mut old);
    }
    assert_eq!(stale, [("n".into(), Some(true))]);
}

#[test]
fn hub_that_did_not_listen_blames_nobody() {
    let mut rig = Rig::new();
    let mut stream = rig.attach("n");
    rig.hear(&mut stream, verdicts(1, 1, &[]));
    rig.pass(200);
    rig.now_ms += 10_000;
    assert!(rig.pass(50).is_empty(), "the process was stopped, not the agent");
    assert_eq!(rig.pass(1100), [("n".into(), Some(true))]);
}

#[test]
fn order_of_the_unhealthy_does_not_matter() {
    let mut rig = Rig::new();
    let (mut one, mut other) = (rig.attach("a"), rig.attach("b"));
    let first = rig.hear(&mut one, verdicts(1, 1, &["u", "v", "u"])).unwrap();
    let second = rig.hear(&mut other, verdicts(1, 1, &["v", "u"])).unwrap();
    assert_eq!(first.unhealthy, second.unhealthy, "two replicas send the same bytes");
}

#[test]
fn silent_node_is_forgotten_when_there_is_no_such_node() {
    for (there, forgotten) in [(vec!["n"], false), (vec![], true)] {
        let mut rig = Rig::new();
        rig.nodes = there;
        let mut stream = rig.attach("n");
        rig.hear(&mut stream, verdicts(1, 1, &[]));
        rig.hear(&mut stream, plans(&[("p", 1)], &[]));
        rig.latest.detach(&stream);
        rig.pass(2000);
        rig.changed();
        let news = rig.pass(2_000_000);
        assert_eq!(news == [("n".into(), None)], forgotten, "{news:?}");
        assert_eq!(rig.changed() == ["p"], forgotten);
        assert_eq!(rig.latest.statuses.of("p").count() == 0, forgotten);
    }
}

#[test]
fn latest_word_on_a_plan_stands_until_it_is_gone() {
    let mut rig = Rig::new();
    let mut streams = [rig.attach("a"), rig.attach("b")];
    rig.hear(&mut streams[0], plans(&[("p", 1), ("q", 1)], &[]));
    rig.hear(&mut streams[1], plans(&[("p", 2)], &[]));
    assert_eq!(rig.changed(), ["p", "q"]);
    rig.hear(&mut streams[0], plans(&[("p", 1)], &[]));
    assert!(rig.changed().is_empty(), "the same again is no news");
    rig.hear(&mut streams[0], plans(&[("p", 3)], &["q"]));
    assert_eq!(rig.changed(), ["p", "q"]);
    let acked: Vec<_> = rig.latest.statuses.of("p").map(|(node, s)| (node.to_string(), s.acked)).collect();
    assert_eq!(acked, [("a".into(), 3), ("b".into(), 2)]);
    assert_eq!(rig.latest.statuses.of("q").count(), 0);
}

#[test]
fn first_report_of_a_stream_names_all_plans() {
    let mut rig = Rig::new();
    let mut old = rig.attach("n");
    rig.hear(&mut old, plans(&[("p", 1), ("q", 1)], &[]));
    rig.changed();
    let mut new = rig.attach("n");
    rig.latest.take(&mut new, plans(&[("q", 1)], &[]), true, rig.now()).unwrap();
    assert_eq!(rig.changed(), ["p"]);
    rig.hear(&mut old, plans(&[("p", 9)], &["q"]));
    assert!(rig.changed().is_empty(), "the word of a stream that was replaced does not count");
}

#[test]
fn plans_of_a_node_that_falls_silent_have_news() {
    let mut rig = Rig::new();
    let mut stream = rig.attach("n");
    rig.hear(&mut stream, plans(&[("p", 1)], &[]));
    rig.changed();
    rig.pass(1100);
    assert_eq!(rig.changed(), ["p"]);
    assert_eq!(rig.latest.heard(&"n".into()).map(|(_, reachable)| reachable), Some(false));
    rig.beat(&mut stream);
    assert_eq!(rig.changed(), ["p"]);
    assert_eq!(rig.latest.heard(&"n".into()).map(|(_, reachable)| reachable), Some(true));
}

#[test]
fn too_much_is_refused_and_changes_nothing() {
    let mut rig = Rig::new();
    let mut stream = rig.attach("n");
    rig.hear(&mut stream, plans(&[("p", 1)], &[]));
    rig.changed();
    let names: Vec<String> = (0..100_000).map(|i| format!("x{i}")).collect();
    let many: Vec<(&str, u32)> = names.iter().map(|name| (name.as_str(), 1)).collect();
    // Neither unknown Plans nor Plans that the node keeps make room.
    for gone in [vec![], vec!["a", "b"], vec!["p"]] {
        let mut report = Report { verdicts: verdicts(1, 1, &["u"]).verdicts, ..plans(&many, &gone) };
        report.plans.push(plans(&[("p", 1)], &[]).plans.remove(0));
        let words = rig.latest.take(&mut stream, report, false, rig.now()).unwrap_err();
        assert_eq!(words, "plans: node n has 100001 Plans, 100000 are allowed");
        assert!(rig.changed().is_empty());
        assert_eq!(rig.latest.epoch_of(&"n".into()), 0);
    }
    rig.hear(&mut stream, plans(&many, &["p"]));
    assert_eq!(rig.changed().len(), 100_001);
}

#[test]
fn plan_that_the_continuation_of_a_first_report_names_is_not_gone() {
    let mut rig = Rig::new();
    let mut old = rig.attach("n");
    rig.hear(&mut old, plans(&[("p", 1), ("q", 1), ("r", 1)], &[]));
    rig.changed();
    let mut new = rig.attach("n");
    let part = |named: &[(&str, u32)], more| Report { more, ..plans(named, &[]) };
    rig.latest.take(&mut new, part(&[("p", 1)], true), true, rig.now()).unwrap();
    assert!(rig.changed().is_empty(), "more follows");
    rig.latest.take(&mut new, part(&[("q", 1)], false), false, rig.now()).unwrap();
    assert_eq!(rig.changed(), ["r"]);
    rig.latest.take(&mut new, part(&[("s", 1)], false), false, rig.now()).unwrap();
    assert_eq!(rig.changed(), ["s"], "only the first reports name all");
}

#[test]
fn streams_of_a_node_are_bounded() {
    let mut rig = Rig::new();
    let streams: Vec<_> = (0..8).map(|_| rig.attach("n")).collect();
    let words = rig.latest.attach(&mk_hello("n", &[]), rig.now()).unwrap_err();
    assert_eq!(words, "node n has 8 streams already: stop some of its agents");
    rig.attach("other");
    rig.latest.detach(&streams[3]);
    rig.attach("n");
}

/// The leases of a hub without enough processor time: its checks and the reports are late.
struct Overload {
    rig: Rig,
    streams: Vec<Attached>,
    flips: usize,
}

// === impl Overload ===

impl Overload {
    fn new(nodes: usize) -> Self {
        let mut rig = Rig::new();
        let streams = (0..nodes).map(|i| rig.attach(&format!("n{i}"))).collect();
        Self { rig, streams, flips: 0 }
    }

    /// Runs for `seconds`: each report arrives `between_ms` after the previous one, and the time is checked every
    /// `look_ms`.
    fn run(&mut self, seconds: u64, between_ms: u64, look_ms: u64) {
        for ms in 0..seconds * 1_000 {
            self.rig.now_ms += 1;
            for (i, stream) in self.streams.iter_mut().enumerate() {
                if (ms + i as u64 * 7).is_multiple_of(between_ms) {
                    let news =
                        self.rig.latest.take(stream, verdicts(1, 1, &[]), false, self.rig.now()).unwrap();
                    self.flips += usize::from(news.is_some());
                }
            }
            if ms.is_multiple_of(look_ms) {
                self.flips += self.rig.latest.lapse(self.rig.now(), |_| true).len();
            }
        }
    }
}

#[test]
fn hub_that_is_late_itself_makes_no_node_stale_and_is_strict_again_soon() {
    let mut overload = Overload::new(20);
    overload.run(5, 500, 250);
    assert_eq!(overload.flips, 20, "each node's first word");
    // Checks are 0.4 s late, so reports arrive every 2 s instead of every half second.
    overload.run(2, 500, 650);
    overload.run(60, 2_000, 650);
    assert_eq!(overload.flips, 20);
    assert!(overload.rig.latest.stretch() >= Duration::from_secs(1));
    overload.run(12, 500, 250);
    assert_eq!((overload.flips, overload.rig.latest.stretch()), (20, Duration::ZERO));
    assert_eq!(overload.rig.pass(1_100).len(), 20, "all are silent, and the hub keeps up");
}

#[test]
fn stretched_lease_ends_as_soon_as_the_hub_keeps_up() {
    let mut overload = Overload::new(1);
    overload.run(10, 500, 1_000);
    overload.rig.latest.lapse(overload.rig.now(), |_| true);
    let silent_at = overload.rig.now_ms;
    let mut stale = Vec::new();
    while stale.is_empty() {
        stale = overload.rig.pass(250);
        assert!(overload.rig.now_ms < silent_at + 20_000, "it never ends");
    }
    assert!(overload.rig.now_ms <= silent_at + 11_000, "{} ms", overload.rig.now_ms - silent_at);
}

#[test]
fn streams_word_on_plans_counts_when_the_newer_one_has_ended() {
    let mut rig = Rig::new();
    let (mut stays, newer) = (rig.attach("n"), rig.attach("n"));
    rig.latest.detach(&newer);
    rig.hear(&mut stays, plans(&[("p", 1)], &[]));
    assert_eq!(rig.changed(), ["p"], "the only stream there is says so");
}

#[test]
fn stream_that_was_passed_over_is_asked_to_report_anew_when_its_word_counts_again() {
    let mut rig = Rig::new();
    let (mut stays, mut newer) = (rig.attach("n"), rig.attach("n"));
    rig.hear(&mut newer, plans(&[("p", 1)], &[]));
    rig.changed();
    rig.hear(&mut stays, plans(&[("q", 1)], &["p"]));
    assert!(rig.changed().is_empty(), "the newer one's word counts");
    rig.latest.detach(&newer);
    let words = rig.latest.take(&mut stays, Report::default(), false, rig.now()).unwrap_err();
    assert_eq!(words, "node n: a newer stream has reported in the meantime: reconnect and report again");
}

#[test]
fn beats_that_were_passed_over_cost_a_stream_nothing() {
    let mut rig = Rig::new();
    let (mut stays, newer) = (rig.attach("n"), rig.attach("n"));
    rig.beat(&mut stays);
    rig.latest.detach(&newer);
    rig.hear(&mut stays, plans(&[("p", 1)], &[]));
    assert_eq!(rig.changed(), ["p"]);
}

/// Creates verdicts together with the checks that they don't cover.
fn vague(epoch: u64, sequence: u64, uids: &[&str], unknown: &[&str]) -> Report {
    let check = |uid: &&str| Check { uid: (*uid).into(), port: 7, ..Default::default() };
    let unknown = Unknown { checks: unknown.iter().map(check).collect(), more: false };
    Report { unknown: Some(unknown), ..verdicts(epoch, sequence, uids) }
}

#[test]
fn beats_renew_nothing_that_the_agent_does_not_vouch_for() {
    let mut rig = Rig::new();
    let mut stream = rig.attach("n");
    rig.hear(&mut stream, verdicts(1, 1, &[]));
    let health = rig.hear(&mut stream, vague(1, 2, &["old"], &["new"])).unwrap();
    let unknown: Vec<_> = health.unknown.iter().map(|check| check.uid.as_str()).collect();
    assert_eq!((uids(&health), unknown, health.stale), (vec!["old"], vec!["new"], false));
    for _ in 0..10 {
        assert!(rig.pass(900).is_empty() && rig.beat(&mut stream).is_none());
    }
    let health = rig.hear(&mut stream, verdicts(1, 3, &["old"])).unwrap();
    assert!(health.unknown.is_empty(), "it is known by now");
}

#[test]
fn what_was_known_last_stands_while_an_agent_that_starts_anew_does_not_know_it() {
    let mut rig = Rig::new();
    let mut before = rig.attach("n");
    rig.hear(&mut before, verdicts(1, 1, &["bad", "gone", "worse"]));
    let mut after = rig.attach("n");
    let health = rig.hear(&mut after, vague(2, 1, &["worse"], &["bad", "good"])).unwrap();
    assert_eq!(uids(&health), ["bad", "worse"], "of what is gone nothing is kept");
    let health = rig.hear(&mut after, vague(2, 2, &["worse"], &["good"])).unwrap();
    assert_eq!(uids(&health), ["worse"], "it is healthy by now");
    let more = Report { unknown: Some(Unknown { more: true, ..Default::default() }), ..verdicts(2, 3, &[]) };
    let health = rig.hear(&mut after, more).unwrap();
    assert_eq!((uids(&health), health.more_unknown), (vec!["worse"], true));
}

#[test]
fn only_an_agent_that_is_heard_and_names_l7mp_not_lacks_it() {
    let mut rig = Rig::new();
    let lacks = |rig: &Rig, kind| rig.latest.lacks(&"n".into(), kind);
    assert!(!lacks(&rig, ProxyKind::L7mp), "nothing is known");
    rig.attach("n");
    assert!(lacks(&rig, ProxyKind::L7mp) && !lacks(&rig, ProxyKind::Envoy));
    rig.latest.attach(&mk_hello("n", &["envoy", "l7mp"]), rig.now()).unwrap();
    assert!(!lacks(&rig, ProxyKind::L7mp));
    rig.attach("n");
    assert!(lacks(&rig, ProxyKind::L7mp), "an earlier version is back");
    rig.pass(5000);
    assert!(!lacks(&rig, ProxyKind::L7mp), "its agent is away");
}
