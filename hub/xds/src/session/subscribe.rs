//! What a request says about subscriptions, in both variants.

use std::collections::{HashMap, HashSet};
use std::time::Instant;

use super::{Interest, Session};
use crate::message::{Event, Request};
use crate::resource::{Name, ResourceType, Version};
use crate::snapshot::Snapshot;

const WILDCARD: &str = "*";

/// What a client says it has: a version of another server (`None`) never equals ours.
type Claims = HashMap<Name, Version>;

// === impl Session ===

impl<T: ResourceType> Session<T> {
    pub(super) fn request_delta(&mut self, at: usize, req: Request<T>, snap: &Snapshot<T>, now: Instant) {
        let ty = self.types[at].ty;
        let first = !std::mem::replace(&mut self.types[at].started, true);
        if !first {
            self.answer(at, &req.nonce, req.error_detail.as_deref(), now);
        }
        let claims: Claims = match first {
            true => req.initial.iter().map(|(name, text)| (snap.intern(ty, name), claimed(text))).collect(),
            false => Claims::new(),
        };
        if !claims.is_empty() {
            let resources = claims.iter().map(|(name, version)| (name.clone(), *version)).collect();
            self.events.push(Event::Acked { ty, resources, removed: Vec::new(), claimed: true });
        }
        let asks_all = req.subscribe.iter().any(|name| name == WILDCARD);
        let drops_all = req.unsubscribe.iter().any(|name| name == WILDCARD);
        let legacy = first && req.subscribe.is_empty() && ty.legacy_wildcard();
        if (asks_all || legacy) && !drops_all && !self.types[at].wildcard {
            self.start_wildcard(at, &claims, snap);
        }
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
        state.wildcard = true;
        state.owed = true;
        self.interest.push(Interest::Wildcard(state.ty, true));
        for (name, version) in claims {
            state.record_claim(name, *version, snap);
            if snap.get(state.ty, name).is_none() {
                state.look_at(name.clone(), false);
            }
        }
        for (name, resource) in snap.iter(state.ty) {
            let has = state.entries.get(name).is_some_and(|entry| entry.version == resource.version());
            if !has || state.awaited.contains_key(name) {
                let force = state.awaited.contains_key(name);
                state.look_at(name.clone(), force);
            }
        }
    }

    /// A name that is asked for is answered, whatever was sent before, unless the client just said that it has it.
    fn subscribe(&mut self, at: usize, name: &Name, claims: &Claims, snap: &Snapshot<T>) {
        let state = &mut self.types[at];
        if let Some(place) = state.name(name) {
            self.interest.push(Interest::Name(state.ty, name.clone(), Some(place)));
        }
        let claim = claims.get(name);
        if let Some(version) = claim {
            state.record_claim(name, *version, snap);
        }
        let force = claim.is_none() || state.awaited.contains_key(name);
        state.look_at(name.clone(), force);
    }

    fn unsubscribe(&mut self, at: usize, name: &Name) {
        let state = &mut self.types[at];
        if !state.unname(name) {
            return;
        }
        self.interest.push(Interest::Name(state.ty, name.clone(), None));
        if state.wildcard {
            // The client can't know whether the wildcard still covers the name: say so (spec, "one exception").
            state.look_at(name.clone(), true);
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
            let (ty, (_, resources)) = (state.ty, state.current(snap));
            self.events.push(Event::Acked { ty, resources, removed: Vec::new(), claimed: true });
            return;
        }
        if stale {
            state.later.extend(new);
            return;
        }
        let later = std::mem::take(&mut state.later);
        for name in new.into_iter().chain(later) {
            state.look_at(name, true);
        }
    }

    /// Replaces the set of names; returns the names that are new.
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
            state.wildcard = true;
            self.interest.push(Interest::Wildcard(ty, true));
            new.extend(snap.iter(ty).map(|(name, _)| name.clone()));
        }
        let state = &mut self.types[at];
        let dropped = state.entries.iter().filter(|(name, entry)| entry.named && !asked.contains(*name));
        let dropped: Vec<Name> = dropped.map(|(name, _)| name.clone()).collect();
        for name in asked {
            if let Some(place) = state.name(&name) {
                self.interest.push(Interest::Name(ty, name.clone(), Some(place)));
                new.push(name);
            }
        }
        if !wildcard && state.wildcard {
            state.end_wildcard();
            self.interest.push(Interest::Wildcard(ty, false));
        }
        for name in dropped {
            state.unname(&name);
            self.interest.push(Interest::Name(ty, name, None));
        }
        state.owed |= first && (wildcard || ty.full_state() && !new.is_empty());
        new
    }
}

impl<T: ResourceType> super::state::TypeState<T> {
    /// A reconnecting client whose version is that of the whole current set has it all.
    fn resume(&mut self, version: &str, snap: &Snapshot<T>) -> bool {
        let (sum, names) = self.current(snap);
        if version.parse() != Ok(Version(sum)) {
            return false;
        }
        for (name, version) in names {
            self.record_claim(&name, version, snap);
        }
        (self.owed, self.told) = (false, true);
        let awaited: Vec<Name> = self.awaited.keys().cloned().collect();
        for name in awaited.into_iter().filter(|name| self.subscribed(name)).collect::<Vec<_>>() {
            self.look_at(name, true);
        }
        true
    }
}

/// Whether a subscription is one of a resource. An empty name is passed over: no resource has one.
fn is_name(name: &str) -> bool {
    !name.is_empty() && name != WILDCARD
}

/// The version that a client names; text that is not ours becomes a version that no body has.
fn claimed(text: &str) -> Version {
    text.parse().unwrap_or_default()
}
