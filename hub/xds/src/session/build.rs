//! Builds responses from the snapshot: what is sent now, what waits, and in which order.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::entries::{Key, Queued, Standing};
use super::state::{Barrier, Fate, Flight, HeldRemoval, TypeState, version_of};
use super::{COMPANION_WAIT, MAX_IN_FLIGHT, REMOVAL_GRACE, Session};
use crate::message::{Response, Variant};
use crate::place::Place;
use crate::resource::{Name, Resource, ResourceType, Version, position};
use crate::snapshot::Snapshot;

/// The content of a response.
#[derive(Default)]
pub(super) struct Draft {
    pub(super) resources: Vec<Arc<Resource>>,
    /// See [`Flight::places`].
    pub(super) places: Vec<Option<Place>>,
    pub(super) removed: Vec<Name>,
    pub(super) trial: bool,
}

// === impl Draft ===

impl Draft {
    /// An empty one with room for this number of resources.
    fn of_size(size: usize) -> Self {
        Self { resources: Vec::with_capacity(size), places: Vec::with_capacity(size), ..Self::default() }
    }

    fn add(&mut self, resource: Arc<Resource>, place: Option<Place>) {
        self.resources.push(resource);
        self.places.push(place);
    }

    fn is_empty(&self) -> bool {
        self.resources.is_empty() && self.removed.is_empty()
    }
}

// === impl Session ===

impl<T: ResourceType> Session<T> {
    /// Returns the next additions of one type, with the removals that need not wait.
    pub(super) fn next_of(&mut self, at: usize, snap: &Snapshot<T>, now: Instant) -> Option<Response<T>> {
        let state = &self.types[at];
        if !state.has_work() || state.inflight.len() >= MAX_IN_FLIGHT {
            return None;
        }
        if self.held_until(at).is_some_and(|until| now < until) {
            return None;
        }
        if self.variant == Variant::Sotw && self.types[at].may_drop_withheld(snap) {
            return None;
        }
        if let Some(draft) = self.types[at].evict() {
            return Some(self.send(at, draft, snap, now));
        }
        while let Some(names) = self.types[at].trials.pop_front() {
            let names = names.into_iter().map(|name| Queued { name, place: None, force: true });
            let draft = Draft { trial: true, ..self.draft(at, names, false, snap) };
            if !draft.is_empty() {
                let draft = self.types[at].in_order(draft, snap);
                return Some(self.send(at, draft, snap, now));
            }
        }
        if let Some(draft) = self.types[at].remove_emptied(snap) {
            return Some(self.send(at, draft, snap, now));
        }
        let queued = self.types[at].entries.take_queued();
        let draft = self.draft(at, queued, true, snap);
        let draft = self.types[at].in_order(draft, snap);
        let owes_response = std::mem::take(&mut self.types[at].owes_response);
        (owes_response || !draft.is_empty()).then(|| self.send(at, draft, snap, now))
    }

    /// Returns the next removals whose wait is over.
    pub(super) fn release(&mut self, at: usize, snap: &Snapshot<T>, now: Instant) -> Option<Response<T>> {
        if self.types[at].held_removals.is_empty() || self.types[at].inflight.len() >= MAX_IN_FLIGHT {
            return None;
        }
        let gate = self.gate(at).map(|gate| &self.types[gate]);
        // The grace covers a missing answer, so it starts when everything that needs an answer was sent.
        if gate.is_some_and(|gate| gate.has_work() || !gate.held_removals.is_empty()) {
            return None;
        }
        let answered =
            |nonce| gate.and_then(|gate| gate.inflight.front()).is_none_or(|open| open.nonce > nonce);
        let nonce = gate.and_then(|gate| gate.inflight.back()).map_or(0, |last| last.nonce);
        let (first, grace) = (self.types[at].held_removals.front()?.sent, self.grace(at));
        let first = first.unwrap_or(Barrier { nonce, since: now });
        let open = answered(first.nonce);
        for held in &mut self.types[at].held_removals {
            held.sent.get_or_insert(Barrier { nonce, since: now });
        }
        if now < first.since + grace && !open {
            return None;
        }
        let held = self.types[at].held_removals.pop_front()?;
        let names = held.names.into_iter().map(|name| Queued { name, place: None, force: false });
        let draft = self.draft(at, names, false, snap);
        (!draft.is_empty()).then(|| self.send(at, draft, snap, now))
    }

    /// The type whose answer removals of this type wait for: the type that refers to it, or its companion's owner.
    fn gate(&self, at: usize) -> Option<usize> {
        self.types[at].ty.remove_before().map(position).or_else(|| self.owner(at))
    }

    /// The type that has this type as its companion.
    fn owner(&self, at: usize) -> Option<usize> {
        let ty = self.types[at].ty;
        T::ALL.iter().position(|owner| owner.companion() == Some(ty))
    }

