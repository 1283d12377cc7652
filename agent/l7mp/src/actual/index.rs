//! Who refers to what on a proxy ([`Index`]).

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use crate::slot::Slot;

/// Names of objects by what they refer to.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Index {
    /// Listeners by slot.
    pub(super) slots: BTreeMap<Slot, BTreeSet<String>>,
    /// Listeners by list.
    pub(super) listeners: BTreeMap<String, BTreeSet<String>>,
    /// Lists by rule.
    pub(super) lists: BTreeMap<String, BTreeSet<String>>,
    /// Rules by route.
    pub(super) rules: BTreeMap<String, BTreeSet<String>>,
    /// Routes by cluster.
    pub(super) routes: BTreeMap<String, BTreeSet<String>>,
}

/// Adds a name.
pub(super) fn add<K: Ord + Clone>(map: &mut BTreeMap<K, BTreeSet<String>>, key: &K, name: &str) {
    map.entry(key.clone()).or_default().insert(name.to_owned());
}

/// Removes a name.
pub(super) fn take<K: Ord>(map: &mut BTreeMap<K, BTreeSet<String>>, key: &K, name: &str) {
    if let Some(names) = map.get_mut(key) {
        names.remove(name);
        if names.is_empty() {
            map.remove(key);
        }
    }
}

/// Returns the names.
pub(super) fn of<'a, K: Ord>(
    map: &'a BTreeMap<K, BTreeSet<String>>,
    key: &K,
) -> impl Iterator<Item = &'a str> {
    map.get(key).into_iter().flatten().map(String::as_str)
}

// === impl Index ===

impl Index {
    /// Returns the listeners with this slot.
    pub(super) fn at(&self, slot: &Slot) -> impl Iterator<Item = &str> {
        of(&self.slots, slot)
    }

    /// Returns the lists by rule, of the rules whose names start with a text.
    pub(super) fn listed<'a>(
        &'a self,
        start: &'a str,
    ) -> impl Iterator<Item = (&'a String, &'a BTreeSet<String>)> {
        let from = (Bound::Included(start), Bound::Unbounded);
        self.lists.range::<str, _>(from).take_while(move |(rule, _)| rule.starts_with(start))
    }
}
