//! Counts refusals by reason ([`Tally`]) and limits their log lines, so that clients can't flood the hub's log.

use std::collections::BTreeMap;

/// Minimum interval between two log lines for the same reason, in seconds.
const QUIET: i64 = 5;

/// Refusals by reason. The set of reasons is fixed, so the map's size is bounded.
#[derive(Debug, Default)]
pub struct Tally {
    reasons: BTreeMap<&'static str, Count>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Count {
    total: u64,
    unsaid: u64,
    quiet_until: i64,
}

/// The numbers for a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line {
    /// Number of refusals for this reason since the start.
    pub total: u64,
    /// Number of refusals since the last log line.
    pub unsaid: u64,
}

// === impl Tally ===

impl Tally {
    /// Counts a refusal. Returns the numbers to log if the last line is old enough.
    pub fn note(&mut self, reason: &'static str, now: i64) -> Option<Line> {
        let count = self.reasons.entry(reason).or_default();
        count.total += 1;
        if now < count.quiet_until {
            count.unsaid += 1;
            return None;
        }
        count.quiet_until = now + QUIET;
        Some(Line { total: count.total, unsaid: std::mem::take(&mut count.unsaid) })
    }

    /// Returns the number of refusals since the start, by reason.
    pub fn totals(&self) -> BTreeMap<&'static str, u64> {
        self.reasons.iter().map(|(reason, count)| (*reason, count.total)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flood_is_counted_but_logged_once_in_a_while() {
        let mut tally = Tally::default();
        let lines = (0..1000).filter_map(|_| tally.note("expired", 7)).count();
        assert_eq!((lines, tally.note("missing", 7)), (1, Some(Line { total: 1, unsaid: 0 })));
        assert_eq!(tally.note("expired", 7 + QUIET), Some(Line { total: 1001, unsaid: 999 }));
        assert_eq!(tally.totals(), BTreeMap::from([("expired", 1001), ("missing", 1)]));
    }
}
