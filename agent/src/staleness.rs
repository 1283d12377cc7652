//! How long the hub's last data may be used. Entry points: [`Staleness`], which is pure, and [`run`].
//!
//! Configuration is never withdrawn because the hub is unreachable. But after a while a pod's address may be given to
//! another pod. So after the limit, endpoints without a health check keep their sessions, but get no new ones.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::local::Local;
use crate::replicas::Replicas;
use crate::store::{Content, Key, Saver};

/// How long a starting agent waits for the hub, whatever an earlier agent received.
const START: Duration = Duration::from_secs(10);

/// The time of the hub's last answer is stored this many times within the limit, and at least every minute.
const KEPT: u32 = 60;

/// Whether the hub's last data is too old. The clock is passed in.
#[derive(Debug)]
pub struct Staleness {
    bound: Duration,
    fresh_until: Instant,
    stale: bool,
    keep_at: Instant,
}

// === impl Staleness ===

impl Staleness {
    /// Creates the state of an agent whose predecessor received the hub's last answer `age` ago.
    pub fn new(bound: Duration, age: Duration, now: Instant) -> Self {
        let left = bound.saturating_sub(age).max(bound.min(START));
        Self { bound, fresh_until: now + left, stale: false, keep_at: now }
    }

    /// Records an answer of the hub.
    pub fn heard(&mut self, at: Instant) {
        self.fresh_until = self.fresh_until.max(at + self.bound);
    }

    /// Returns the new state (`true`: stale) if it has changed.
    pub fn turned(&mut self, now: Instant) -> Option<bool> {
        let stale = self.fresh_until <= now;
        (std::mem::replace(&mut self.stale, stale) != stale).then_some(stale)
    }

    /// Returns when the data becomes stale; `None` if it is.
    pub fn deadline(&self) -> Option<Instant> {
        (!self.stale).then_some(self.fresh_until)
    }

    /// Returns whether the time of an answer received now should be stored. Then it counts as stored.
    pub fn keep(&mut self, now: Instant) -> bool {
        let due = self.keep_at <= now;
        if due {
            self.keep_at = now + (self.bound / KEPT).min(Duration::from_secs(60));
        }
        due
    }
}

/// Returns how long ago a time was stored. If none was stored or the clock went back, the age is zero.
pub fn age(kept_ms: Option<u64>, now_ms: u64) -> Duration {
    Duration::from_millis(kept_ms.map_or(0, |kept| now_ms.saturating_sub(kept)))
}

/// Tells the world when the hub's data becomes stale, and when the hub answers again. Never returns.
///
/// # Errors
/// No error is expected, because the replicas live as long as the agent.
pub async fn run(
    mut staleness: Staleness,
    local: Arc<Local>,
    replicas: Replicas,
    saver: Saver,
) -> anyhow::Result<()> {
    let mut answers = replicas.heard_at();
    loop {
        if let Some(at) = replicas.feed_heard() {
            staleness.heard(at);
            if staleness.keep(Instant::now()) {
                saver.put(Key::Heard, Content::Number(portreeve_runtime::now_ms().unsigned_abs()));
            }
        }
        if let Some(stale) = staleness.turned(Instant::now()) {
            tell(stale, staleness.bound);
            local.change(|world| world.set_stale(stale));
        }
        tokio::select! {
            changed = answers.changed() => changed?,
            () = until(staleness.deadline()) => {}
        }
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

fn tell(stale: bool, bound: Duration) {
    match stale {
        true => tracing::warn!(
            max_stale = bound.as_secs(),
            "no hub has answered for too long: pods of other nodes without a health check keep their sessions and get no new ones"
        ),
        false => tracing::info!("a hub answers again: the pods of other nodes get new sessions"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUND: Duration = Duration::from_secs(3600);

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    #[test]
    fn word_is_too_old_at_the_bound_and_not_before() {
        let cases = [
            // Limit, age at the start, time of the answer, time of staleness.
            (3600, 0, None, 3600),
            (3600, 600, None, 3000),
            (3600, 3595, None, 10),
            (3600, 99_999, None, 10),
            (3, 99_999, None, 3),
            (3600, 3000, Some(100), 3700),
            (3600, 0, Some(100), 3700),
            (0, 0, None, 0),
        ];
        for (bound, age, heard, then) in cases {
            let start = Instant::now();
            let mut staleness = Staleness::new(seconds(bound), seconds(age), start);
            if let Some(heard) = heard {
                staleness.heard(start + seconds(heard));
            }
            let end = start + seconds(then);
            assert_eq!(staleness.deadline(), Some(end), "{bound} {age} {heard:?}");
            if let Some(before) = end.checked_sub(Duration::from_millis(1)).filter(|at| *at >= start) {
                assert_eq!(staleness.turned(before), None, "{bound} {age} {heard:?}");
            }
            assert_eq!(staleness.turned(end), Some(true), "{bound} {age} {heard:?}");
            assert_eq!((staleness.turned(end), staleness.deadline()), (None, None), "told once");
        }
    }

    #[test]
    fn hub_that_is_heard_again_is_told_once_and_the_bound_begins_anew() {
        let start = Instant::now();
        let mut staleness = Staleness::new(BOUND, Duration::ZERO, start);
        let late = start + 2 * BOUND;
        assert_eq!(staleness.turned(late), Some(true));
        staleness.heard(late);
        assert_eq!((staleness.turned(late), staleness.turned(late)), (Some(false), None));
        assert_eq!(staleness.deadline(), Some(late + BOUND));
        // An older answer doesn't shorten it.
        staleness.heard(start);
        assert_eq!(staleness.deadline(), Some(late + BOUND));
    }

    #[test]
    fn time_of_the_last_word_is_kept_now_and_then() {
        let start = Instant::now();
        let mut staleness = Staleness::new(seconds(600), Duration::ZERO, start);
        let kept = (0..100).filter(|i| staleness.keep(start + seconds(*i))).collect::<Vec<_>>();
        assert_eq!(kept, (0..100).step_by(10).collect::<Vec<_>>());
    }

    #[test]
    fn age_is_never_negative_and_nothing_kept_is_no_age() {
        let cases = [(None, 5000, 0), (Some(2000), 5000, 3000), (Some(9000), 5000, 0)];
        for (kept, now, age_ms) in cases {
            assert_eq!(age(kept, now), Duration::from_millis(age_ms));
        }
    }
}
