//! Chooses the replica that feeds this agent ([`Choice`]). Rendezvous hashing spreads the agents evenly over the
//! replicas and gives each agent the same home from anywhere.
//!
//! Pure; the clock is passed in. The choice is the first answering replica in this node's order; after a failure it is
//! the next one. The feed returns home only after home has answered for [`STABLE`], or longer after each failure of
//! home.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use xxhash_rust::xxh3::xxh3_64;

use super::Replica;

/// How long a better replica must answer before the feed returns to it.
pub const STABLE: Duration = Duration::from_secs(5);

/// A replica that hasn't answered for this long isn't chosen.
pub const UNHEARD: Duration = Duration::from_secs(2);

/// How long a failed replica isn't tried again, if there is another.
const SHUN: Duration = Duration::from_secs(2);

/// The wait before a return doubles with each failure, up to this many times.
const DOUBLINGS: u32 = 6;

/// When a replica answered reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heard {
    /// Since when it answers without a gap; `None` if the stream is broken.
    pub since: Option<Instant>,
    /// When it last answered.
    pub last: Instant,
}

/// The known state of the replicas at one time.
#[derive(Clone, Copy)]
pub struct Sight<'s> {
    /// All replicas.
    pub known: &'s BTreeSet<Replica>,
    /// When each answered.
    pub heard: &'s BTreeMap<Replica, Heard>,
    /// The current time.
    pub now: Instant,
}

/// The replica that feeds this agent, and the failures of the others.
#[derive(Debug)]
pub struct Choice {
    node: String,
    current: Option<Replica>,
    failures: BTreeMap<Replica, Failures>,
}

#[derive(Clone, Copy, Debug)]
struct Failures {
    last: Instant,
    count: u32,
}

// === impl Choice ===

impl Choice {
    /// Creates the state of a node's agent, without a choice.
    pub fn new(node: &str) -> Self {
        Self { node: node.into(), current: None, failures: BTreeMap::new() }
    }

    /// Returns the replica that feeds this agent, or to which it connects.
    pub fn current(&self) -> Option<&Replica> {
        self.current.as_ref()
    }

    /// Returns the next replica to connect to. The current one, if any, counts as failed.
    pub fn next(&mut self, sight: Sight<'_>) -> Option<Replica> {
        self.fail(sight.now);
        self.failures.retain(|replica, _| sight.known.contains(replica));
        let order = self.order(sight.known);
        let place = |(rank, replica): (usize, Replica)| {
            let shunned = self.failed_since(&replica, sight.now).filter(|ago| *ago < SHUN).map(Reverse);
            ((shunned, !sight.hears(&replica), rank), replica)
        };
        self.current = order.into_iter().enumerate().map(place).min().map(|(_, replica)| replica);
        self.current.clone()
    }

    /// Returns whether a better replica has answered long enough to return to it, and makes it the choice. The current
    /// one doesn't count as failed.
    pub fn way_home(&mut self, sight: Sight<'_>) -> bool {
        let Some(current) = &self.current else { return false };
        let order = self.order(sight.known);
        let better = order.iter().take_while(|replica| *replica != current);
        let mut ready = better.filter(|replica| self.is_ready(replica, sight));
        if ready.next().is_none() {
            return false;
        }
        self.current = None;
        true
    }

    /// The current replica has answered for long, so its failures are forgotten.
    pub fn proved(&mut self) {
        if let Some(current) = &self.current {
            self.failures.remove(current);
        }
    }

    fn is_ready(&self, replica: &Replica, sight: Sight<'_>) -> bool {
        let there = sight.heard.get(replica).and_then(|heard| heard.since);
        let stable = there.is_some_and(|since| sight.now.duration_since(since) >= STABLE);
        let patience =
            self.failures.get(replica).map_or(Duration::ZERO, |f| STABLE * (1 << f.count.min(DOUBLINGS)));
        let forgiven = self.failed_since(replica, sight.now).is_none_or(|ago| ago >= patience);
        stable && forgiven && sight.hears(replica)
    }

    fn fail(&mut self, now: Instant) {
        if let Some(failed) = self.current.take() {
            let failures = self.failures.entry(failed).or_insert(Failures { last: now, count: 0 });
            *failures = Failures { last: now, count: failures.count + 1 };
        }
    }

    fn failed_since(&self, replica: &Replica, now: Instant) -> Option<Duration> {
        self.failures.get(replica).map(|failures| now.duration_since(failures.last))
    }

    /// Returns the replicas in this node's order.
    fn order(&self, known: &BTreeSet<Replica>) -> Vec<Replica> {
        let mut order: Vec<Replica> = known.iter().cloned().collect();
        order.sort_by_cached_key(|replica| Reverse(xxh3_64(format!("{}\n{replica}", self.node).as_bytes())));
        order
    }
}

// === impl Sight ===

