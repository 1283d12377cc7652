//! When each target is probed: probes are spread over the interval, one at a time per target, with a limit for all. The
//! clock is passed in. Entry points: [`Schedule::take`] and [`Schedule::finish`].

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

use xxhash_rust::xxh3::Xxh3;

use super::{Aim, Counter, Outcome, Target, Verdict};

/// Probes that are due this soon are started together, so that the task wakes up less often.
const SLACK: Duration = Duration::from_millis(5);

/// Probes start on a grid, which keeps caches warm: a connection and its end take 30 us of kernel time if forty probes
/// start together, and 45 us if ten do.
const GRID: Duration = Duration::from_millis(20);

/// If the schedule is used this late, the process was stopped or the clock jumped.
const STALL: Duration = Duration::from_millis(250);

/// Probes that became due during a stall are spread over this time, and at most over the target's interval.
const CATCH_UP: Duration = Duration::from_secs(5);

/// A new target is first probed within this time, however long its interval is, because its state is unknown until
/// then.
const FIRST: Duration = Duration::from_secs(2);

/// Number of consecutive probes that this host couldn't make, after which the target's state is unknown.
const LOST: u32 = 2;

/// Number of consecutive failures that may be attributed to a stall. A machine that always stalls still gets verdicts.
const EXCUSES: u32 = 2;

/// All targets with the times of their next probes.
pub struct Schedule {
    slots: HashMap<Target, Slot>,
    due: BTreeSet<(Instant, Target)>,
    /// The start of the grid.
    origin: Option<Instant>,
    running: usize,
    /// Maximum number of concurrent probes.
    limit: usize,
    /// Whether due probes wait because all places are or were taken. Such a delay is no stall.
    behind: bool,
    /// Numbers the slots, so that a late result isn't used for a target that was removed and added again.
    turns: u64,
}

struct Slot {
    aim: Aim,
    due: Instant,
    /// A time in its rhythm. After a stall, `due` differs from it.
    beat: Instant,
    turn: u64,
    running: bool,
    counter: Counter,
    excused: u32,
    /// Number of consecutive probes that couldn't be made.
    hampered: u32,
    /// The last verdict is no longer valid, so the next one is reported even if it is equal.
    lost: bool,
}

/// A probe to make.
#[derive(Clone, Debug)]
pub struct Job {
    /// The target.
    pub target: Target,
    /// Its address and pace.
    pub aim: Aim,
    started: Instant,
    turn: u64,
}

// === impl Schedule ===

impl Schedule {
    /// Creates an empty schedule with a maximum number of concurrent probes.
    pub fn new(limit: usize) -> Self {
        let (slots, due) = (HashMap::new(), BTreeSet::new());
        Self { slots, due, origin: None, running: 0, limit, behind: false, turns: 0 }
    }

    /// Sets the targets. A new target is first probed soon, and then at its own phase.
    pub fn set(&mut self, wanted: &BTreeMap<Target, Aim>, now: Instant) {
        let due = &mut self.due;
        self.slots.retain(|target, slot| {
            let stays = wanted.contains_key(target);
            if !stays {
                due.remove(&(slot.due, target.clone()));
            }
            stays
        });
        for (target, aim) in wanted {
            self.put(target, *aim, now);
        }
    }

    fn put(&mut self, target: &Target, aim: Aim, now: Instant) {
        match self.slots.get_mut(target) {
            Some(slot) if slot.aim == aim => {}
            Some(slot) => {
                self.due.remove(&(slot.due, target.clone()));
                if slot.aim.address != aim.address {
                    // A result that is still outstanding belongs to the old address.
                    self.turns += 1;
                    (slot.turn, slot.running, slot.lost) = (self.turns, false, true);
                }
                slot.aim = aim;
                slot.due = slot.due.min(now + aim.pace.interval);
                slot.beat = slot.due;
                if !slot.running {
                    self.due.insert((slot.due, target.clone()));
                }
            }
            None => {
                self.turns += 1;
                let (start, interval) = (self.grid(now), aim.pace.interval);
                let due = start + phase(target, interval.min(FIRST));
                let slot = Slot::new(aim, (due, start + phase(target, interval)), self.turns);
                self.slots.insert(target.clone(), slot);
                self.due.insert((due, target.clone()));
            }
        }
    }

    /// Returns when a probe becomes due; `None` if not before another call.
    pub fn next(&self) -> Option<Instant> {
        let free = self.running < self.limit;
        self.due.first().filter(|_| free).map(|(due, _)| *due)
    }

