//! What this agent has to say to every replica of the hub ([`Outbox`]), and what one stream was told of it ([`Told`]).
//!
//! Pure. State, not a log: a stream that is slow, or new, hears how things are and nothing of how they came to be so.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use portreeve_api::plan::Unhealthy;
use portreeve_api::report::{Hello, PlanStatus, Report, Verdicts};
use portreeve_api::report_bounds as bounds;
use portreeve_xds::Name;
use prost::Message;

/// Two agents that claim one node must not chase each other's epochs at the speed of the network.
const BETWEEN_EPOCHS: Duration = Duration::from_secs(1);

/// Bytes of words that are left where a report would be too long.
const FEW_WORDS: usize = 64;

/// Longest report that is sent: the rest is left for what is not counted here.
const LONGEST: usize = bounds::REPORT - (64 << 10);

/// The status of each Plan that this node has a word on, by the Plan's name.
pub type Statuses = BTreeMap<Name, Arc<PlanStatus>>;

/// What there is to report.
#[derive(Clone, Debug, Default)]
pub struct Outbox {
    epoch: u64,
    sequence: u64,
    /// None before the first probes: "all is healthy" would be a lie.
    unhealthy: Option<Arc<Vec<Unhealthy>>>,
    plans: Statuses,
    /// When the epoch was last raised.
    raised: Option<Instant>,
}

/// What one stream was told.
#[derive(Debug)]
pub struct Told {
    hello: Option<Hello>,
    beat: u64,
    verdicts: Option<(u64, u64)>,
    plans: Statuses,
}

// === impl Outbox ===

impl Outbox {
    /// Nothing to report yet. `epoch` is later than any that this agent used before, as far as it knows.
    pub fn new(epoch: u64) -> Self {
        Self { epoch: epoch.clamp(1, bounds::EPOCH), ..Self::default() }
    }

    /// What is not healthy on this node now; answers whether that is news.
    pub fn set_unhealthy(&mut self, mut unhealthy: Vec<Unhealthy>) -> bool {
        unhealthy.truncate(bounds::UNHEALTHY);
        unhealthy.iter_mut().for_each(|one| bounds::cut(&mut one.reason, bounds::WORDS));
        if self.unhealthy.as_ref().is_some_and(|known| **known == unhealthy) {
            return false;
        }
        self.unhealthy = Some(Arc::new(unhealthy));
        self.sequence += 1;
        true
    }

    /// How far each Plan is on this node now; answers whether that is news.
    pub fn set_plans(&mut self, plans: Statuses) -> bool {
        let differs = self.plans != plans;
        self.plans = plans;
        differs
    }

    /// A replica knows this epoch of this node. One that is later than ours is a predecessor's of which we had not
    /// heard: what we say has to be later still. Answers whether it is said anew.
    pub fn heard_of(&mut self, epoch: u64, now: Instant) -> bool {
        let soon = self.raised.is_some_and(|at| now.duration_since(at) < BETWEEN_EPOCHS);
        if epoch <= self.epoch || epoch >= bounds::EPOCH || soon {
            return false;
        }
        (self.epoch, self.sequence, self.raised) = (epoch + 1, 0, Some(now));
        true
    }

    /// The epoch of what is said now.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    fn verdicts(&self) -> Option<Verdicts> {
        let unhealthy = self.unhealthy.as_ref()?.to_vec();
        Some(Verdicts { epoch: self.epoch, sequence: self.sequence, unhealthy })
    }
}

// === impl Told ===

impl Told {
    /// A stream that was told nothing yet.
    pub fn new(node: &str) -> Self {
        let hello = Hello { node: node.into(), agent_version: env!("CARGO_PKG_VERSION").into() };
        Self { hello: Some(hello), beat: 0, verdicts: None, plans: Statuses::new() }
    }

    /// The next report: what differs from what was told. It counts as told.
    pub fn next(&mut self, outbox: &Outbox) -> Report {
        self.beat += 1;
        let said = outbox.unhealthy.as_ref().map(|_| (outbox.epoch, outbox.sequence));
        let verdicts = if said == self.verdicts { None } else { outbox.verdicts() };
        let told = |name: &Name, status: &Arc<PlanStatus>| {
            self.plans.get(name).is_some_and(|old| Arc::ptr_eq(old, status) || old == status)
        };
        let news = outbox.plans.iter().filter(|(name, status)| !told(name, status));
        let plans = news.map(|(_, status)| bounded(status)).take(bounds::PLANS).collect();
        let gone = self.plans.keys().filter(|name| !outbox.plans.contains_key(*name));
        let plans_gone = gone.map(ToString::to_string).collect();
        self.verdicts = said;
        self.plans.clone_from(&outbox.plans);
        let hello = self.hello.take();
        fitting(Report { hello, beat: self.beat, verdicts, plans, plans_gone })
    }
}

fn bounded(status: &PlanStatus) -> PlanStatus {
    let mut status = status.clone();
    cut_words(&mut status, bounds::WORDS);
    status.conflicts.truncate(bounds::CONFLICTS);
    status
}

fn cut_words(status: &mut PlanStatus, bytes: usize) {
    bounds::cut(&mut status.refusal, bytes);
    status.conflicts.iter_mut().for_each(|text| bounds::cut(text, bytes));
}

