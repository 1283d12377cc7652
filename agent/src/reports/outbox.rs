//! The state that this agent reports to every hub replica ([`Outbox`]).
//!
//! Pure. It is state, not a log: a slow or new stream gets the current state, not its history.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use portreeve_api::plan::{Check, Unhealthy};
use portreeve_api::proxy_names;
use portreeve_api::report::{PlanStatus, ProxyName, ProxyNames, Unknown, Verdicts};
use portreeve_api::report_bounds as bounds;
use portreeve_xds::Name;

/// Minimum interval between two raises, so that two agents that claim the same node don't raise each other's epochs
/// endlessly.
const BETWEEN_EPOCHS: Duration = Duration::from_secs(1);

/// The status of each Plan on this node, by the Plan's name.
pub type Statuses = BTreeMap<Name, Arc<PlanStatus>>;

/// The state to report.
#[derive(Clone, Debug, Default)]
pub struct Outbox {
    epoch: u64,
    sequence: u64,
    /// `None` before the first probes, when reporting that all is healthy would be wrong.
    unhealthy: Option<Arc<Vec<Unhealthy>>>,
    /// Checks that the verdicts don't cover.
    unknown: Arc<Unknown>,
    /// Whether `unhealthy` exceeds a report's limit. Endpoints that are left out aren't vouched for.
    left_out: bool,
    plans: Statuses,
    names: Arc<ProxyNames>,
    /// When the epoch was last raised.
    raised: Option<Instant>,
}

// === impl Outbox ===

impl Outbox {
    /// Creates an empty state. `epoch` is higher than any that this agent is known to have used.
    pub fn new(epoch: u64) -> Self {
        Self { epoch: epoch.clamp(1, bounds::EPOCH), ..Self::default() }
    }

    /// Sets the unhealthy endpoints of this node. Returns whether they changed.
    pub fn set_unhealthy(&mut self, mut unhealthy: Vec<Unhealthy>) -> bool {
        let all = unhealthy.len();
        unhealthy.retain(bounds::takes_endpoint);
        unhealthy.truncate(bounds::UNHEALTHY);
        let left_out = all - unhealthy.len();
        if left_out > 0 {
            let most = bounds::UNHEALTHY;
            tracing::warn!(
                left_out,
                most,
                "unhealthy endpoints that no report can hold: see the health checks' paths"
            );
        }
        unhealthy.iter_mut().for_each(|one| bounds::cut(&mut one.reason, bounds::WORDS));
        let was_left_out = std::mem::replace(&mut self.left_out, left_out > 0);
        let same = self.unhealthy.as_ref().is_some_and(|known| **known == unhealthy);
        if same && was_left_out == self.left_out {
            return false;
        }
        self.unhealthy = Some(Arc::new(unhealthy));
        self.sequence += 1;
        true
    }

    /// Sets the checks that aren't vouched for. Returns whether they changed.
    pub fn set_unknown(&mut self, mut checks: Vec<Check>) -> bool {
        let all = checks.len();
        checks.retain(bounds::takes_check);
        let more = checks.len() < all;
        let unknown = Unknown { checks, more };
        if *self.unknown == unknown {
            return false;
        }
        self.unknown = Arc::new(unknown);
        self.sequence += 1;
        true
    }

    /// Sets the status of each Plan on this node. Returns whether it changed.
    pub fn set_plans(&mut self, mut plans: Statuses) -> bool {
        plans.retain(|_, status| bounds::is_name(&status.plan));
        let differs = self.plans != plans;
        self.plans = plans;
        differs
    }

    /// Sets the names that the proxies of this node's pods announced, by the pods' uids. Returns whether they changed.
    pub fn set_names(&mut self, names: &BTreeMap<Name, String>) -> bool {
        let fit = names.iter().filter(|(uid, name)| proxy_names::fits(uid, name)).take(proxy_names::MOST);
        let one = |(uid, name): (&Name, &String)| ProxyName { uid: uid.to_string(), name: name.clone() };
        let names = ProxyNames { names: fit.map(one).collect() };
        let differs = *self.names != names;
        if differs {
            self.names = Arc::new(names);
        }
        differs
    }

    /// Handles an epoch of this node that a replica knows. If it is higher than this agent's, it belongs to an unknown
    /// predecessor, and this agent's epoch is raised above it. Returns whether the verdicts are sent again.
    pub fn heard_of(&mut self, epoch: u64, now: Instant) -> bool {
        let soon = self.raised.is_some_and(|at| now.duration_since(at) < BETWEEN_EPOCHS);
        if epoch <= self.epoch || epoch >= bounds::EPOCH || soon {
            return false;
        }
        (self.epoch, self.sequence, self.raised) = (epoch + 1, 0, Some(now));
        true
    }