    /// Returns the next due probe. After a stall no probe is due: those that became due during it are spread over a
    /// period of the same length.
    pub fn take(&mut self, now: Instant) -> Option<Job> {
        let due = self.next()?;
        if due > now + SLACK {
            self.behind = false;
            return None;
        }
        if due + STALL < now && !self.behind {
            self.defer(now - due, now);
            return None;
        }
        let (_, target) = self.due.pop_first()?;
        let slot = self.slots.get_mut(&target)?;
        slot.running = true;
        self.running += 1;
        self.behind |= self.running == self.limit;
        Some(Job { target, aim: slot.aim, started: now, turn: slot.turn })
    }

    /// Records a probe's result. Returns the target's verdict if it changed.
    pub fn finish(&mut self, job: &Job, outcome: &Outcome, now: Instant, now_ms: i64) -> Option<Verdict> {
        self.running = self.running.saturating_sub(1);
        let slot = self.slots.get_mut(&job.target).filter(|slot| slot.turn == job.turn)?;
        slot.running = false;
        // A probe may start slightly early.
        slot.beat = after(slot.beat, slot.aim.pace.interval, now.max(slot.due));
        slot.due = slot.beat;
        self.due.insert((slot.due, job.target.clone()));
        let late = now > job.started + job.aim.pace.timeout + STALL;
        let failure = match outcome {
            Outcome::Up => None,
            Outcome::Hampered(_) => return slot.hamper(),
            // The response may have arrived in time, while this process was stalled.
            Outcome::Down(_) if late && slot.excused < EXCUSES => {
                slot.excused += 1;
                return None;
            }
            Outcome::Down(reason) => Some(reason.as_str()),
        };
        (slot.excused, slot.hampered) = (0, 0);
        let news = slot.counter.note(failure, slot.aim.pace, now_ms);
        let regained = std::mem::replace(&mut slot.lost, false);
        news.or_else(|| slot.counter.verdict().filter(|_| regained).cloned())
    }

    /// Returns the next time on the grid.
    fn grid(&mut self, now: Instant) -> Instant {
        let origin = *self.origin.get_or_insert(now);
        let into = now.saturating_duration_since(origin).as_nanos() % GRID.as_nanos();
        let into = Duration::from_nanos(u64::try_from(into).unwrap_or_default());
        if into.is_zero() { now } else { now + (GRID - into) }
    }

    /// Moves only the probes that became due during a stall of this length. Each target keeps its rhythm.
    fn defer(&mut self, stall: Duration, now: Instant) {
        let start = self.grid(now) + GRID;
        while self.due.first().is_some_and(|(due, _)| *due <= now) {
            let Some((_, target)) = self.due.pop_first() else { return };
            let Some(slot) = self.slots.get_mut(&target) else { continue };
            slot.due = start + phase(&target, slot.aim.pace.interval.min(stall).min(CATCH_UP));
            self.due.insert((slot.due, target));
        }
    }
}

// === impl Slot ===

impl Slot {
    fn new(aim: Aim, (due, beat): (Instant, Instant), turn: u64) -> Self {
        let counter = Counter::default();
        Self { aim, due, beat, turn, running: false, counter, excused: 0, hampered: 0, lost: false }
    }

    /// Records that a probe couldn't be made. Returns a verdict when the tolerated number is reached.
    fn hamper(&mut self) -> Option<Verdict> {
        self.hampered += 1;
        let news = self.hampered >= LOST && !self.lost;
        self.lost |= news;
        news.then_some(Verdict::Unknown)
    }
}

/// Returns a target's phase within a duration, on the grid: a hash, so it is always the same.
fn phase(target: &Target, within: Duration) -> Duration {
    let mut hash = Xxh3::new();
    hash.update(target.to_string().as_bytes());
    let places = u64::try_from(within.as_nanos() / GRID.as_nanos()).unwrap_or(u64::MAX).max(1);
    GRID * u32::try_from(hash.digest() % places).unwrap_or_default()
}

/// Returns the next future time in the rhythm. Missed probes aren't made up for.
fn after(due: Instant, interval: Duration, now: Instant) -> Instant {
    if due > now {
        return due;
    }
    let missed = (now - due).as_nanos() / interval.as_nanos().max(1);
    due + interval * u32::try_from(missed + 1).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
