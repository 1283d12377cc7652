//! Measures how long the machine kept a ready thread waiting. With it a test can use exact limits and still distinguish
//! a busy machine from a slow product. Entry point: [`Witness::start`].

use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Duration of each sleep of the thread.
const TICK: Duration = Duration::from_millis(1);
/// Shorter delays are normal and not recorded.
const LEAST: Duration = Duration::from_millis(1);

/// A thread that sleeps for a millisecond at a time, and records whenever it wakes up late.
///
/// It is an ordinary thread, scheduled like those of the processes under test. It is late only while other threads use
/// all processors.
pub struct Witness {
    seen: Arc<Mutex<Vec<Stall>>>,
    /// Dropped first, which ends the thread.
    end: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// A late wake-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stall {
    due: Instant,
    woken: Instant,
}

// === impl Stall ===

impl Stall {
    /// Returns how much of the stall lies between two times.
    fn within(&self, from: Instant, to: Instant) -> Duration {
        self.woken.min(to).saturating_duration_since(self.due.max(from))
    }
}

// === impl Witness ===

impl Witness {
    /// Starts the thread.
    pub fn start() -> Self {
        let (end, ended) = mpsc::channel();
        let seen: Arc<Mutex<Vec<Stall>>> = Arc::default();
        let book = seen.clone();
        let thread = std::thread::spawn(move || {
            loop {
                let due = Instant::now() + TICK;
                if ended.recv_timeout(TICK) != Err(RecvTimeoutError::Timeout) {
                    return;
                }
                let woken = Instant::now();
                if woken.saturating_duration_since(due) > LEAST {
                    book.lock().unwrap_or_else(PoisonError::into_inner).push(Stall { due, woken });
                }
            }
        });
        Self { seen, end: Some(end), thread: Some(thread) }
    }

    /// Returns how long a ready thread waited for a processor between two times, summed over all stalls.
    pub fn between(&self, from: Instant, to: Instant) -> Duration {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.iter().map(|stall| stall.within(from, to)).sum()
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_part_of_a_stall_within_the_window_counts() {
        let zero = Instant::now();
        let at = |ms| zero + Duration::from_millis(ms);
        let stall = Stall { due: at(10), woken: at(30) };
        for (from, to, ms) in [(0, 100, 20), (15, 100, 15), (0, 20, 10), (12, 14, 2), (0, 10, 0), (30, 40, 0)]
        {
            assert_eq!(stall.within(at(from), at(to)), Duration::from_millis(ms), "{from} to {to}");
        }
    }

    #[test]
    fn witness_ends_with_its_handle_and_counts_nothing_before_its_start() {
        let early = Instant::now();
        let witness = Witness::start();
        let started = Instant::now();
        assert_eq!(witness.between(early, started), Duration::ZERO);
        let seen = Arc::downgrade(&witness.seen);
        drop(witness);
        assert_eq!(seen.strong_count(), 0, "the thread is still there");
    }
}
