//! A map from keys to sets of values ([`KeyedSets`]). A key without values is not kept.

use std::borrow::Borrow;
use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;

/// Sets of values by key.
#[derive(Clone, Debug)]
pub struct KeyedSets<K, V>(HashMap<K, BTreeSet<V>>);

impl<K, V> Default for KeyedSets<K, V> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

// === impl KeyedSets ===

impl<K: Hash + Eq, V: Ord> KeyedSets<K, V> {
    /// Adds a value to a key's set. Returns whether it is the first value of the key.
    pub fn insert(&mut self, key: K, value: V) -> bool {
        let values = self.0.entry(key).or_default();
        values.insert(value) && values.len() == 1
    }

    /// Removes a value from a key's set. Returns whether it was the last value of the key.
    pub fn remove<Q: Hash + Eq + ?Sized>(&mut self, key: &Q, value: &V) -> bool
    where
        K: Borrow<Q>,
    {
        let Some(values) = self.0.get_mut(key) else { return false };
        values.remove(value);
        let last = values.is_empty();
        if last {
            self.0.remove(key);
        }
        last
    }

    /// Returns a key's set. `None` if the key has no value.
    pub fn get<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> Option<&BTreeSet<V>>
    where
        K: Borrow<Q>,
    {
        self.0.get(key)
    }

    /// Returns the stored key that equals this one. `None` if it has no value.
    pub fn key<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> Option<&K>
    where
        K: Borrow<Q>,
    {
        self.0.get_key_value(key).map(|(key, _)| key)
    }

    /// Returns the values of a key, in order.
    pub fn of<'a, Q: Hash + Eq + ?Sized>(&'a self, key: &Q) -> impl Iterator<Item = &'a V> + use<'a, K, V, Q>
    where
        K: Borrow<Q>,
    {
        self.get(key).into_iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_and_last_value_of_a_key_are_reported() {
        let mut sets = KeyedSets::<&str, u8>::default();
        assert!(sets.insert("k", 1) && !sets.insert("k", 1) && !sets.insert("k", 2));
        assert_eq!(sets.of("k").collect::<Vec<_>>(), [&1, &2]);
        assert!(!sets.remove("k", &1) && !sets.remove("k", &3) && !sets.remove("other", &2));
        assert!(sets.remove("k", &2) && sets.get("k").is_none());
    }
}
