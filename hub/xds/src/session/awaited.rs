//! Companions that were not sent since their owners were ([`Awaited`]).

use std::collections::{HashMap, HashSet};
use std::time::Instant;

use foldhash::quality::RandomState;

use crate::resource::Name;

/// The awaited companions of one type. There are mostly none, and each change asks: then there is no memory to visit.
#[derive(Debug, Default)]
pub(super) struct Awaited {
    /// What each companion must follow, and until when referring types wait for it.
    names: HashMap<Name, (Name, Instant), RandomState>,
    /// No companion expires before.
    soonest: Option<Instant>,
}

// === impl Awaited ===

impl Awaited {
    /// Makes room for this number of further companions.
    pub(super) fn reserve(&mut self, count: usize) {
        self.names.reserve(count);
    }

    pub(super) fn insert(&mut self, name: Name, owner: Name, until: Instant) {
        self.soonest = Some(self.soonest.map_or(until, |soonest| soonest.min(until)));
        self.names.insert(name, (owner, until));
    }

    pub(super) fn remove(&mut self, name: &Name) {
        if !self.names.is_empty() && self.names.remove(name).is_some() {
            self.tidy();
        }
    }

    /// Removes those of these owners.
    pub(super) fn remove_of(&mut self, owners: &[Name]) {
        if !self.names.is_empty() && !owners.is_empty() {
            let owners: HashSet<&Name> = owners.iter().collect();
            self.names.retain(|_, (owner, _)| !owners.contains(owner));
            self.tidy();
        }
    }

    pub(super) fn retain(&mut self, keep: impl Fn(&Name) -> bool) {
        self.names.retain(|name, _| keep(name));
        self.tidy();
    }

    /// Removes those for which nothing waits any longer.
    pub(super) fn expire(&mut self, now: Instant) {
        if self.soonest.is_some_and(|soonest| soonest <= now) {
            self.names.retain(|_, (_, until)| now < *until);
            self.soonest = self.names.values().map(|(_, until)| *until).min();
            self.tidy();
        }
    }

    /// Until when referring types wait.
    pub(super) fn until(&self) -> Option<Instant> {
        self.names.values().map(|(_, until)| *until).max()
    }

    pub(super) fn contains(&self, name: &Name) -> bool {
        self.names.contains_key(name)
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &Name> {
        self.names.keys()
    }

    fn tidy(&mut self) {
        if self.names.is_empty() {
            *self = Self::default();
        }
    }
}