    pub(super) fn grace(&self, at: usize) -> Duration {
        if self.types[at].ty.remove_before().is_some() { REMOVAL_GRACE } else { REMOVAL_GRACE * 2 }
    }

    /// Returns when the next removals of this type are sent without an answer.
    pub(super) fn removal_due(&self, at: usize) -> Option<Instant> {
        Some(self.types[at].held_removals.front()?.sent?.since + self.grace(at))
    }

    /// Returns until when this type waits for the companions of resources that it may refer to.
    pub(super) fn held_until(&self, at: usize) -> Option<Instant> {
        let ty = self.types[at].ty;
        let companions = T::ALL.iter().filter(|owner| owner.remove_before() == Some(ty));
        let states = companions.filter_map(|owner| owner.companion()).map(|ty| &self.types[position(ty)]);
        states.filter_map(|state| state.awaited.until()).max()
    }

    /// Decides what to send about each name. With `may_wait`, removals that must wait are held back.
    fn draft(
        &mut self,
        at: usize,
        names: impl IntoIterator<Item = Queued, IntoIter: ExactSizeIterator>,
        may_wait: bool,
        snap: &Snapshot<T>,
    ) -> Draft {
        let waits = may_wait && self.removals_wait(at);
        let sotw = self.variant == Variant::Sotw;
        let state = &mut self.types[at];
        let names = names.into_iter();
        let mut draft = Draft::of_size(names.len());
        for Queued { name, place, force } in names {
            let key = Key { name: &name, place };
            let fate = state.decide(key, force, snap);
            state.stop_awaiting(key);
            state.unanswered.remove(&name);
            match (fate, waits) {
                (Fate::Nothing, _) => state.entries.sweep(key),
                (Fate::Empty(_) | Fate::Remove, _) if sotw && state.may_exist(key, snap) => {
                    state.entries.sweep(key);
                    state.unanswered.insert(name);
                }
                (Fate::Send(resource), _) => draft.add(resource, place),
                (Fate::Empty(_) | Fate::Remove, true) if state.has(key) => state.hold_removal(name),
                (Fate::Empty(resource), _) => {
                    draft.add(resource, place);
                    if !sotw {
                        state.emptied.insert(name);
                    }
                }
                (Fate::Remove, _) if sotw => state.remove_from_sotw(name, &mut draft),
                (Fate::Remove, _) => draft.removed.push(name),
                (Fate::Forget, _) => state.forget(&name),
            }
        }
        draft
    }

    fn removals_wait(&self, at: usize) -> bool {
        let leaving =
            |at: usize| !self.types[at].held_removals.is_empty() || self.types[at].entries.has_queued();
        self.types[at].ty.remove_before().is_some() || self.owner(at).is_some_and(leaving)
    }

    fn send(&mut self, at: usize, mut draft: Draft, snap: &Snapshot<T>, now: Instant) -> Response<T> {
        let nonce = self.take_nonce();
        let state = &mut self.types[at];
        // Only companions of changed resources, not of the full set: Envoy does not warm an unchanged cluster again.
        let (resources, changed, version): (Arc<[Arc<Resource>]>, _, _);
        if self.variant == Variant::Sotw && state.ty.full_state() {
            resources = state.full_set(&draft, snap).into();
            changed = draft.resources.into();
            state.synced = true;
            draft.places.clear();
            version = version_of(&resources);
        } else {
            state.sent(&mut draft);
            resources = draft.resources.into();
            changed = resources.clone();
            version = Version(state.sum);
        }
        state.last_nonce = nonce;
        let Draft { places, removed, trial, .. } = draft;
        let response = Response {
            variant: self.variant,
            ty: Some(state.ty),
            type_url: Cow::Borrowed(state.ty.type_url()),
            nonce: nonce.to_string(),
            version,
            system_version: None,
            resources: resources.clone(),
            removed: if self.variant == Variant::Delta { removed.clone() } else { Vec::new() },
        };
        let companion = state.ty.companion();
        self.stop_awaiting_companions_of(at, &removed);
        self.types[at].inflight.push_back(Flight { nonce, resources, places, removed, trial });
        if let Some(companion) = companion.filter(|ty| self.only.is_none_or(|only| only == *ty)) {
            // They are sent whatever the client has: now if it subscribed to them, else when it does.
            self.types[position(companion)].await_companions(changed, now + COMPANION_WAIT);
        }
        response
    }

    /// Stops waiting for companions of resources that were removed or rejected.
    pub(super) fn stop_awaiting_companions_of(&mut self, at: usize, owners: &[Name]) {
        let Some(companion) = self.types[at].ty.companion() else { return };
        self.types[position(companion)].stop_awaiting_of(owners);
    }
}

