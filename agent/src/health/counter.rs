//! From single results to a verdict: so many in a row, and only then. Entry point: [`Counter::note`].

use std::sync::Arc;

use super::Pace;

/// What the probes of one target say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Healthy.
    Up,
    /// Healthy, but the last probe failed.
    Failing,
    /// Not healthy.
    Down(Failure),
    /// This host can't probe it any more: nothing is known of it at present.
    Unknown,
}

/// Why and since when something is not healthy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// In words.
    pub reason: Arc<str>,
    /// Milliseconds since the Unix epoch.
    pub since_ms: i64,
}

/// The results of one target.
#[derive(Clone, Debug, Default)]
pub struct Counter {
    verdict: Option<Verdict>,
    /// Results in a row that speak against the verdict.
    against: u32,
}

// === impl Verdict ===

impl Verdict {
    /// Whether the last probe failed.
    pub fn failed_last(&self) -> bool {
        matches!(self, Verdict::Failing | Verdict::Down(_))
    }
}

// === impl Counter ===

impl Counter {
    /// The verdict on the results so far.
    pub fn verdict(&self) -> Option<&Verdict> {
        self.verdict.as_ref()
    }

    /// A result: none is a success, text the reason of a failure. Answers with the verdict when it is news. The first
    /// success counts at once: there is no verdict that it has to turn.
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
            // The reason stays the one that it fell for: a verdict is news only when it turns.
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

    /// The verdicts that a row of results makes: `-` failed, `+` good; `u`, `f`, `d`, or `.` for no news.
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
