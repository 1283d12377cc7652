//! Tests of the schedule with a manual clock.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::super::{Aim, Host, Outcome, Pace, Target, Verdict};
use super::{Job, SLACK, Schedule};

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

/// A schedule with a manual clock.
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

    /// Runs until `end` after the start, with every probe answered immediately. Returns the times of all probes by
    /// target.
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
    // However long it takes, missed probes aren't made up for.
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

/// Runs ten targets of 60 s and twenty of 500 ms for ten minutes, on a machine that stalls for `stall` in every ten
/// seconds. Returns how often each of the ten was probed, and the longest time between two probes of one of them.
fn under_stalls(stall: Duration) -> (Vec<usize>, Duration) {
    let mut slow = mk_aim();
    slow.pace.interval = Duration::from_secs(60);
    let host = Host::Address([10, 0, 0, 2].into());
    let target = |port| Target { host: host.clone(), port, path: "".into() };
    let mut wanted = mk_targets(20);
    wanted.extend((1000..1010).map(|port| (target(port), slow)));
    let mut rig = Rig::new(0, 256);
    rig.schedule.set(&wanted, rig.now);
    let mut seen: BTreeMap<Target, Vec<Duration>> = BTreeMap::new();
    for _ in 0..60 {
        let end = rig.now - rig.began + Duration::from_secs(10) - stall;
        rig.run(end).into_iter().for_each(|(target, times)| seen.entry(target).or_default().extend(times));
        rig.now += stall;
    }
    let times: Vec<_> = (1000..1010).map(|port| seen.remove(&target(port)).unwrap_or_default()).collect();
    let gap = times.iter().flat_map(|all| all.windows(2)).map(|pair| pair[1] - pair[0]).max();
    (times.iter().map(Vec::len).collect(), gap.unwrap_or_default())
}

#[test]
fn slow_target_is_probed_at_its_pace_though_the_machine_stalls_now_and_then() {
    for stall in [0, 300, 700, 3000] {
        let (counts, gap) = under_stalls(ms(stall));
        assert!(counts.iter().all(|n| (9..=11).contains(n)), "{stall} ms lost in 10 s: {counts:?}");
        assert!(gap <= Duration::from_secs(65), "{stall} ms lost in 10 s: {gap:?} between two probes");
    }
}

#[test]
fn stall_moves_only_what_came_due_in_it_and_fires_no_burst() {
    let mut rig = Rig::new(1000, 256);
    rig.run(INTERVAL * 2);
    let stalled = rig.now - rig.began;
    rig.now += ms(300);
    assert!(rig.take().is_empty(), "nothing at once");
    let mut most = 0;
    let mut times: BTreeMap<Target, Vec<Duration>> = BTreeMap::new();
    while rig.now - rig.began < stalled + INTERVAL * 5 {
        let jobs = rig.take();
        most = most.max(jobs.len());
        for job in jobs {
            times.entry(job.target.clone()).or_default().push(rig.now - rig.began);
            rig.finish(&job, Outcome::Up);
        }
        rig.now += ms(1);
    }
    assert!(most < 120, "{most} at once; without a stall there are 40");
    let rhythm = |all: &Vec<Duration>| all.windows(2).filter(|pair| pair[1] - pair[0] == INTERVAL).count();
    let kept = times.values().filter(|all| rhythm(all) + 1 == all.len()).count();
    assert!(kept >= 350, "{kept} of the 400 that came due after the stall were left alone");
    let late = times.values().map(|all| all[0] - stalled).max().unwrap();
    assert!(late <= ms(300) + INTERVAL, "each has its turn soon: {late:?}");
    let last = |all: &Vec<Duration>| all.last().map_or(Duration::ZERO, |at| *at - stalled);
    assert!(times.values().all(|all| last(all) > INTERVAL * 4), "all go on");
}

#[test]
fn result_from_the_old_address_of_a_target_does_not_count() {
    let mut rig = Rig::new(1, 256);
    let job = rig.due();
    let mut wanted = mk_targets(1);
    wanted.values_mut().for_each(|aim| aim.address.set_port(2));
    rig.schedule.set(&wanted, rig.now);
    assert_eq!(rig.finish(&job, down()), None);
    let again = rig.due();
    assert_eq!(again.aim.address.port(), 2);
    assert!(rig.finish(&again, Outcome::Up).is_some());
}

#[test]
fn target_that_this_host_can_not_probe_any_more_is_unknown_until_it_can() {
    let mut rig = Rig::new(1, 256);
    let hampered = || Outcome::Hampered("no ports".into());
    let mut probed = |outcome: Outcome| {
        let job = rig.due();
        rig.finish(&job, outcome)
    };
    assert!(matches!(probed(down()), Some(Verdict::Down(_))));
    assert_eq!(probed(hampered()), None, "once is nothing");
    assert_eq!(probed(hampered()), Some(Verdict::Unknown));
    assert_eq!(probed(hampered()), None, "it is said once");
    assert!(matches!(probed(down()), Some(Verdict::Down(_))), "the same again is news");
    assert_eq!(probed(down()), None);
}

#[test]
fn new_target_is_probed_soon_and_then_at_its_pace_however_long_its_interval_is() {
    let mut rig = Rig::new(0, 256);
    let mut wanted = mk_targets(50);
    wanted.values_mut().for_each(|aim| aim.pace.interval = Duration::from_secs(60));
    rig.schedule.set(&wanted, rig.now);
    let times = rig.run(Duration::from_secs(600));
    assert_eq!(times.len(), 50);
    for all in times.values() {
        assert!(all[0] <= Duration::from_secs(2), "{all:?}");
        let gaps: Vec<_> = all.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(gaps[0] <= Duration::from_secs(60), "{all:?}");
        assert!(gaps[1..].iter().all(|gap| *gap == Duration::from_secs(60)), "{all:?}");
    }
}
