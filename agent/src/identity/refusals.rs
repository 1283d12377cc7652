//! Counts refusals ([`Refused`]) and limits their log lines to one per second ([`Refusals::tell`]).

use std::time::{Duration, Instant};

/// Minimum interval between two log lines.
const PAUSE: Duration = Duration::from_secs(1);

/// Number of refusals since the agent started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Refused {
    /// Streams of strangers, answered with PERMISSION_DENIED.
    pub strangers: u64,
    /// Connections over their limit, closed without an answer.
    pub unanswered: u64,
    /// Streams of known proxies over their limit, answered with RESOURCE_EXHAUSTED.
    pub crowded: u64,
    /// Streams of known proxies that asked for too many names, ended with RESOURCE_EXHAUSTED.
    pub exhausted: u64,
}

/// The counters, and the time of the last log line.
#[derive(Debug, Default)]
pub struct Refusals {
    counted: Refused,
    told: Option<Instant>,
    suppressed: u64,
}

// === impl Refusals ===

impl Refusals {
    /// Returns the counters.
    pub fn counted(&self) -> Refused {
        self.counted
    }

    /// Counts a refusal. If a line may be logged, returns the number of refusals since the last line.
    pub fn tell(&mut self, count: impl FnOnce(&mut Refused), now: Instant) -> Option<u64> {
        count(&mut self.counted);
        if self.told.is_some_and(|told| now.duration_since(told) < PAUSE) {
            self.suppressed += 1;
            return None;
        }
        self.told = Some(now);
        Some(std::mem::take(&mut self.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::{Refusals, Refused};
    use std::time::{Duration, Instant};

    #[test]
    fn a_thousand_strangers_a_second_are_one_line_a_second_and_all_are_counted() {
        let (mut refusals, start) = (Refusals::default(), Instant::now());
        let lines: Vec<u64> = (0..3000)
            .filter_map(|i| refusals.tell(|r| r.strangers += 1, start + Duration::from_millis(i)))
            .collect();
        assert_eq!(lines, [0, 999, 999]);
        assert_eq!(refusals.counted(), Refused { strangers: 3000, ..Refused::default() });
    }
}