    /// Returns the current epoch.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Returns the names that proxies announced.
    pub fn names(&self) -> &Arc<ProxyNames> {
        &self.names
    }

    /// Returns the status of each Plan.
    pub fn plans(&self) -> &Statuses {
        &self.plans
    }

    /// Returns epoch and sequence of the verdicts, if there are any.
    pub fn said(&self) -> Option<(u64, u64)> {
        self.unhealthy.as_ref().map(|_| (self.epoch, self.sequence))
    }

    /// Returns all verdicts.
    pub fn verdicts(&self) -> Option<Verdicts> {
        let unhealthy = self.unhealthy.as_ref()?.to_vec();
        Some(Verdicts { epoch: self.epoch, sequence: self.sequence, unhealthy })
    }

    /// Returns the checks that the verdicts don't cover.
    pub fn unknown(&self) -> Unknown {
        let unknown = Unknown::clone(&self.unknown);
        Unknown { more: unknown.more || self.left_out, ..unknown }
    }
}

#[cfg(test)]
mod tests {
    use portreeve_api::report::Report;
    use prost::Message;

    use super::super::told::Told;
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
    fn what_is_unknown_is_said_with_the_verdicts_and_its_change_is_news() {
        let check = |i: usize| Check { uid: format!("u{i}"), port: 7, ..Default::default() };
        let (mut outbox, mut told) = (Outbox::new(5), Told::new("n"));
        outbox.set_unhealthy(Vec::new());
        assert!(outbox.set_unknown(vec![check(1)]) && !outbox.set_unknown(vec![check(1)]));
        let unknown = |report: &Report| report.unknown.as_ref().map(|said| (said.checks.len(), said.more));
        assert_eq!(unknown(&told.next(&outbox)), Some((1, false)));
        assert_eq!(unknown(&told.next(&outbox)), None, "nothing is said anew");
        assert!(outbox.set_unknown(Vec::new()));
        let report = told.next(&outbox);
        assert!(report.verdicts.is_some() && report.unknown.is_none());
        outbox.set_unknown((0..=bounds::UNKNOWN).map(check).collect());
        assert_eq!(unknown(&told.next(&outbox)), Some((bounds::UNKNOWN, true)));
        outbox.set_unknown(Vec::new());
        outbox.set_unhealthy(vec![
            Unhealthy { uid: "u".into(), port: 7, ..Default::default() };
            bounds::UNHEALTHY + 1
        ]);
        assert_eq!(unknown(&told.next(&outbox)), Some((0, true)), "what is left out is not vouched for");
        let http_path = "p".repeat(bounds::PATH);
        outbox.set_unknown((0..3000).map(|i| Check { http_path: http_path.clone(), ..check(i) }).collect());
        let report = told.next(&outbox);
        assert_eq!(bounds::check(&report, false), Ok(()));
        assert!(unknown(&report).is_some_and(|(listed, more)| listed < 3000 && more));
        assert!(report.encoded_len() <= bounds::REPORT);
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

    #[test]
    fn status_for_which_a_report_has_no_room_is_in_the_next() {
        let mut outbox = Outbox::new(5);
        let name = |i: usize| format!("A/ns/p{i:05}");
        let all: Vec<String> = (0..bounds::PLANS + 10).map(name).collect();
        outbox.set_plans(plans(&all.iter().map(|name| (name.as_str(), 1)).collect::<Vec<_>>()));
        let mut told = Told::new("n");
        let first = told.next(&outbox);
        assert_eq!((first.plans.len(), first.more, told.is_behind()), (bounds::PLANS, true, true));
        let next = told.next(&outbox);
        assert_eq!((next.plans.len(), next.more, told.is_behind()), (10, false, false));
        assert_eq!(told.next(&outbox).plans, []);
    }

    #[test]
    fn status_that_makes_a_report_too_long_is_in_the_next() {
        let mut outbox = Outbox::new(5);
        let tail = "x".repeat(900);
        let all: Vec<String> = (0..6000).map(|i| format!("A/ns/{i:05}{tail}")).collect();
        outbox.set_plans(plans(&all.iter().map(|name| (name.as_str(), 1)).collect::<Vec<_>>()));
        let mut told = Told::new("n");
        let reports = [told.next(&outbox), told.next(&outbox)];
        assert_eq!(reports.iter().map(|report| report.plans.len()).sum::<usize>(), 6000);
        assert!(
            reports.iter().all(|report| report.encoded_len() <= bounds::REPORT && !report.plans.is_empty())
        );
    }

    #[test]
    fn words_that_were_shortened_are_sent_in_full_later() {
        let mut outbox = Outbox::new(5);
        let words = "x".repeat(bounds::WORDS);
        let status = |i: usize| PlanStatus {
            plan: format!("A/ns/p{i}"),
            refusal: words.clone(),
            conflicts: vec![words.clone(); bounds::CONFLICTS],
            ..Default::default()
        };
        outbox.set_plans((0..100).map(|i| (format!("A/ns/p{i}").into(), Arc::new(status(i)))).collect());
        let (mut told, mut known) = (Told::new("n"), BTreeMap::new());
        let first = told.next(&outbox);
        assert_eq!(first.plans.len(), 100, "all numbers are in the first report");
        known.extend(first.plans.into_iter().map(|status| (status.plan.clone(), status)));
        let mut reports = 1;
        while told.is_behind() {
            let report = told.next(&outbox);
            assert_eq!(bounds::check(&report, reports == 0), Ok(()));
            assert!(report.encoded_len() <= bounds::REPORT);
            known.extend(report.plans.into_iter().map(|status| (status.plan.clone(), status)));
            reports += 1;
            assert!(reports < 10, "it never ends");
        }
        assert!(outbox.plans().values().all(|status| known[&status.plan] == **status));
    }

    #[test]
    fn statuses_that_change_all_the_time_leave_room_for_the_others() {
        let mut outbox = Outbox::new(5);
        let tail = "x".repeat(900);
        let all: Vec<String> = (0..6000).map(|i| format!("A/ns/{i:05}{tail}")).collect();
        let (mut told, mut seen) = (Told::new("n"), std::collections::BTreeSet::new());
        for round in 0..2 {
            outbox.set_plans(plans(&all.iter().map(|name| (name.as_str(), round)).collect::<Vec<_>>()));
            seen.extend(told.next(&outbox).plans.into_iter().map(|status| status.plan));
        }
        assert_eq!(seen.len(), 6000);
    }

    #[test]
    fn plans_that_went_are_named_as_many_at_a_time_as_the_hub_takes() {
        for (count, tail) in [(bounds::PLANS + 10, 0), (6000, 900)] {
            let mut outbox = Outbox::new(5);
            let tail = "x".repeat(tail);
            let all: Vec<String> = (0..count).map(|i| format!("A/ns/p{i:05}{tail}")).collect();
            outbox.set_plans(plans(&all.iter().map(|name| (name.as_str(), 1)).collect::<Vec<_>>()));
            let mut told = Told::new("n");
            told.next(&outbox);
            told.next(&outbox);
            outbox.set_plans(Statuses::new());
            let reports = [told.next(&outbox), told.next(&outbox), told.next(&outbox)];
            assert_eq!(reports.iter().map(|report| report.plans_gone.len()).sum::<usize>(), count);
            for report in &reports {
                assert_eq!(bounds::check(report, false), Ok(()));
                assert!(report.encoded_len() <= bounds::REPORT);
            }
            assert_eq!(reports[2].plans_gone, Vec::<String>::new());
        }
    }

    #[test]
    fn what_the_hub_would_refuse_is_left_out_and_the_rest_is_sent() {
        let mut outbox = Outbox::new(5);
        let long = "x".repeat(bounds::PATH + 1);
        outbox.set_plans(plans(&[("", 1), (&long, 1), ("p", 1)]));
        let good = Unhealthy { uid: "u".into(), port: 7, ..Default::default() };
        outbox.set_unhealthy(vec![
            Unhealthy { uid: String::new(), ..good.clone() },
            Unhealthy { port: 0, ..good.clone() },
            Unhealthy { http_path: long, ..good.clone() },
            good,
        ]);
        let report = Told::new("n").next(&outbox);
        assert_eq!(bounds::check(&report, true), Ok(()));
        assert_eq!((names(&report), report.verdicts.as_ref().unwrap().unhealthy.len()), (vec!["p"], 1));
    }

    #[test]
    fn verdicts_with_the_longest_paths_still_leave_room_for_a_status() {
        let mut outbox = Outbox::new(5);
        let path = "/".repeat(bounds::NAME);
        let one = |i: usize| Unhealthy {
            uid: format!("u{i}"),
            port: 7,
            http_path: path.clone(),
            reason: path.clone(),
            ..Default::default()
        };
        outbox.set_unhealthy((0..bounds::UNHEALTHY).map(one).collect());
        outbox.set_plans(plans(&[("p", 1)]));
        let report = Told::new("n").next(&outbox);
        assert!(report.encoded_len() <= bounds::REPORT);
        assert_eq!((bounds::check(&report, true), names(&report)), (Ok(()), vec!["p"]));
    }
}
