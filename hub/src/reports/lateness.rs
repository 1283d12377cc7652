//! How late this hub is itself ([`Lateness`]), judged by its own looks at the time: what delays those delays reports.
//!
//! Pure: the clock is passed in. An agent must not count as silent because the hub has not got round to reading its reports:
//! each node that turns stale and back is news for every user of its endpoints, and makes the hub later still.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// A look that comes later than this is late.
const LATE: Duration = Duration::from_millis(100);

/// How long a late look counts. One alone does not: the process was stopped, and is not busy.
const WINDOW: Duration = Duration::from_secs(10);

/// A report waits for several tasks, each of which may be as late as a look: connection, stream, and the agent's next turn.
const FACTOR: u32 = 4;

/// The longest stretch: a hub that is this late is of little use.
const MOST: Duration = Duration::from_secs(30);

/// The late looks of the last [`WINDOW`].
#[derive(Debug, Default)]
pub struct Lateness {
    late: VecDeque<(Instant, Duration)>,
}

// === impl Lateness ===

impl Lateness {
    /// A look at the time came by so much later than it was meant to.
    pub fn looked(&mut self, now: Instant, late: Duration) {
        while self.late.front().is_some_and(|(at, _)| now.duration_since(*at) > WINDOW) {
            self.late.pop_front();
        }
        if late >= LATE {
            self.late.push_back((now, late));
        }
    }

    /// By how much every lease is longer now. Zero: this hub keeps up.
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

    /// Looks at these times, in milliseconds, each late by so much; then the stretch.
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