impl Sight<'_> {
    fn hears(&self, replica: &Replica) -> bool {
        let heard = self.heard.get(replica).filter(|heard| heard.since.is_some());
        heard.is_some_and(|heard| self.now.duration_since(heard.last) < UNHEARD)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replicas(count: u8) -> BTreeSet<Replica> {
        (1..=count).map(|i| Replica::Tcp { secure: false, address: ([10, 0, 0, i], 18100).into() }).collect()
    }

    /// A choice with a manual clock. All replicas answer except those that are off.
    struct Rig {
        choice: Choice,
        known: BTreeSet<Replica>,
        heard: BTreeMap<Replica, Heard>,
        now: Instant,
    }

    impl Rig {
        fn new(count: u8) -> Self {
            let known = replicas(count);
            Self { choice: Choice::new("n1"), known, heard: BTreeMap::new(), now: Instant::now() }
        }

        fn order(&self) -> Vec<Replica> {
            self.choice.order(&self.known)
        }

        fn hear(&mut self, replica: &Replica) {
            let since = self.heard.get(replica).and_then(|heard| heard.since).or(Some(self.now));
            self.heard.insert(replica.clone(), Heard { since, last: self.now });
        }

        /// Advances the time, during which these replicas answer.
        fn pass(&mut self, seconds: u64, answering: &[&Replica]) {
            for _ in 0..seconds {
                self.now += Duration::from_secs(1);
                answering.iter().for_each(|replica| self.hear(replica));
            }
        }

        fn next(&mut self) -> Replica {
            let sight = Sight { known: &self.known, heard: &self.heard, now: self.now };
            self.choice.next(sight).unwrap()
        }

        fn way_home(&mut self) -> bool {
            let sight = Sight { known: &self.known, heard: &self.heard, now: self.now };
            self.choice.way_home(sight)
        }
    }

    #[test]
    fn replicas_share_the_nodes_evenly_and_the_loss_of_one_moves_only_its_own() {
        let (three, mut counts) = (replicas(3), BTreeMap::new());
        let lost = three.first().unwrap();
        let two: BTreeSet<Replica> = three.iter().filter(|r| *r != lost).cloned().collect();
        for i in 0..3000 {
            let choice = Choice::new(&format!("node-{i}"));
            let (home, then) = (choice.order(&three)[0].clone(), choice.order(&two)[0].clone());
            assert!(home == then || home == *lost);
            *counts.entry(home).or_insert(0) += 1;
        }
        assert!(counts.values().all(|count| (900..1100).contains(count)), "{counts:?}");
    }

    #[test]
    fn home_is_tried_first_when_nobody_was_heard() {
        let mut rig = Rig::new(3);
        let order = rig.order();
        assert_eq!(rig.next(), order[0]);
        assert_eq!(rig.next(), order[1], "after a failure the next");
        assert_eq!(rig.next(), order[2]);
        rig.now += Duration::from_millis(100);
        assert_eq!(rig.next(), order[0], "all failed: the one that failed first");
    }

    #[test]
    fn replica_that_answers_comes_before_one_that_does_not() {
        let mut rig = Rig::new(3);
        let order = rig.order();
        rig.hear(&order[2]);
        assert_eq!(rig.next(), order[2]);
        rig.pass(2, &[]);
        assert_eq!(rig.next(), order[0], "unheard for too long");
    }

    #[test]
    fn feed_goes_home_when_home_has_been_there_for_a_while() {
        let mut rig = Rig::new(2);
        let order = rig.order();
        rig.pass(1, &[&order[1]]);
        assert_eq!(rig.next(), order[1]);
        rig.pass(4, &[&order[0], &order[1]]);
        assert!(!rig.way_home());
        rig.pass(3, &[&order[0], &order[1]]);
        assert!(rig.way_home());
        assert_eq!(rig.next(), order[0]);
        assert!(!rig.way_home(), "there is nothing better");
    }

    #[test]
    fn home_that_comes_and_goes_is_not_gone_back_to() {
        let mut rig = Rig::new(2);
        let order = rig.order();
        rig.pass(1, &[&order[1]]);
        rig.next();
        for _ in 0..5 {
            rig.pass(4, &[&order[0], &order[1]]);
            rig.heard.get_mut(&order[0]).unwrap().since = None;
            assert!(!rig.way_home());
        }
    }

    #[test]
    fn home_that_refuses_the_feed_is_tried_less_and_less_often() {
        let mut rig = Rig::new(2);
        let order = rig.order();
        rig.pass(1, &[&order[0], &order[1]]);
        assert_eq!(rig.next(), order[0]);
        let mut waits = Vec::new();
        for _ in 0..8 {
            assert_eq!(rig.next(), order[1], "home failed");
            let since = rig.now;
            while !rig.way_home() {
                rig.pass(1, &[&order[0], &order[1]]);
            }
            waits.push(rig.now.duration_since(since).as_secs());
            assert_eq!(rig.next(), order[0]);
        }
        assert_eq!(waits, [10, 20, 40, 80, 160, 320, 320, 320]);
        rig.choice.proved();
        rig.next();
        rig.pass(10, &[&order[0], &order[1]]);
        assert!(rig.way_home(), "forgiven");
    }

    #[test]
    fn replica_that_is_no_more_is_not_chosen() {
        let mut rig = Rig::new(2);
        let order = rig.order();
        rig.next();
        rig.known.remove(&order[1]);
        rig.pass(1, &[&order[0]]);
        assert_eq!(rig.next(), order[0]);
        rig.known.clear();
        let sight = Sight { known: &rig.known, heard: &rig.heard, now: rig.now };
        assert_eq!(rig.choice.next(sight), None);
    }
}
