//! Turns single results into a verdict: a verdict changes only after several equal results in a row. Entry point:
//! [`Counter::note`].

use std::sync::Arc;

use super::Pace;

/// The verdict on a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Healthy.
    Up,
    /// Healthy, but the last probe failed.
    Failing,
    /// Not healthy.
    Down(Failure),
    /// This host can't probe it any more, so its state is unknown.
    Unknown,
}

/// The reason of a failure and its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The reason, for people.
    pub reason: Arc<str>,
    /// Time of the failure, in milliseconds since the Unix epoch.
    pub since_ms: i64,
}

/// The results of one target.
#[derive(Clone, Debug, Default)]
pub struct Counter {
    verdict: Option<Verdict>,
    /// Number of consecutive results that contradict the verdict.
    against: u32,
}

// === impl Verdict ===

impl Verdict {
    /// Returns whether the last probe failed.
    pub fn failed_last(&self) -> bool {
        matches!(self, Verdict::Failing | Verdict::Down(_))
    }
}

// === impl Counter ===

impl Counter {
    /// Returns the current verdict.
    pub fn verdict(&self) -> Option<&Verdict> {
        self.verdict.as_ref()
    }

    /// Records a result: `None` for a success, or the reason of a failure. Returns the verdict if it changed. The first
    /// success counts immediately, because there is no verdict to change.
    pub fn note(&mut self, failure: Option<&str>, pace: Pace, now_ms: i64) -> Option<Verdict> {
        let is_down = matches!(self.verdict, Some(Verdict::Down(_)));
        self.against = if failure.is_some() == is_down { 0 } else { self.against + 1 };
        let next = match (failure, is_down) {
            (Some(reason), false) if self.against >= pace.fall => {
                Verdict::Down(Failure { reason: reason.into(), since_ms: now_ms })
            }
            (Some(_), false) => Verdict::Failing,
            (None, false) => Verdict::Up,
            (None, true) if self.against >= pace.rise => Verdict::Up,
            // The first reason is kept: only a change of the verdict is reported.
            (_, true) => return None,
        };
        if !matches!(next, Verdict::Failing) {
            self.against = 0;
        }
        let news = self.verdict.as_ref() != Some(&next);
        self.verdict = Some(next.clone());
        news.then_some(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn pace(fall: u32, rise: u32) -> Pace {
        Pace { interval: Duration::from_secs(1), timeout: Duration::from_millis(100), fall, rise }
    }

    /// Returns the verdicts after each result (`-` failed, `+` succeeded): `u`, `f`, `d`, or `.` for no change.
    fn verdicts(pace: Pace, results: &str) -> String {
        let mut counter = Counter::default();
        let note = |result| match counter.note((result == '-').then_some("refused"), pace, 7) {
            None => '.',
            Some(Verdict::Up) => 'u',
            Some(Verdict::Failing) => 'f',
            Some(Verdict::Down(_)) => 'd',
            Some(Verdict::Unknown) => '?',
        };
        results.chars().map(note).collect()
    }

    #[test]
    fn one_result_turns_the_verdict_by_default() {
        assert_eq!(verdicts(pace(1, 1), "+--+-"), "ud.ud");
        assert_eq!(verdicts(pace(1, 1), "-+"), "du");
    }

    #[test]
    fn so_many_failures_in_a_row_make_it_unhealthy() {
        assert_eq!(verdicts(pace(3, 1), "+--+---"), "uf.uf.d");
        assert_eq!(verdicts(pace(2, 1), "--"), "fd");
    }

    #[test]
    fn so_many_successes_in_a_row_make_it_healthy_again() {
        assert_eq!(verdicts(pace(1, 3), "-++-+++"), "d.....u");
        assert_eq!(verdicts(pace(1, 3), "+"), "u", "the first success has nothing to turn");
    }

    #[test]
    fn reason_and_time_are_those_of_the_fall() {
        let mut counter = Counter::default();
        let down = counter.note(Some("refused"), pace(1, 1), 7);
        assert_eq!(down, Some(Verdict::Down(Failure { reason: "refused".into(), since_ms: 7 })));
        assert_eq!(counter.note(Some("time-out"), pace(1, 1), 9), None);
    }
}
