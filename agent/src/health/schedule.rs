//! When each target is probed: spread over its interval, one probe at a time, and not too many at once. No clock of its
//! own. Entry points: [`Schedule::take`] and [`Schedule::finish`].

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

use xxhash_rust::xxh3::Xxh3;

use super::{Aim, Counter, Outcome, Target, Verdict};

/// What is due so soon is taken at once: the task wakes for several probes together.
const SLACK: Duration = Duration::from_millis(5);

/// Targets have their turns on a grid, for warm caches: a connection and its end take 30 us of the kernel's time when forty
/// probes start together, and 45 us when ten do.
const GRID: Duration = Duration::from_millis(20);

/// A schedule that is looked at so much too late was stopped, or its clock jumped.
const STALL: Duration = Duration::from_millis(250);

/// What came due in a stall is probed within this time after it, and within the target's interval.
const CATCH_UP: Duration = Duration::from_secs(5);

/// A new target has its first probe within this time, however long its interval is: until then nothing is known of it.
const FIRST: Duration = Duration::from_secs(2);

/// Probes in a row that this host could not make, after which nothing is known of the target any more.
const LOST: u32 = 2;

/// Failures in a row that may be put down to a stall: a machine that always stalls still has verdicts.
const EXCUSES: u32 = 2;

/// All targets and their next times.
pub struct Schedule {
    slots: HashMap<Target, Slot>,
    due: BTreeSet<(Instant, Target)>,
    /// Where the grid begins.
    origin: Option<Instant>,
    running: usize,
    /// Probes at once.
    limit: usize,
    /// All places are taken, or were, and what came due meanwhile waits: late for another reason than a stall.
    behind: bool,
    /// Numbers the slots, so that a late result does not count for a target that went and came back.
    turns: u64,
}

struct Slot {
    aim: Aim,
    due: Instant,
    /// A time of its rhythm; `due` differs from it after a stall.
    beat: Instant,
    turn: u64,
    running: bool,
    counter: Counter,
    excused: u32,
    /// Probes in a row that could not be made.
    hampered: u32,
    /// The last verdict does not stand any more: the next one is news, also if it is the same.
    lost: bool,
}

/// One probe to be made.
#[derive(Clone, Debug)]
pub struct Job {
    /// What is probed.
    pub target: Target,
    /// Where and how.
    pub aim: Aim,
    started: Instant,
    turn: u64,
}

// === impl Schedule ===

impl Schedule {
    /// An empty schedule that runs so many probes at once.
    pub fn new(limit: usize) -> Self {
        let (slots, due) = (HashMap::new(), BTreeSet::new());
        Self { slots, due, origin: None, running: 0, limit, behind: false, turns: 0 }
    }

    /// The targets from now on. What is new has its first turn soon, and then at a phase of its own.
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
                    // A result that is still to come is that of the old address.
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

    /// When there is something to take; none: not before something else happens.
    pub fn next(&self) -> Option<Instant> {
        let free = self.running < self.limit;
        self.due.first().filter(|_| free).map(|(due, _)| *due)
    }

    /// The next probe that is due. After a stall nothing is: what came due in it is spread over a time of the same length.
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

    /// A probe's outcome; answers with the target's verdict when it is news.
    pub fn finish(&mut self, job: &Job, outcome: &Outcome, now: Instant, now_ms: i64) -> Option<Verdict> {
        self.running = self.running.saturating_sub(1);
        let slot = self.slots.get_mut(&job.target).filter(|slot| slot.turn == job.turn)?;
        slot.running = false;
        // A probe may be taken a little early.
        slot.beat = after(slot.beat, slot.aim.pace.interval, now.max(slot.due));
        slot.due = slot.beat;
        self.due.insert((slot.due, job.target.clone()));
        let late = now > job.started + job.aim.pace.timeout + STALL;
        let failure = match outcome {
            Outcome::Up => None,
            Outcome::Hampered(_) => return slot.hamper(),
            // The answer may have waited for this process, not this process for the answer.
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

    /// The next time on the grid.
    fn grid(&mut self, now: Instant) -> Instant {
        let origin = *self.origin.get_or_insert(now);
        let into = now.saturating_duration_since(origin).as_nanos() % GRID.as_nanos();
        let into = Duration::from_nanos(u64::try_from(into).unwrap_or_default());
        if into.is_zero() { now } else { now + (GRID - into) }
    }

    /// Moves what came due in a stall of this length, and nothing else. Each target keeps its rhythm.
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

    /// A probe could not be made; the answer is news when it is the last that is put up with.
    fn hamper(&mut self) -> Option<Verdict> {
        self.hampered += 1;
        let news = self.hampered >= LOST && !self.lost;
        self.lost |= news;
        news.then_some(Verdict::Unknown)
    }
}

/// A target's place within a time, on the grid: looks random, and is the same each time.
fn phase(target: &Target, within: Duration) -> Duration {
    let mut hash = Xxh3::new();
    hash.update(target.to_string().as_bytes());
    let places = u64::try_from(within.as_nanos() / GRID.as_nanos()).unwrap_or(u64::MAX).max(1);
    GRID * u32::try_from(hash.digest() % places).unwrap_or_default()
}

/// The next time in the rhythm that is not over yet: what was missed is not made up for.
fn after(due: Instant, interval: Duration, now: Instant) -> Instant {
    if due > now {
        return due;
    }
    let missed = (now - due).as_nanos() / interval.as_nanos().max(1);
    due + interval * u32::try_from(missed + 1).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
