//! How a type waits for its companions: they are sent right behind the resources that they must follow.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

use super::awaited::Owners;
use super::entries::Key;
use super::state::TypeState;
use crate::resource::{Name, Resource, ResourceType};

// === impl TypeState ===

impl<T: ResourceType> TypeState<T> {
    /// Waits for the companions of resources that were just sent. Those that the client subscribed to are queued.
    pub(super) fn await_companions(&mut self, resources: Arc<[Arc<Resource>]>, until: Instant) {
        let number = self.awaited.last.wrapping_add(1).max(1);
        self.awaited.last = number;
        self.entries.reserve(resources.iter().filter(|owner| owner.companion().is_some()).count());
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
        let mut orphans = Vec::new();
        for owners in &mut self.awaited.groups {
            let is_gone = |owner: &&Arc<Resource>| gone.contains(owner.name());
            let lost: Vec<_> = owners.resources.iter().filter(is_gone).cloned().collect();
            if lost.is_empty() {
                continue;
            }
            owners.resources = owners.resources.iter().filter(|owner| !is_gone(owner)).cloned().collect();
            let kept: HashSet<&Name> =
                owners.resources.iter().filter_map(|owner| owner.companion()).collect();
            let lost = lost.iter().filter_map(|owner| owner.companion()).filter(|name| !kept.contains(name));
            orphans.extend(lost.map(|name| (name.clone(), owners.number)));
        }
        orphans.iter().for_each(|(name, number)| self.stop_awaiting_as(name, *number));
    }

    /// Stops waiting for companions that the client did not ask for in time.
    pub(super) fn stop_awaiting_late(&mut self, now: Instant) {
        while let Some(late) = self.awaited.groups.pop_front_if(|owners| owners.until <= now) {
            let companions = late.resources.iter().filter_map(|owner| owner.companion());
            companions.for_each(|name| self.stop_awaiting_as(name, late.number));
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

    /// Stops waiting for a companion of the owners with this number.
    fn stop_awaiting_as(&mut self, name: &Name, number: u32) {
        let entry = self.entries.known_mut(name).filter(|entry| entry.awaited == number);
        if let Some(entry) = entry {
            entry.awaited = 0;
            self.awaited.follows(number);
            self.entries.sweep(name.into());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::time::Duration;

    use rand::rngs::SmallRng;
    use rand::{Rng, SeedableRng};

    use super::*;
    use crate::EnvoyType::{Cluster, Endpoint};

    /// What is awaited, by the companion's name: its owners, and until when.
    type Model = BTreeMap<Name, (BTreeSet<Name>, Instant)>;

    fn mk_owner(dice: &mut SmallRng) -> Arc<Resource> {
        let owner = format!("owner-{}", dice.random_range(0..8));
        match dice.random_range(0..8) {
            0 => Resource::new(Cluster, owner, b"1"),
            _ => Resource::with_companion(Cluster, owner, b"1", format!("{}", dice.random_range(0..6))),
        }
    }

    fn check(state: &TypeState<crate::EnvoyType>, model: &Model, seed: u64) {
        for name in (0..6).map(|i| Name::from(i.to_string())) {
            assert_eq!(state.is_awaited(&name), model.contains_key(&name), "{name}, seed {seed}");
            let known = state.entries.unsettled().any(|(one, _)| *one == name);
            assert!(!known || state.subscribed(&name), "{name} left an entry, seed {seed}");
        }
        assert_eq!(state.awaited.is_empty(), model.is_empty(), "seed {seed}");
        assert_eq!(state.awaited.until(), model.values().map(|(_, until)| *until).max(), "seed {seed}");
        let left: usize = state.awaited.groups.iter().map(|owners| owners.left).sum();
        assert_eq!((left, state.entries.awaited().count()), (model.len(), model.len()), "seed {seed}");
    }

    fn run(seed: u64) {
        let dice = &mut SmallRng::seed_from_u64(seed);
        let (mut state, mut model) = (TypeState::new(Endpoint), Model::new());
        let mut now = Instant::now();
        for _ in 0..200 {
            let name = Name::from(dice.random_range(0..6).to_string());
            let owner = Name::from(format!("owner-{}", dice.random_range(0..8)));
            now += Duration::from_millis(dice.random_range(0..10));
            match dice.random_range(0..8) {
                0..3 => {
                    let owners: Vec<_> = (0..dice.random_range(0..5)).map(|_| mk_owner(dice)).collect();
                    let until = now + Duration::from_millis(30);
                    let mut sent = Model::new();
                    for (name, one) in owners.iter().filter_map(|one| Some((one.companion()?, one))) {
                        let group = sent.entry(name.clone()).or_insert((BTreeSet::new(), until));
                        group.0.insert(one.name().clone());
                    }
                    model.extend(sent);
                    state.await_companions(owners.into(), until);
                }
                3 => {
                    state.stop_awaiting((&name).into());
                    state.entries.sweep((&name).into());
                    model.remove(&name);
                }
                4 => {
                    state.stop_awaiting_of(std::slice::from_ref(&owner));
                    model.retain(|_, (owners, _)| !owners.remove(&owner) || !owners.is_empty());
                }
                5 => drop(state.subscribe_name(&name)),
                6 => {
                    if state.unsubscribe_name(&name) {
                        model.remove(&name);
                    }
                }
                _ => {
                    state.stop_awaiting_late(now);
                    model.retain(|_, (_, until)| now < *until);
                }
            }
            drop(state.entries.take_queued());
            check(&state, &model, seed);
        }
    }

    #[test]
    fn companions_are_awaited_as_a_table_of_their_names_would_tell() {
        (0..300).for_each(run);
    }
}
