//! The names of one type on one stream ([`Entries`]): a dense array. Entries are found by name, or by a [`Place`] without a
//! search.
//!
//! A change visits one entry on each of many streams, and that memory is cold each time. One cache line of a small array
//! instead of two of a hash table keeps the cost level up to 10,000 names on 50 streams.

use std::collections::HashMap;

use crate::place::Place;
use crate::resource::{Name, Version};

/// What is known about the client and [`Entry::version`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// The client has nothing of this name.
    Absent,
    /// The client claimed this version when it connected.
    Claimed,
    /// Sent. The client has not answered, or has rejected another resource of the same response.
    Sent,
    /// Accepted.
    Confirmed,
    /// Rejected. This version is not sent again.
    Withheld,
    /// Rejected for a transient reason. It is sent again when its retry is due.
    Retrying,
}

/// One name on one stream. It has 16 bytes: there is one per name and stream.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) version: Version,
    /// How often the slot was freed, see [`Place::round`].
    round: u32,
    pub(super) standing: Standing,
    /// The client subscribed to it by name.
    pub(super) named: bool,
}

/// A name, with the place of its entry if that is known.
#[derive(Clone, Copy, Debug)]
pub(super) struct Key<'a> {
    pub(super) name: &'a Name,
    pub(super) place: Option<Place>,
}

/// The entries of one type.
#[derive(Debug, Default)]
pub(super) struct Entries {
    places: HashMap<Name, u32>,
    slots: Vec<Entry>,
    free: Vec<u32>,
}

// === impl Key ===

impl<'a> From<&'a Name> for Key<'a> {
    fn from(name: &'a Name) -> Self {
        Self { name, place: None }
    }
}

// === impl Entries ===

impl Entries {
    pub(super) fn get<'a>(&self, key: impl Into<Key<'a>>) -> Option<&Entry> {
        self.slots.get(self.find(key.into())?)
    }

    pub(super) fn get_mut<'a>(&mut self, key: impl Into<Key<'a>>) -> Option<&mut Entry> {
        let at = self.find(key.into())?;
        self.slots.get_mut(at)
    }

    /// The entry of a name. A missing one is added as absent and not named.
    pub(super) fn put<'a>(&mut self, key: impl Into<Key<'a>>) -> (Place, &mut Entry) {
        let key = key.into();
        let at = self.find(key).unwrap_or_else(|| self.add(key.name));
        let entry = &mut self.slots[at];
        (Place { at: at as u32, round: entry.round }, entry)
    }

    pub(super) fn remove(&mut self, name: &Name) {
        let Some(at) = self.places.remove(name) else { return };
        let entry = &mut self.slots[at as usize];
        entry.round = entry.round.wrapping_add(1);
        self.free.push(at);
    }

    pub(super) fn contains(&self, name: &Name) -> bool {
        self.places.contains_key(name)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Name, &Entry)> {
        self.places.iter().map(|(name, at)| (name, &self.slots[*at as usize]))
    }

    fn find(&self, key: Key<'_>) -> Option<usize> {
        let kept = key.place.filter(|place| {
            self.slots.get(place.at as usize).is_some_and(|entry| entry.round == place.round)
        });
        let at = kept.map(|place| place.at).or_else(|| self.places.get(key.name).copied())?;
        Some(at as usize)
    }

    fn add(&mut self, name: &Name) -> usize {
        let fresh = |round| Entry { version: Version(0), round, standing: Standing::Absent, named: false };
        let at = match self.free.pop() {
            Some(at) => {
                let slot = &mut self.slots[at as usize];
                *slot = fresh(slot.round);
                at
            }
            None => {
                self.slots.push(fresh(0));
                (self.slots.len() - 1) as u32
            }
        };
        self.places.insert(name.clone(), at);
        at as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_sixteen_bytes() {
        assert_eq!(size_of::<Entry>(), 16);
    }

    #[test]
    fn a_place_finds_its_entry_without_the_name() {
        let (kept, other): (Name, Name) = ("kept".into(), "other".into());
        let mut entries = Entries::default();
        let (place, entry) = entries.put(&kept);
        entry.named = true;
        let found = entries.get(Key { name: &other, place: Some(place) });
        assert!(found.is_some_and(|entry| entry.named));
    }

    #[test]
    fn a_freed_place_does_not_find_the_entry_that_reuses_it() {
        let (gone, next): (Name, Name) = ("gone".into(), "next".into());
        let mut entries = Entries::default();
        let (place, _) = entries.put(&gone);
        entries.remove(&gone);
        let (reused, entry) = entries.put(&next);
        assert!(!entry.named && entry.standing == Standing::Absent);
        assert_eq!(reused.at, place.at);
        assert!(entries.get(Key { name: &gone, place: Some(place) }).is_none());
        assert_eq!(entries.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>(), [next]);
    }

    #[test]
    fn a_name_that_returns_is_found_by_name_when_its_old_place_is_stale() {
        let name: Name = "name".into();
        let mut entries = Entries::default();
        let (stale, _) = entries.put(&name);
        entries.remove(&name);
        entries.put(&name).1.version = Version(7);
        let found = entries.get(Key { name: &name, place: Some(stale) });
        assert_eq!(found.map(|entry| entry.version), Some(Version(7)));
    }
}
