//! How late this hub itself is ([`Lateness`]), measured by the delay of its own periodic checks: a lack of processor
//! time delays reports in the same way.
//!
//! This module is pure: the clock is passed in. An agent must not count as silent because the hub hasn't read its
//! reports yet. Each node that turns stale and back is a change for every user of its endpoints, which makes the hub
//! even later.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// A check that is later than this counts as late.
const LATE: Duration = Duration::from_millis(100);

/// How long a late check counts. A single late check doesn't: the process was stopped, which is no lack of processor
/// time.
const WINDOW: Duration = Duration::from_secs(10);

/// A report waits for several tasks (connection, stream, and the agent's next turn), each of which may be as late as a
/// check.
const FACTOR: u32 = 4;

/// Maximum extension of a lease. A hub that is even later is of little use.
const MOST: Duration = Duration::from_secs(30);

/// The late checks within the last [`WINDOW`].
#[derive(Debug, Default)]
pub struct Lateness {
    late: VecDeque<(Instant, Duration)>,
}

// === impl Lateness ===

impl Lateness {
    /// Records a check that was late by `late`.
    pub fn looked(&mut self, now: Instant, late: Duration) {
        while self.late.front().is_some_and(|(at, _)| now.duration_since(*at) > WINDOW) {
            self.late.pop_front();
        }
        if late >= LATE {
            self.late.push_back((now, late));
        }
    }

    /// Returns how much every lease is extended at present. Zero if this hub isn't late.
    pub fn stretch(&self) -> Duration {
        match self.late.len() {
            0 | 1 => Duration::ZERO,
            _ => self.late.iter().map(|(_, late)| *late).max().map_or(MOST, |late| MOST.min(late * FACTOR)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the extension after checks at these times, each late by the second value (all in milliseconds).
    fn stretch(looks: &[(u64, u64)]) -> u64 {
        let (mut lateness, start) = (Lateness::default(), Instant::now());
        for (at, late) in looks {
            lateness.looked(start + Duration::from_millis(*at), Duration::from_millis(*late));
        }
        u64::try_from(lateness.stretch().as_millis()).unwrap()
    }

    #[test]
    fn leases_stretch_while_looks_are_late_again_and_again() {
        for (looks, wanted) in [
            (&[][..], 0),
            (&[(0, 0), (250, 20), (500, 99)], 0),
            (&[(0, 9_000)], 0),
            (&[(0, 200), (500, 300)], 1_200),
            (&[(0, 300), (5_000, 200), (9_000, 0)], 1_200),
            (&[(0, 300), (5_000, 200), (11_000, 0)], 0),
            (&[(0, 300), (5_000, 200), (11_000, 100)], 800),
            (&[(0, 20_000), (20_000, 20_000)], 0),
            (&[(0, 9_000), (9_000, 9_000)], 30_000),
        ] {
            assert_eq!(stretch(looks), wanted, "{looks:?}");
        }
    }
}
