//! The queue of nodes whose Health waits to be published ([`Queue`]): each node once, the oldest first, with a minimum
//! interval per node.
//!
//! This module is pure: the clock is passed in. A node's state is read when it is published, so several changes before
//! that become one.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use crate::index::Name;

/// Minimum interval between two publications of a node's Health. A late hub uses longer intervals.
pub const PAUSE: Duration = Duration::from_millis(100);

/// How long a publication is remembered. Longer than any interval.
const MEMORY: Duration = Duration::from_secs(60);

/// The waiting nodes.
#[derive(Debug, Default)]
pub struct Queue {
    /// When each node may be published.
    due: BTreeSet<(Instant, Name)>,
    /// When each node began to wait.
    since: HashMap<Name, Instant>,
    /// When each node was last published.
    published: HashMap<Name, Instant>,
    swept: Option<Instant>,
}

// === impl Queue ===

impl Queue {
    /// Adds a node. It may be published `pause` after its last publication at the earliest. A node that waits already
    /// keeps its place.
    pub fn push(&mut self, node: &Name, pause: Duration, now: Instant) {
        if self.since.contains_key(node) {
            return;
        }
        let due = self.published.get(node).map_or(now, |last| now.max(*last + pause));
        self.due.insert((due, node.clone()));
        self.since.insert(node.clone(), now);
    }

    /// Removes and returns up to `most` nodes that may be published now, the oldest first.
    pub fn take(&mut self, most: usize, now: Instant) -> Vec<Name> {
        let mut taken = Vec::new();
        while taken.len() < most && self.due.first().is_some_and(|(due, _)| *due <= now) {
            let Some((_, node)) = self.due.pop_first() else { break };
            self.since.remove(&node);
            self.published.insert(node.clone(), now);
            taken.push(node);
        }
        if self.swept.is_none_or(|swept| now.duration_since(swept) > MEMORY) {
            self.published.retain(|_, last| now.duration_since(*last) <= MEMORY);
            self.swept = Some(now);
        }
        taken
    }

    /// Returns when the next node may be published.
    pub fn deadline(&self) -> Option<Instant> {
        self.due.first().map(|(due, _)| *due)
    }

    /// Returns how many nodes wait, and how long the first one has been due.
    pub fn behind(&self, now: Instant) -> (usize, Duration) {
        let late = self.deadline().map_or(Duration::ZERO, |due| now.saturating_duration_since(due));
        (self.due.len(), late)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(queue: &mut Queue, most: usize, now: Instant) -> Vec<String> {
        queue.take(most, now).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn oldest_comes_first_and_each_once() {
        let (mut queue, start) = (Queue::default(), Instant::now());
        let at = |ms| start + Duration::from_millis(ms);
        for (ms, node) in [(0, "c"), (1, "a"), (2, "b"), (3, "c"), (4, "a")] {
            queue.push(&node.into(), PAUSE, at(ms));
        }
        assert_eq!(queue.behind(at(10)), (3, Duration::from_millis(10)));
        assert_eq!(take(&mut queue, 2, at(10)), ["c", "a"]);
        assert_eq!(take(&mut queue, 2, at(10)), ["b"]);
        assert_eq!((queue.deadline(), queue.behind(at(10))), (None, (0, Duration::ZERO)));
    }

    #[test]
    fn node_that_changes_all_the_time_is_published_once_a_pause_and_others_do_not_wait_for_it() {
        let (mut queue, start) = (Queue::default(), Instant::now());
        let (mut published, mut other) = (0, None);
        for ms in 0..=1_000 {
            let now = start + Duration::from_millis(ms);
            queue.push(&"flips".into(), PAUSE, now);
            if ms == 555 {
                queue.push(&"other".into(), PAUSE, now);
            }
            for node in take(&mut queue, 10, now) {
                published += usize::from(node == "flips");
                other = other.or((node == "other").then_some(ms));
            }
        }
        assert_eq!((published, other), (11, Some(555)));
    }

    #[test]
    fn publications_are_forgotten() {
        let (mut queue, start) = (Queue::default(), Instant::now());
        for i in 0..100u64 {
            let now = start + Duration::from_secs(i * 10);
            queue.push(&i.to_string().as_str().into(), PAUSE, now);
            queue.take(1, now);
        }
        assert!(queue.published.len() <= 14, "{}", queue.published.len());
    }
}