// === impl TypeState ===

impl<T: ResourceType> TypeState<T> {
    /// Holds a removal back. It waits for responses from now on; an earlier wait for the same name is dropped.
    fn hold_removal(&mut self, name: Name) {
        for held in &mut self.held_removals {
            held.names.remove(&name);
        }
        self.held_removals.retain(|held| !held.names.is_empty());
        match self.held_removals.back_mut().filter(|held| held.sent.is_none()) {
            Some(held) => {
                held.names.insert(name);
            }
            None => self.held_removals.push_back(HeldRemoval { names: BTreeSet::from([name]), sent: None }),
        }
    }

    /// Removes the names that were emptied by the last response. Envoy rejects a response with both the empty body and the
    /// removal, and ignores the removal alone. Names that exist again are left out.
    fn remove_emptied(&mut self, snap: &Snapshot<T>) -> Option<Draft> {
        let names = std::mem::take(&mut self.emptied);
        let gone = |name: &Name| snap.get(self.ty, name).is_none() && self.subscribed(name);
        let removed: Vec<Name> = names.into_iter().filter(gone).collect();
        (!removed.is_empty()).then(|| Draft { removed, ..Draft::default() })
    }

    /// Removes a name in state of the world, which can only leave a name out of a full set. Other types get an empty body.
    fn remove_from_sotw(&mut self, name: Name, draft: &mut Draft) {
        if self.ty.full_state() {
            draft.removed.push(name);
        } else if let Some(body) = self.ty.vanished_body(&name) {
            draft.add(Resource::new(self.ty, name, &body), None);
        } else {
            self.forget(&name);
        }
    }

    /// Records a response as sent, and completes its places.
    fn sent(&mut self, draft: &mut Draft) {
        for (resource, place) in draft.resources.iter().zip(&mut draft.places) {
            *place = Some(self.record_sent(Key { name: resource.name(), place: *place }, resource));
        }
        for name in &draft.removed {
            self.forget(name);
        }
    }

    /// Returns the full set. A rejected resource and an untested one of a rejected response have their last accepted version.
    fn full_set(&mut self, draft: &Draft, snap: &Snapshot<T>) -> Vec<Arc<Resource>> {
        for name in &draft.removed {
            self.forget(name);
        }
        let trying: HashSet<&Name> = draft.resources.iter().map(|one| one.name()).collect();
        let suspects: HashSet<&Name> =
            self.trials.iter().flatten().filter(|name| !trying.contains(*name)).collect();
        let mut set: Vec<Arc<Resource>> = Vec::new();
        let leaving: HashSet<&Name> = draft.removed.iter().collect();
        let stays = |name: &Name| self.subscribed(name) && !leaving.contains(name);
        for (name, resource) in snap.iter(self.ty).filter(|(name, _)| stays(name)) {
            let bad = suspects.contains(name) || self.rejected(name, resource.version());
            set.extend(if bad { self.accepted.get(name) } else { Some(resource) }.cloned());
        }
        let held = self.held_removals.iter().flat_map(|held| &held.names);
        let held = held.filter(|name| snap.get(self.ty, name).is_none());
        set.extend(held.filter_map(|name| self.accepted.get(name).cloned()));
        set.sort_by(|a, b| a.name().cmp(b.name()));
        if let Some(order) = self.addresses.order(&set, |_, _| false) {
            set = order.indexes.into_iter().map(|index| set[index].clone()).collect();
        }
        self.record_full_set(&set);
        set
    }

    /// Records a full set as what the client has. Rejected resources stay marked.
    fn record_full_set(&mut self, set: &[Arc<Resource>]) {
        let names: HashSet<&Name> = set.iter().map(|one| one.name()).collect();
        let held = |standing| matches!(standing, Standing::Claimed | Standing::Sent | Standing::Confirmed);
        let gone = self.entries.iter().filter(|(name, entry)| held(entry.standing) && !names.contains(name));
        let gone: Vec<Name> = gone.map(|(name, _)| name.clone()).collect();
        for name in &gone {
            self.forget(name);
        }
        for resource in set {
            let entry = self.entries.get(resource.name());
            let settled = entry.is_some_and(|entry| match entry.standing {
                Standing::Withheld | Standing::Retrying => {
                    entry.version != resource.version() && self.is_last_accepted(resource)
                }
                Standing::Confirmed => entry.version == resource.version(),
                _ => false,
            });
            if !settled {
                self.record_sent(resource.name(), resource);
            }
        }
    }

    /// Whether a resource is the last accepted version of its name.
    fn is_last_accepted(&self, resource: &Resource) -> bool {
        self.accepted.get(resource.name()).is_some_and(|last| last.version() == resource.version())
    }
}
