//! The delay before a restart: exponential with a maximum, and reset after a long run.

use std::time::Duration;

/// The first wait.
pub const FIRST: Duration = Duration::from_millis(100);
/// The longest wait.
pub const LONGEST: Duration = Duration::from_secs(10);
/// After a run of this length, the next delay is [`FIRST`].
pub const FORGET_AFTER: Duration = Duration::from_secs(30);

/// The delays between starts. The clock is passed in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backoff {
    next: Duration,
}

// === impl Backoff ===

impl Default for Backoff {
    fn default() -> Self {
        Self { next: FIRST }
    }
}

impl Backoff {
    /// Returns the delay after a run of length `ran`.
    pub fn after(&mut self, ran: Duration) -> Duration {
        if ran >= FORGET_AFTER {
            *self = Self::default();
        }
        let wait = self.next;
        self.next = (wait * 2).min(LONGEST);
        wait
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Backoff, FIRST, FORGET_AFTER, LONGEST};

    #[test]
    fn waits_double_up_to_the_longest() {
        let mut backoff = Backoff::default();
        let waits: Vec<_> = (0..9).map(|_| backoff.after(Duration::ZERO).as_millis()).collect();
        assert_eq!(waits, [100, 200, 400, 800, 1_600, 3_200, 6_400, 10_000, 10_000]);
    }

    #[test]
    fn long_run_is_forgiven_and_a_shorter_one_is_not() {
        let mut backoff = Backoff::default();
        (0..20).for_each(|_| assert!(backoff.after(Duration::ZERO) <= LONGEST));
        assert_eq!(backoff.after(FORGET_AFTER - Duration::from_millis(1)), LONGEST);
        assert_eq!(backoff.after(FORGET_AFTER), FIRST);
        assert_eq!(backoff.after(Duration::ZERO), FIRST * 2);
    }
}
