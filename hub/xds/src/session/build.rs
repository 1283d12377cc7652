//! Building responses from the snapshot: what goes now, what waits, and in which order.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::entries::{Key, Standing};
use super::state::{Awaited, Barrier, Fate, Flight, Look, Parting, TypeState, version_of};
use super::{COMPANION_WAIT, MAX_IN_FLIGHT, REMOVAL_GRACE, Session};
use crate::message::{Response, Variant};
use crate::place::Place;
use crate::resource::{Name, Resource, ResourceType, Version, position};
use crate::snapshot::Snapshot;

/// The content of a response.
#[derive(Default)]
pub(super) struct Draft {
    pub(super) resources: Vec<Arc<Resource>>,
    /// As in [`Flight::places`].
    pub(super) places: Vec<Option<Place>>,
    pub(super) removed: Vec<Name>,
    pub(super) trial: bool,
}

// === impl Draft ===

impl Draft {
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
    /// The next additions (and removals that need not wait) of one type.
    pub(super) fn next_of(&mut self, at: usize, snap: &Snapshot<T>, now: Instant) -> Option<Response<T>> {
        let state = &self.types[at];
        if !state.has_work() || state.inflight.len() >= MAX_IN_FLIGHT {
            return None;
        }
        if self.held_until(at).is_some_and(|until| now < until) {
            return None;
        }
        if self.variant == Variant::Sotw && self.types[at].unsure(snap) {
            return None;
        }
        if let Some(draft) = self.types[at].evict() {
            return Some(self.send(at, draft, snap, now));
        }
        while let Some(names) = self.types[at].trials.pop_front() {
            let look = names.into_iter().map(|name| (name, Look { force: true, place: None }));
            let draft = Draft { trial: true, ..self.draft(at, look, false, snap) };
            if !draft.is_empty() {
                let draft = self.types[at].in_order(draft, snap);
                return Some(self.send(at, draft, snap, now));
            }
        }
        if let Some(draft) = self.types[at].farewell(snap) {
            return Some(self.send(at, draft, snap, now));
        }
        let pending = std::mem::take(&mut self.types[at].pending);
        let draft = self.draft(at, pending, true, snap);
        let draft = self.types[at].in_order(draft, snap);
        let owed = std::mem::take(&mut self.types[at].owed);
        (owed || !draft.is_empty()).then(|| self.send(at, draft, snap, now))
    }

    /// Removals that waited long enough.
    pub(super) fn release(&mut self, at: usize, snap: &Snapshot<T>, now: Instant) -> Option<Response<T>> {
        if self.types[at].partings.is_empty() || self.types[at].inflight.len() >= MAX_IN_FLIGHT {
            return None;
        }
        let gate = self.gate(at).map(|gate| &self.types[gate]);
        // The grace is for an answer that does not come: it begins when there is something to answer.
        if gate.is_some_and(|gate| gate.has_work() || !gate.partings.is_empty()) {
            return None;
        }
        let answered =
            |nonce| gate.and_then(|gate| gate.inflight.front()).is_none_or(|open| open.nonce > nonce);
        let nonce = gate.and_then(|gate| gate.inflight.back()).map_or(0, |last| last.nonce);
        let (first, grace) = (self.types[at].partings.front()?.sent, self.grace(at));
        let first = first.unwrap_or(Barrier { nonce, since: now });
        let open = answered(first.nonce);
        for parting in &mut self.types[at].partings {
            parting.sent.get_or_insert(Barrier { nonce, since: now });
        }
        if now < first.since + grace && !open {
            return None;
        }
        let parting = self.types[at].partings.pop_front()?;
        let look = parting.names.into_iter().map(|name| (name, Look::default()));
        let draft = self.draft(at, look, false, snap);
        (!draft.is_empty()).then(|| self.send(at, draft, snap, now))
    }

    /// The type whose answer removals of this type wait for: what refers to it, or whose companion it is.
    fn gate(&self, at: usize) -> Option<usize> {
        self.types[at].ty.remove_before().map(position).or_else(|| self.owner(at))
    }

    /// The type whose companion this type is.
    fn owner(&self, at: usize) -> Option<usize> {
        let ty = self.types[at].ty;
        T::ALL.iter().position(|owner| owner.companion() == Some(ty))
    }

