//! Subscriptions: what requests of both variants change in them.

use std::collections::{HashMap, HashSet};
use std::time::Instant;

use super::entries::{Key, Standing};
use super::{Interest, Session};
use crate::message::{Event, Request};
use crate::resource::{Name, ResourceType, Version};
use crate::snapshot::Snapshot;

const WILDCARD: &str = "*";

/// The versions that a client claims to have. A version of another server is `Version::default()`, which no body has.
type Claims = HashMap<Name, Version>;

// === impl Session ===

impl<T: ResourceType> Session<T> {
    pub(super) fn request_delta(&mut self, at: usize, req: Request<T>, snap: &Snapshot<T>, now: Instant) {
        let ty = self.types[at].ty;
        let first = !std::mem::replace(&mut self.types[at].started, true);
        if !first {
            self.answer(at, &req.nonce, req.error_detail.as_deref(), now);
            self.types[at].settle(snap);
        }
        let claims: Claims = match first {
            true => req.initial.iter().map(|(name, text)| (snap.intern(ty, name), claimed(text))).collect(),
            false => Claims::new(),
        };
        if !claims.is_empty() {
            let resources = claims.iter().map(|(name, version)| (name.clone(), *version)).collect::<Vec<_>>();
            let resources = resources.into();
            self.events.push(Event::Acked { ty, resources, removed: Vec::new(), claimed: true });
        }
        let asks_all = req.subscribe.iter().any(|name| name == WILDCARD);
        let drops_all = req.unsubscribe.iter().any(|name| name == WILDCARD);
        let legacy = first && req.subscribe.is_empty() && ty.legacy_wildcard();
        if (asks_all || legacy) && !drops_all && !self.types[at].wildcard {
            self.start_wildcard(at, &claims, snap);
            self.types[at].settle(snap);
        }
        self.types[at].entries.reserve_queued(req.subscribe.len());
        for name in req.subscribe.iter().filter(|name| is_name(name)) {
            self.subscribe(at, &snap.intern(ty, name), &claims, snap);
        }
        if drops_all && self.types[at].wildcard {
            self.types[at].end_wildcard();
            self.interest.push(Interest::Wildcard(ty, false));
        }
        for name in req.unsubscribe.iter().filter(|name| is_name(name)) {
            self.unsubscribe(at, &snap.intern(ty, name));
        }
    }

    fn start_wildcard(&mut self, at: usize, claims: &Claims, snap: &Snapshot<T>) {
        let state = &mut self.types[at];
        state.start_wildcard(snap);
        state.owes_response = true;
        self.interest.push(Interest::Wildcard(state.ty, true));
        for (name, version) in claims {
            state.record_claim(name, *version, snap);
            if snap.get(state.ty, name).is_none() {
                state.enqueue(name, false);
            }
        }
        for (name, resource) in snap.iter(state.ty) {
            let (place, entry) = state.entries.put(name);
            let has = entry.standing != Standing::Absent && entry.version == resource.version();
            let force = entry.awaited != 0;
            let keeps =
                entry.standing == Standing::Claimed && snap.may_be_older(state.ty, name, entry.version);
            if !(has || keeps) || force {
                state.enqueue(Key { name, place: Some(place) }, force);
            }
        }
    }

    /// Subscribes to a name. It is answered whatever was sent before, unless the client claims to have the version.
    fn subscribe(&mut self, at: usize, name: &Name, claims: &Claims, snap: &Snapshot<T>) {
        let state = &mut self.types[at];
        let place = state.subscribe_name(name);
        self.interest.extend(place.map(|place| Interest::Name(state.ty, name.clone(), Some(place))));
        let claim = claims.get(name);
        if let Some(version) = claim {
            state.record_claim(name, *version, snap);
        }
        let force = claim.is_none() || state.is_awaited(name);
        let keeps = claim.is_some_and(|version| snap.may_be_older(state.ty, name, *version));
        if force || !keeps {
            state.enqueue(Key { name, place }, force);
        }
    }

