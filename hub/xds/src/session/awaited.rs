//! Companions that were not sent since their owners were ([`Awaited`]).
//!
//! Each is marked in its entry, which it needs anyway once the client asks for it: a table of their names would cost as much as
//! to send them.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use super::entries::Key;
use super::state::TypeState;
use crate::resource::{Name, Resource, ResourceType};

/// The owners of awaited companions of one type.
#[derive(Debug, Default)]
pub(super) struct Awaited {
    /// Owners that were sent together, oldest first. Each has companions that were not sent since.
    groups: VecDeque<Owners>,
    /// The number of the last group.
    last: u32,
}

/// Owners that were sent together.
#[derive(Debug)]
struct Owners {
    /// Their number in the entries of their companions; not 0.
    number: u32,
    resources: Arc<[Arc<Resource>]>,
    /// The number of companions that were not sent since.
    left: usize,
    /// Until when referring types wait for the companions.
    until: Instant,
}

// === impl Awaited ===

impl Awaited {
    pub(super) fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// Until when referring types wait.
    pub(super) fn until(&self) -> Option<Instant> {
        self.groups.back().map(|owners| owners.until)
    }

    /// Records that a companion of these owners is awaited no more.
    fn follows(&mut self, number: u32) {
        if let Some(at) = self.groups.iter().position(|owners| owners.number == number) {
            self.groups[at].left -= 1;
            if self.groups[at].left == 0 {
                self.groups.remove(at);
            }
        }
    }
}

// === impl TypeState ===

impl<T: ResourceType> TypeState<T> {
    /// Waits for the companions of resources that were just sent. Those that the client subscribed to are queued.
    pub(super) fn await_companions(&mut self, resources: Arc<[Arc<Resource>]>, until: Instant) {
        let number = self.awaited.last.wrapping_add(1).max(1);
        self.awaited.last = number;
        self.entries.reserve(resources.len());
        let mut left = 0;
        for name in resources.iter().filter_map(|owner| owner.companion()) {
            let (place, entry) = self.entries.put(name);
            let named = entry.named;
            let earlier = std::mem::replace(&mut entry.awaited, number);
            if earlier != number {
                self.awaited.follows(earlier);
                left += 1;
            }
            if named || self.wildcard {
                self.enqueue(Key { name, place: Some(place) }, true);
            }
        }
        if left > 0 {
            self.awaited.groups.push_back(Owners { number, resources, left, until });
        }
    }

    /// Whether a companion must follow its owner.
    pub(super) fn is_awaited(&self, name: &Name) -> bool {
        !self.awaited.is_empty() && self.entries.get(name).is_some_and(|entry| entry.awaited != 0)
    }

    /// Stops waiting for a companion.
    pub(super) fn stop_awaiting(&mut self, key: Key<'_>) {
        if self.awaited.is_empty() {
            return;
        }
        let number = self.entries.known_mut(key).map_or(0, |entry| std::mem::take(&mut entry.awaited));
        if number != 0 {
            self.awaited.follows(number);
        }
    }

    /// Stops waiting for the companions of these owners.
    pub(super) fn stop_awaiting_of(&mut self, owners: &[Name]) {
        if self.awaited.is_empty() || owners.is_empty() {
            return;
        }
        let gone: HashSet<&Name> = owners.iter().collect();
        let all = self.awaited.groups.iter().flat_map(|owners| owners.resources.iter());
        let all: Vec<Arc<Resource>> = all.filter(|owner| gone.contains(owner.name())).cloned().collect();
        self.drop_companions(&all, None);
    }

    /// Stops waiting for companions that the client did not ask for in time.
    pub(super) fn stop_awaiting_late(&mut self, now: Instant) {
        while let Some(late) = self.awaited.groups.pop_front_if(|owners| owners.until <= now) {
            self.drop_companions(&late.resources, Some(late.number));
        }
    }

    /// Counts again after entries were removed.
    pub(super) fn recount_awaited(&mut self) {
        if self.awaited.is_empty() {
            return;
        }
        let all: Vec<u32> = self.entries.awaited().map(|(_, number)| number).collect();
        let left = |number| all.iter().filter(|one| **one == number).count();
        self.awaited.groups.iter_mut().for_each(|owners| owners.left = left(owners.number));
        self.awaited.groups.retain(|owners| owners.left > 0);
    }

    /// Stops waiting for the companions of resources, or of those alone that have this number.
    fn drop_companions(&mut self, resources: &[Arc<Resource>], number: Option<u32>) {
        for name in resources.iter().filter_map(|owner| owner.companion()) {
            let Some(entry) = self.entries.known_mut(name) else { continue };
            if entry.awaited == 0 || number.is_some_and(|number| number != entry.awaited) {
                continue;
            }
            let number = std::mem::take(&mut entry.awaited);
            self.awaited.follows(number);
            self.entries.sweep(name.into());
        }
    }
}