/// A report that the hub takes: words go first, then the Plans for which there is no room.
fn fitting(mut report: Report) -> Report {
    if report.encoded_len() <= LONGEST {
        return report;
    }
    for status in &mut report.plans {
        status.conflicts.truncate(1);
        cut_words(status, FEW_WORDS);
    }
    for one in report.verdicts.iter_mut().flat_map(|verdicts| &mut verdicts.unhealthy) {
        bounds::cut(&mut one.reason, FEW_WORDS);
    }
    while report.encoded_len() > LONGEST && !report.plans.is_empty() {
        tracing::warn!(
            plans = report.plans.len(),
            "more Plans than a report has room for: some have no status"
        );
        report.plans.truncate(report.plans.len() / 2);
    }
    report
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unhealthy(uids: &[&str]) -> Vec<Unhealthy> {
        uids.iter().map(|uid| Unhealthy { uid: (*uid).into(), port: 7, ..Default::default() }).collect()
    }

    fn plans(named: &[(&str, u32)]) -> Statuses {
        let status = |(plan, acked): &(&str, u32)| {
            let status = PlanStatus { plan: (*plan).into(), acked: *acked, ..Default::default() };
            (Name::from(*plan), Arc::new(status))
        };
        named.iter().map(status).collect()
    }

    fn names(report: &Report) -> Vec<&str> {
        report.plans.iter().map(|status| status.plan.as_str()).collect()
    }

    #[test]
    fn first_report_says_who_and_everything_and_the_next_nothing() {
        let mut outbox = Outbox::new(5);
        outbox.set_unhealthy(unhealthy(&["u"]));
        outbox.set_plans(plans(&[("p", 1), ("q", 1)]));
        let mut told = Told::new("n");
        let first = told.next(&outbox);
        assert_eq!(first.hello.as_ref().map(|hello| hello.node.as_str()), Some("n"));
        let verdicts = first.verdicts.as_ref().unwrap();
        assert_eq!((verdicts.epoch, verdicts.sequence, verdicts.unhealthy.len()), (5, 1, 1));
        assert_eq!(names(&first), ["p", "q"]);
        assert_eq!(bounds::check(&first, true), Ok(()));
        let next = told.next(&outbox);
        assert_eq!(next, Report { beat: 2, ..Default::default() });
    }

    #[test]
    fn only_what_differs_is_said_and_each_stream_hears_it() {
        let mut outbox = Outbox::new(5);
        outbox.set_plans(plans(&[("p", 1), ("q", 1), ("r", 1)]));
        let mut told = [Told::new("n"), Told::new("n")];
        told.iter_mut().for_each(|told| drop(told.next(&outbox)));
        outbox.set_plans(plans(&[("p", 1), ("q", 2)]));
        outbox.set_plans(plans(&[("p", 1), ("q", 3)]));
        for told in &mut told {
            let report = told.next(&outbox);
            assert_eq!((names(&report), report.plans[0].acked), (vec!["q"], 3));
            assert_eq!(report.plans_gone, ["r"]);
            assert_eq!(told.next(&outbox).plans_gone, Vec::<String>::new());
        }
    }

    #[test]
    fn nothing_is_said_of_health_before_the_first_probes() {
        let outbox = Outbox::new(5);
        assert_eq!(Told::new("n").next(&outbox).verdicts, None);
    }

    #[test]
    fn the_same_verdicts_are_no_news() {
        let mut outbox = Outbox::new(5);
        assert!(outbox.set_unhealthy(Vec::new()), "that all is healthy is news at first");
        assert!(!outbox.set_unhealthy(Vec::new()));
        assert!(outbox.set_unhealthy(unhealthy(&["u"])));
        assert!(!outbox.set_unhealthy(unhealthy(&["u"])));
    }

    #[test]
    fn epoch_is_raised_over_a_later_one_and_everything_is_said_again() {
        let (mut outbox, mut told, now) = (Outbox::new(5), Told::new("n"), Instant::now());
        outbox.set_unhealthy(unhealthy(&["u"]));
        told.next(&outbox);
        assert!(!outbox.heard_of(5, now), "our own");
        assert!(!outbox.heard_of(3, now));
        assert!(outbox.heard_of(9, now));
        let verdicts = told.next(&outbox).verdicts.unwrap();
        assert_eq!((verdicts.epoch, verdicts.sequence, verdicts.unhealthy.len()), (10, 0, 1));
        assert!(!outbox.heard_of(20, now), "once a second at most");
        assert!(!outbox.heard_of(u64::MAX, now + BETWEEN_EPOCHS), "nothing could be later than that");
        assert!(outbox.heard_of(20, now + BETWEEN_EPOCHS));
        assert_eq!(outbox.epoch(), 21);
    }

    #[test]
    fn report_is_cut_to_what_the_hub_takes() {
        let mut outbox = Outbox::new(5);
        let words = "x".repeat(5000);
        let status = |i: usize| PlanStatus {
            plan: format!("A/ns/p{i}"),
            refusal: words.clone(),
            conflicts: vec![words.clone(); 200],
            ..Default::default()
        };
        outbox.set_plans((0..500).map(|i| (format!("A/ns/p{i}").into(), Arc::new(status(i)))).collect());
        let reason = "y".repeat(2000);
        outbox.set_unhealthy(vec![
            Unhealthy { uid: "u".into(), port: 7, reason, ..Default::default() };
            11_000
        ]);
        let report = Told::new("n").next(&outbox);
        assert!(report.encoded_len() <= bounds::REPORT);
        assert_eq!(bounds::check(&report, true), Ok(()));
        assert_eq!(report.plans.len(), 500, "words go first");
        assert_eq!(report.verdicts.unwrap().unhealthy.len(), bounds::UNHEALTHY);
    }
}