    fn unsubscribe(&mut self, at: usize, name: &Name) {
        let state = &mut self.types[at];
        if !state.unsubscribe_name(name) {
            return;
        }
        self.interest.push(Interest::Name(state.ty, name.clone(), None));
        if state.wildcard {
            // The client can't know whether the wildcard still covers the name, so it is answered (spec, "one exception").
            state.enqueue(name, true);
        }
    }

    pub(super) fn request_sotw(&mut self, at: usize, req: Request<T>, snap: &Snapshot<T>, now: Instant) {
        let first = !std::mem::replace(&mut self.types[at].started, true);
        // Before the first response there is no nonce to be stale.
        let last = self.types[at].last_nonce;
        let stale = !first && last != 0 && req.nonce != last.to_string();
        if !first {
            self.answer(at, &req.nonce, req.error_detail.as_deref(), now);
        }
        let new = self.set_names(at, &req.names, first, snap);
        let state = &mut self.types[at];
        state.returning |= first && !req.version_info.is_empty();
        if first && !req.version_info.is_empty() && state.resume(&req.version_info, snap) {
            let (ty, resources) = (state.ty, state.current(snap).1.into());
            self.events.push(Event::Acked { ty, resources, removed: Vec::new(), claimed: true });
            return;
        }
        if stale {
            state.stale_names.extend(new);
            return;
        }
        let stale = std::mem::take(&mut state.stale_names);
        for name in new.into_iter().chain(stale) {
            state.enqueue(&name, true);
        }
    }

    /// Replaces the subscribed names. Returns the new ones.
    fn set_names(&mut self, at: usize, names: &[String], first: bool, snap: &Snapshot<T>) -> Vec<Name> {
        let state = &mut self.types[at];
        let ty = state.ty;
        let legacy = names.is_empty() && ty.legacy_wildcard() && !state.explicit;
        let wildcard = legacy || names.iter().any(|name| name == WILDCARD);
        state.explicit |= !names.is_empty();
        let asked = names.iter().filter(|name| is_name(name)).map(|name| snap.intern(ty, name));
        let asked: HashSet<Name> = asked.collect();
        let mut new: Vec<Name> = Vec::new();
        if wildcard && !state.wildcard {
            state.start_wildcard(snap);
            self.interest.push(Interest::Wildcard(ty, true));
            new.extend(snap.iter(ty).map(|(name, _)| name.clone()));
        }
        let state = &mut self.types[at];
        let dropped = state.entries.unsettled().filter(|(name, entry)| entry.named && !asked.contains(*name));
        let dropped: Vec<Name> = dropped.map(|(name, _)| name.clone()).collect();
        for name in asked {
            if let Some(place) = state.subscribe_name(&name) {
                self.interest.push(Interest::Name(ty, name.clone(), Some(place)));
                new.push(name);
            }
        }
        if !wildcard && state.wildcard {
            state.end_wildcard();
            self.interest.push(Interest::Wildcard(ty, false));
        }
        for name in dropped {
            state.unsubscribe_name(&name);
            self.interest.push(Interest::Name(ty, name, None));
        }
        state.owes_response |= first && (wildcard || ty.full_state() && !new.is_empty());
        new
    }
}

impl<T: ResourceType> super::state::TypeState<T> {
    /// Takes a reconnecting client as up to date if its version is the version of the current set. Returns whether it is.
    fn resume(&mut self, version: &str, snap: &Snapshot<T>) -> bool {
        let (sum, names) = self.current(snap);
        if version.parse() != Ok(Version(sum)) {
            return false;
        }
        for (name, version) in names {
            self.record_claim(&name, version, snap);
        }
        (self.owes_response, self.synced) = (false, true);
        let awaited: Vec<Name> = self
            .entries
            .awaited()
            .map(|(name, _)| name.clone())
            .filter(|name| self.subscribed(name))
            .collect();
        awaited.iter().for_each(|name| self.enqueue(name, true));
        true
    }
}

/// Whether a subscription names a resource. Empty names are ignored: no resource has one.
fn is_name(name: &str) -> bool {
    !name.is_empty() && name != WILDCARD
}

/// Parses a version that a client claims. Text of another server becomes a version that no body has.
fn claimed(text: &str) -> Version {
    text.parse().unwrap_or_default()
}
