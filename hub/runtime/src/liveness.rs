//! Whether the process makes progress ([`Liveness`]): the owner of its state counts what it does ([`Heart`]), and `/livez`
//! compares that with what it saw before. Nobody waits for anybody.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

/// How long nothing may happen. Generous: a process that is killed while it is only slow starts over, and is slower still.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// How often the heart of a state that nobody changes beats.
const EVERY: Duration = Duration::from_secs(1);

/// Counts what the owner of some state does: at each pass of its task, and at each step of a long change.
#[derive(Clone, Debug, Default)]
pub struct Heart {
    beats: Arc<AtomicU64>,
}

/// What `/livez` looks at. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Liveness {
    watched: Arc<Mutex<Vec<Watched>>>,
}

#[derive(Debug)]
struct Watched {
    name: &'static str,
    /// Gone with its owner, whose end is another's to notice.
    heart: Weak<AtomicU64>,
    /// The count that was seen last, and when it was new.
    seen: Option<(u64, Instant)>,
}

// === impl Heart ===

impl Heart {
    /// Something was done.
    pub fn beat(&self) {
        self.beats.fetch_add(1, Ordering::Relaxed);
    }

    /// Beats once a second as long as `look`, which waits for the state, returns.
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
    /// The process counts as dead if nothing is done here for [`PATIENCE`]. `name` tells a person what stands still.
    /// It is forgotten with the heart's last clone elsewhere.
    pub fn watch(&self, name: &'static str, heart: &Heart) {
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        watched.push(Watched { name, heart: Arc::downgrade(&heart.beats), seen: None });
    }

    /// What has stood still for [`PATIENCE`], and for how long. Time counts from the look that saw the last progress: looks
    /// have to come more often than that.
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
    fn only_what_stands_still_for_long_is_dead_and_a_long_change_that_goes_on_is_not() {
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
    fn time_before_the_first_look_does_not_count() {
        let liveness = Liveness::default();
        let (heart, start) = (Heart::default(), Instant::now());
        liveness.watch("state", &heart);
        assert_eq!(liveness.still(start + PATIENCE * 2), []);
        assert_eq!(liveness.still(start + PATIENCE * 4).len(), 1);
        drop(heart);
        assert_eq!(liveness.still(start + PATIENCE * 6), [], "its owner is gone");
    }
}