    pub(super) fn grace(&self, at: usize) -> Duration {
        if self.types[at].ty.remove_before().is_some() { REMOVAL_GRACE } else { REMOVAL_GRACE * 2 }
    }

    /// When the next removals of this type go without an answer.
    pub(super) fn parting_due(&self, at: usize) -> Option<Instant> {
        Some(self.types[at].partings.front()?.sent?.since + self.grace(at))
    }

    /// Until when this type waits for the companions of what it may refer to.
    pub(super) fn held_until(&self, at: usize) -> Option<Instant> {
        let ty = self.types[at].ty;
        let companions = T::ALL.iter().filter(|owner| owner.remove_before() == Some(ty));
        let states = companions.filter_map(|owner| owner.companion()).map(|ty| &self.types[position(ty)]);
        states.flat_map(|state| state.awaited.values().map(|awaited| awaited.until)).max()
    }

    /// Decides about names. With `may_wait`, removals that must wait are put aside.
    fn draft(
        &mut self,
        at: usize,
        names: impl IntoIterator<Item = (Name, Look)>,
        may_wait: bool,
        snap: &Snapshot<T>,
    ) -> Draft {
        let waits = may_wait && self.removals_wait(at);
        let sotw = self.variant == Variant::Sotw;
        let state = &mut self.types[at];
        let mut draft = Draft::default();
        for (name, Look { force, place }) in names {
            let key = Key { name: &name, place };
            let fate = state.decide(key, force, snap);
            state.awaited.remove(&name);
            state.unsaid.remove(&name);
            match (fate, waits) {
                (Fate::Nothing, _) => {}
                (Fate::Vanish(_) | Fate::Gone, _) if sotw && state.unknown(key, snap) => {
                    state.unsaid.insert(name);
                }
                (Fate::Send(resource), _) => draft.add(resource, place),
                (Fate::Vanish(_) | Fate::Gone, true) if state.has(key) => state.part(name),
                (Fate::Vanish(resource), _) => {
                    draft.add(resource, place);
                    if !sotw {
                        state.farewells.insert(name);
                    }
                }
                (Fate::Gone, _) if sotw => state.gone_silently(name, &mut draft),
                (Fate::Gone, _) => draft.removed.push(name),
                (Fate::Silent, _) => state.forget(&name),
            }
        }
        draft
    }

    fn removals_wait(&self, at: usize) -> bool {
        let leaving = |at: usize| !self.types[at].partings.is_empty() || !self.types[at].pending.is_empty();
        self.types[at].ty.remove_before().is_some() || self.owner(at).is_some_and(leaving)
    }

    fn send(&mut self, at: usize, mut draft: Draft, snap: &Snapshot<T>, now: Instant) -> Response<T> {
        let nonce = self.take_nonce();
        let state = &mut self.types[at];
        // Of a full set only what is new to the client: Envoy does not warm a cluster again that stayed the same.
        let companions: Vec<(Name, Name)> = draft.resources.iter().filter_map(with_companion).collect();
        let version = if self.variant == Variant::Sotw && state.ty.full_state() {
            draft.resources = state.full_set(&draft, snap);
            state.told = true;
            draft.places.clear();
            version_of(&draft.resources)
        } else {
            state.sent(&draft);
            Version(state.sum)
        };
        state.last_nonce = nonce;
        let response = Response {
            variant: self.variant,
            ty: Some(state.ty),
            type_url: Cow::Borrowed(state.ty.type_url()),
            nonce: nonce.to_string(),
            version,
            system_version: None,
            resources: draft.resources.clone(),
            removed: if self.variant == Variant::Delta { draft.removed.clone() } else { Vec::new() },
        };
        let Draft { resources, places, removed, trial } = draft;
        let companion = state.ty.companion();
        self.await_no_companion_of(at, &removed);
        self.types[at].inflight.push_back(Flight { nonce, resources, places, removed, trial });
        if let Some(companion) = companion.filter(|ty| self.only.is_none_or(|only| only == *ty)) {
            self.push_companions(position(companion), companions, now);
        }
        response
    }

