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
    turn: u64,
    running: bool,
    counter: Counter,
    excused: u32,
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

    /// The targets from now on. What is new has its first turn within its interval, at a phase of its own.
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
                slot.aim = aim;
                let sooner = slot.due.min(now + aim.pace.interval);
                if !slot.running {
                    self.due.remove(&(slot.due, target.clone()));
                    self.due.insert((sooner, target.clone()));
                }
                slot.due = sooner;
            }
            None => {
                self.turns += 1;
                let due = self.grid(now) + phase(target, aim);
                let (turn, counter) = (self.turns, Counter::default());
                let slot = Slot { aim, due, turn, running: false, counter, excused: 0 };
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

    /// The next probe that is due. After a stall nothing is: all targets are spread anew.
    pub fn take(&mut self, now: Instant) -> Option<Job> {
        let due = self.next()?;
        if due > now + SLACK {
            self.behind = false;
            return None;
        }
        if due + STALL < now && !self.behind {
            self.spread(now);
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
        slot.due = after(slot.due, slot.aim.pace.interval, now);
        self.due.insert((slot.due, job.target.clone()));
        let late = now > job.started + job.aim.pace.timeout + STALL;
        let failure = match outcome {
            Outcome::Up => None,
            Outcome::Hampered(_) => return None,
            // The answer may have waited for this process, not this process for the answer.
            Outcome::Down(_) if late && slot.excused < EXCUSES => {
                slot.excused += 1;
                return None;
            }
            Outcome::Down(reason) => Some(reason.as_str()),
        };
        slot.excused = 0;
        slot.counter.note(failure, slot.aim.pace, now_ms)
    }

    /// The next time on the grid.
    fn grid(&mut self, now: Instant) -> Instant {
        let origin = *self.origin.get_or_insert(now);
        let into = now.saturating_duration_since(origin).as_nanos() % GRID.as_nanos();
        let into = Duration::from_nanos(u64::try_from(into).unwrap_or_default());
        if into.is_zero() { now } else { now + (GRID - into) }
    }

    fn spread(&mut self, now: Instant) {
        let now = self.grid(now);
        for (_, target) in std::mem::take(&mut self.due) {
            if let Some(slot) = self.slots.get_mut(&target) {
                slot.due = now + phase(&target, slot.aim);
                self.due.insert((slot.due, target));
            }
        }
    }
}

/// A target's place within its interval, on the grid: looks random, and is the same each time.
fn phase(target: &Target, aim: Aim) -> Duration {
    let mut hash = Xxh3::new();
    hash.update(target.to_string().as_bytes());
    let places = u64::try_from(aim.pace.interval.as_nanos() / GRID.as_nanos()).unwrap_or(u64::MAX).max(1);
    GRID * u32::try_from(hash.digest() % places).unwrap_or_default()
}

/// The next time in the rhythm that is not over yet: what was missed is not made up for.
fn after(due: Instant, interval: Duration, now: Instant) -> Instant {
    let next = due + interval;
    if next > now {
        return next;
    }
    let missed = (now - due).as_nanos() / interval.as_nanos().max(1);
    due + interval * u32::try_from(missed + 1).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::{Host, Pace};
    use std::net::SocketAddr;

    const INTERVAL: Duration = Duration::from_millis(500);

    fn mk_aim() -> Aim {
        let pace = Pace { interval: INTERVAL, timeout: Duration::from_millis(100), fall: 1, rise: 1 };
        Aim { address: SocketAddr::from(([10, 0, 0, 1], 1)), pace }
    }

    fn mk_targets(count: u16) -> BTreeMap<Target, Aim> {
        let target = |port| Target { host: Host::Address([10, 0, 0, 1].into()), port, path: "".into() };
        (1..=count).map(|port| (target(port), mk_aim())).collect()
    }

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// A schedule under a clock of the test's own.
    struct Rig {
        schedule: Schedule,
        began: Instant,
        now: Instant,
    }

    // === impl Rig ===

    impl Rig {
        fn new(targets: u16, limit: usize) -> Self {
            let now = Instant::now();
            let mut schedule = Schedule::new(limit);
            schedule.set(&mk_targets(targets), now);
            Self { schedule, began: now, now }
        }

        fn take(&mut self) -> Vec<Job> {
            std::iter::from_fn(|| self.schedule.take(self.now)).collect()
        }

        /// Waits until the next probe is due.
        fn due(&mut self) -> Job {
            self.now = self.now.max(self.schedule.next().unwrap());
            self.schedule.take(self.now).unwrap()
        }

        fn finish(&mut self, job: &Job, outcome: Outcome) -> Option<Verdict> {
            self.schedule.finish(job, &outcome, self.now, 0)
        }

        /// Runs until `end` after the beginning, every probe answered at once; the times of all probes by target.
        fn run(&mut self, end: Duration) -> BTreeMap<Target, Vec<Duration>> {
            let mut times = BTreeMap::<_, Vec<_>>::new();
            while self.now < self.began + end {
                for job in self.take() {
                    times.entry(job.target.clone()).or_default().push(self.now - self.began);
                    self.finish(&job, Outcome::Up);
                }
                self.now += ms(1);
            }
            times
        }
    }

    fn down() -> Outcome {
        Outcome::Down("refused".into())
    }

    #[test]
    fn every_target_is_probed_once_in_each_interval_and_all_are_spread() {
        let times = Rig::new(1000, 256).run(INTERVAL * 4);
        assert_eq!(times.len(), 1000);
        assert!(times.values().all(|all| (4..=5).contains(&all.len())), "each once an interval");
        let gap = |all: &Vec<Duration>| all.windows(2).map(|w| w[1] - w[0]).max().unwrap_or_default();
        assert!(times.values().all(|all| gap(all) <= INTERVAL + SLACK));
        let mut fifths = [0; 5];
        times.values().for_each(|all| fifths[usize::try_from(all[0].as_millis() / 100).unwrap()] += 1);
        assert!(fifths.iter().all(|n| (120..300).contains(n)), "{fifths:?}");
    }

    #[test]
    fn targets_that_come_at_any_time_have_their_turns_on_one_grid() {
        let mut rig = Rig::new(20, 256);
        rig.run(ms(333));
        rig.schedule.set(&mk_targets(200), rig.now);
        rig.run(ms(3333));
        let later = rig.run(ms(4333));
        assert_eq!(later.len(), 200);
        assert!(later.values().flatten().all(|at| at.as_millis() % 20 >= 15 || at.as_millis() % 20 == 0));
        let late = |all: &Vec<Duration>| all.windows(2).any(|pair| pair[1] - pair[0] != INTERVAL);
        assert!(!later.values().any(late), "each keeps its rhythm");
    }

    #[test]
    fn target_is_not_probed_again_before_it_has_answered() {
        let mut rig = Rig::new(1, 256);
        let job = rig.due();
        // As long as it takes: what was missed is not made up for.
        rig.now += INTERVAL * 3;
        assert!(rig.take().is_empty());
        rig.finish(&job, Outcome::Up);
        let late = rig.now;
        rig.due();
        assert!(rig.now > late && rig.now <= late + INTERVAL, "in its old rhythm");
        assert!(rig.take().is_empty());
    }

    #[test]
    fn no_more_than_the_limit_run_at_once_and_nobody_starves() {
        let mut rig = Rig::new(100, 10);
        rig.now += ms(200);
        let mut seen = BTreeSet::new();
        for _ in 0..40 {
            let jobs = rig.take();
            assert!(jobs.len() <= 10);
            rig.now += ms(100);
            for job in jobs {
                seen.insert(job.target.clone());
                rig.finish(&job, down());
            }
        }
        assert_eq!(seen.len(), 100);
    }

    #[test]
    fn long_stop_or_a_jump_of_the_clock_fires_no_storm() {
        let mut rig = Rig::new(1000, 256);
        rig.run(INTERVAL * 2);
        rig.now += Duration::from_secs(3600);
        assert!(rig.take().is_empty(), "nothing at once");
        let at = rig.now;
        let mut most = 0;
        let mut all = 0;
        while rig.now < at + INTERVAL {
            let jobs = rig.take();
            most = most.max(jobs.len());
            all += jobs.len();
            jobs.iter().for_each(|job| drop(rig.finish(job, Outcome::Up)));
            rig.now += ms(1);
        }
        // The grid has 25 places for them.
        assert!(all >= 990 && most < 80, "{all} in all, {most} at once");
    }

    #[test]
    fn probe_that_a_stop_of_this_process_has_timed_out_is_no_failure() {
        let mut rig = Rig::new(1, 256);
        let job = rig.due();
        rig.now += Duration::from_secs(10);
        assert_eq!(rig.finish(&job, down()), None);
        let job = rig.due();
        rig.now += ms(100);
        assert!(matches!(rig.finish(&job, down()), Some(Verdict::Down(_))));
    }

    #[test]
    fn machine_that_always_stalls_still_has_verdicts() {
        let mut rig = Rig::new(1, 256);
        let mut verdicts = Vec::new();
        for _ in 0..3 {
            let job = rig.due();
            rig.now += ms(400);
            verdicts.push(rig.finish(&job, down()).is_some());
        }
        assert_eq!(verdicts, [false, false, true]);
    }

    #[test]
    fn exhaustion_of_this_host_leaves_the_verdict() {
        let mut rig = Rig::new(1, 256);
        for (outcome, news) in
            [(Outcome::Up, true), (Outcome::Hampered("no ports".into()), false), (down(), true)]
        {
            let job = rig.due();
            assert_eq!(rig.finish(&job, outcome.clone()).is_some(), news, "{outcome:?}");
        }
    }

    #[test]
    fn result_for_a_target_that_went_and_came_back_does_not_count() {
        let mut rig = Rig::new(1, 1);
        let job = rig.due();
        rig.schedule.set(&BTreeMap::new(), rig.now);
        rig.schedule.set(&mk_targets(1), rig.now);
        assert_eq!(rig.finish(&job, down()), None);
        rig.due();
        assert!(rig.schedule.next().is_none(), "its place was free again, and is taken");
    }

    #[test]
    fn changed_interval_holds_from_the_next_probe_on() {
        let mut rig = Rig::new(1, 1);
        rig.run(INTERVAL * 2);
        let mut wanted = mk_targets(1);
        wanted.values_mut().for_each(|aim| aim.pace.interval = ms(100));
        rig.schedule.set(&wanted, rig.now);
        let at = rig.now - rig.began;
        let times = rig.run(at + ms(1000));
        assert!((9..=11).contains(&times.values().next().unwrap().len()), "{times:?}");
    }
}
