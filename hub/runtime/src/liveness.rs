//! Whether the process makes progress ([`Liveness`]). The owner of a state counts its steps ([`Heart`]), and `/livez`
//! compares the count with the one it saw before. Neither waits for the other.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

/// How long a state may make no progress. It is generous: a slow process that is killed starts over and is slower still.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// How often [`Heart::keep`] beats.
const EVERY: Duration = Duration::from_secs(1);

/// Counts the steps of a state's owner: each pass of its task, and each step of a long change.
#[derive(Clone, Debug, Default)]
pub struct Heart {
    beats: Arc<AtomicU64>,
}

/// The states that `/livez` checks. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Liveness {
    watched: Arc<Mutex<Vec<Watched>>>,
}

#[derive(Debug)]
struct Watched {
    name: &'static str,
    /// Gone with its owner. [`Tasks`](crate::Tasks) reports that end.
    heart: Weak<AtomicU64>,
    /// The last count, and when it was seen first.
    seen: Option<(u64, Instant)>,
}

// === impl Heart ===

impl Heart {
    /// Counts one step.
    pub fn beat(&self) {
        self.beats.fetch_add(1, Ordering::Relaxed);
    }

    /// Beats once a second while `look` returns. `look` must wait for the state's lock.
    ///
    /// # Errors
    /// Never.
    pub async fn keep(self, look: impl Fn() + Send) -> anyhow::Result<()> {
        loop {
            look();
            self.beat();
            tokio::time::sleep(EVERY).await;
        }
    }
}

// === impl Liveness ===

impl Liveness {
    /// Adds a state: the process counts as dead if its heart does not beat for [`PATIENCE`]. `name` is shown to people. The
    /// state is forgotten when the last clone of the heart is dropped.
    pub fn watch(&self, name: &'static str, heart: &Heart) {
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        watched.push(Watched { name, heart: Arc::downgrade(&heart.beats), seen: None });
    }

    /// Returns the states without progress for [`PATIENCE`] or longer, and that time. It counts from the call that saw the
    /// last progress, so calls must be more frequent than [`PATIENCE`].
    pub fn still(&self, now: Instant) -> Vec<(&'static str, Duration)> {
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        watched.retain(|one| one.heart.strong_count() > 0);
        let for_how_long = |one: &mut Watched| (one.name, one.stands_since(now));
        watched.iter_mut().map(for_how_long).filter(|(_, still)| *still >= PATIENCE).collect()
    }
}

// === impl Watched ===

impl Watched {
    fn stands_since(&mut self, now: Instant) -> Duration {
        let count = self.heart.upgrade().map_or(0, |beats| beats.load(Ordering::Relaxed));
        match self.seen {
            Some((seen, at)) if seen == count => now.saturating_duration_since(at),
            _ => {
                self.seen = Some((count, now));
                Duration::ZERO
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn state_without_progress_is_dead_and_a_long_change_that_beats_is_not() {
        let (liveness, state, other) = (Liveness::default(), Heart::default(), Heart::default());
        liveness.watch("state", &state);
        liveness.watch("other", &other);
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        for now in (0..1000).step_by(10) {
            state.beat();
            other.beat();
            assert_eq!(liveness.still(at(now)), []);
        }
        for now in (1000..1110).step_by(10) {
            other.beat();
            assert_eq!(liveness.still(at(now)), [], "{now}");
        }
        assert_eq!(liveness.still(at(1110)), [("state", PATIENCE)]);
        state.beat();
        other.beat();
        assert_eq!(liveness.still(at(1120)), []);
    }

    #[test]
    fn time_before_the_first_call_does_not_count() {
        let liveness = Liveness::default();
        let (heart, start) = (Heart::default(), Instant::now());
        liveness.watch("state", &heart);
        assert_eq!(liveness.still(start + PATIENCE * 2), []);
        assert_eq!(liveness.still(start + PATIENCE * 4).len(), 1);
        drop(heart);
        assert_eq!(liveness.still(start + PATIENCE * 6), [], "its owner is gone");
    }
}