    /// What was just sent is followed by its companions, whatever the client has, at once or when it asks.
    fn push_companions(&mut self, at: usize, pairs: Vec<(Name, Name)>, now: Instant) {
        let state = &mut self.types[at];
        for (owner, name) in pairs {
            if state.subscribed(&name) {
                state.look_at(name.clone(), true);
            }
            state.awaited.insert(name, Awaited { owner, until: now + COMPANION_WAIT });
        }
    }

    /// These resources of the type are gone or were refused: nothing waits for their companions.
    pub(super) fn await_no_companion_of(&mut self, at: usize, owners: &[Name]) {
        let Some(companion) = self.types[at].ty.companion() else { return };
        let awaited = &mut self.types[position(companion)].awaited;
        if !awaited.is_empty() && !owners.is_empty() {
            let owners: HashSet<&Name> = owners.iter().collect();
            awaited.retain(|_, awaited| !owners.contains(&awaited.owner));
        }
    }
}

/// A resource's name and its companion's, if it has one.
fn with_companion(resource: &Arc<Resource>) -> Option<(Name, Name)> {
    Some((resource.name().clone(), resource.companion()?.clone()))
}

// === impl TypeState ===

impl<T: ResourceType> TypeState<T> {
    /// Puts a removal aside. It waits for what is sent from now on, whatever an earlier removal of the name waited for.
    fn part(&mut self, name: Name) {
        for parting in &mut self.partings {
            parting.names.remove(&name);
        }
        self.partings.retain(|parting| !parting.names.is_empty());
        match self.partings.back_mut().filter(|parting| parting.sent.is_none()) {
            Some(parting) => {
                parting.names.insert(name);
            }
            None => self.partings.push_back(Parting { names: BTreeSet::from([name]), sent: None }),
        }
    }

    /// Names as removed what was just emptied: two responses, because Envoy refuses one with both, and ignores the removal
    /// alone. What has come back meanwhile is passed over.
    fn farewell(&mut self, snap: &Snapshot<T>) -> Option<Draft> {
        let names = std::mem::take(&mut self.farewells);
        let gone = |name: &Name| snap.get(self.ty, name).is_none() && self.subscribed(name);
        let removed: Vec<Name> = names.into_iter().filter(gone).collect();
        (!removed.is_empty()).then(|| Draft { removed, ..Draft::default() })
    }

    /// State of the world has no word for a removal, except to leave it out of a full set.
    fn gone_silently(&mut self, name: Name, draft: &mut Draft) {
        if self.ty.full_state() {
            draft.removed.push(name);
        } else if let Some(body) = self.ty.vanished_body(&name) {
            draft.add(Resource::new(self.ty, name, &body), None);
        } else {
            self.forget(&name);
        }
    }

    fn sent(&mut self, draft: &Draft) {
        for (resource, place) in draft.resources.iter().zip(&draft.places) {
            self.record_sent(Key { name: resource.name(), place: *place }, resource);
        }
        for name in &draft.removed {
            self.forget(name);
        }
    }

    /// The whole set, with the last accepted version of what was rejected or is under suspicion.
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
            set.extend(if bad { self.good.get(name) } else { Some(resource) }.cloned());
        }
        let parting = self.partings.iter().flat_map(|parting| &parting.names);
        let parting = parting.filter(|name| snap.get(self.ty, name).is_none());
        set.extend(parting.filter_map(|name| self.good.get(name).cloned()));
        set.sort_by(|a, b| a.name().cmp(b.name()));
        if let Some(order) = self.addresses.order(&set, |_, _| false) {
            set = order.indexes.into_iter().map(|index| set[index].clone()).collect();
        }
        self.settle(&set);
        set
    }

    /// Records a full set as what the client has; what is rejected stays marked.
    fn settle(&mut self, set: &[Arc<Resource>]) {
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
                    entry.version != resource.version() && self.is_good(resource)
                }
                Standing::Confirmed => entry.version == resource.version(),
                _ => false,
            });
            if !settled {
                self.record_sent(resource.name(), resource);
            }
        }
    }

    /// Whether this is the last accepted version of its name.
    fn is_good(&self, resource: &Resource) -> bool {
        self.good.get(resource.name()).is_some_and(|good| good.version() == resource.version())
    }
}
