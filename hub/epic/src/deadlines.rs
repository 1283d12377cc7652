//! Keys with a time each, the earliest first: [`Deadlines`].

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Keys with a time each. All operations take logarithmic time. Its owner limits the number of keys.
#[derive(Clone, Debug)]
pub(crate) struct Deadlines<K> {
    times: BTreeMap<K, Duration>,
    order: BTreeSet<(Duration, K)>,
}

// === impl Deadlines ===

impl<K: Ord + Clone> Deadlines<K> {
    /// Creates an empty set.
    pub(crate) fn new() -> Self {
        Self { times: BTreeMap::new(), order: BTreeSet::new() }
    }

    /// Returns the time of a key.
    pub(crate) fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<Duration>
    where
        K: std::borrow::Borrow<Q>,
    {
        self.times.get(key).copied()
    }

    /// Sets the time of a key.
    pub(crate) fn set(&mut self, key: K, time: Duration) {
        if let Some(old) = self.times.insert(key.clone(), time) {
            self.order.remove(&(old, key.clone()));
        }
        self.order.insert((time, key));
    }

    /// Returns the earliest time.
    pub(crate) fn first(&self) -> Option<Duration> {
        self.order.first().map(|(time, _)| *time)
    }

    /// Removes the key with the earliest time.
    pub(crate) fn remove_first(&mut self) {
        if let Some((_, key)) = self.order.pop_first() {
            self.times.remove(&key);
        }
    }

    /// Returns the number of keys.
    pub(crate) fn len(&self) -> usize {
        self.times.len()
    }
}

#[cfg(test)]
mod tests {
    use super::Deadlines;
    use std::time::Duration;

    #[test]
    fn key_has_one_time_and_the_earliest_goes_first() {
        let at = Duration::from_secs;
        let mut all = Deadlines::new();
        for (key, time) in [("a", 3), ("b", 2), ("a", 1), ("a", 5), ("c", 4)] {
            all.set(key, at(time));
        }
        assert_eq!((all.len(), all.order.len(), all.get("a")), (3, 3, Some(at(5))));
        for (first, left) in [(2, 2), (4, 1), (5, 0)] {
            assert_eq!(all.first(), Some(at(first)));
            all.remove_first();
            assert_eq!((all.len(), all.order.len()), (left, left));
        }
        all.remove_first();
        assert_eq!((all.first(), all.get("a")), (None, None));
    }
}
