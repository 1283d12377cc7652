//! ACK and NACK: what an answer tells about the client's resources, and what is sent again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::entries::{Key, Standing};
use super::nack;
use super::state::{Flight, Retry, TypeState};
use super::{Event, Session};
use crate::message::{Variant, Versions};
use crate::place::Place;
use crate::resource::{Name, Resource, ResourceType, Version};

/// First and longest delay before a transient rejection is tried again with the same bytes.
const RETRY_FIRST: Duration = Duration::from_millis(250);
const RETRY_LONGEST: Duration = Duration::from_secs(8);

// === impl Session ===

impl<T: ResourceType> Session<T> {
    /// Handles the answer to a response. A nonce that is not in flight is ignored.
    pub(super) fn answer(&mut self, at: usize, nonce: &str, error: Option<&str>, now: Instant) {
        let state = &mut self.types[at];
        let Ok(nonce) = nonce.parse::<u64>() else { return };
        let Some(place) = state.inflight.iter().position(|flight| flight.nonce == nonce) else { return };
        match error {
            None => {
                let answered: Vec<Flight> = state.inflight.drain(..=place).collect();
                for flight in answered {
                    self.acked(at, flight);
                }
            }
            Some(text) => {
                if let Some(flight) = state.inflight.remove(place) {
                    self.nacked(at, flight, text, now);
                }
            }
        }
    }

    fn acked(&mut self, at: usize, flight: Flight) {
        let keep = self.variant == Variant::Sotw && self.types[at].ty.full_state();
        let state = &mut self.types[at];
        let places = flight.places.iter().copied().chain(std::iter::repeat(None));
        for (resource, place) in flight.resources.iter().zip(places) {
            state.confirm(resource, place, keep);
        }
        let resources = Versions::Of(flight.resources);
        self.events.push(Event::Acked { ty: state.ty, resources, removed: flight.removed, claimed: false });
    }

    fn nacked(&mut self, at: usize, flight: Flight, text: &str, now: Instant) {
        let state = &mut self.types[at];
        let ty = state.ty;
        let suspects: Vec<(Name, Version)> = flight
            .resources
            .iter()
            .filter(|one| state.unconfirmed(one))
            .map(|one| (one.name().clone(), one.version()))
            .collect();
        let member =
            |name: &str| suspects.iter().find(|(sent, _)| **sent == *name).map(|(sent, _)| sent.clone());
        let mut named = nack::culprits(text, member);
        if named.is_empty() && suspects.len() == 1 {
            named = vec![(suspects[0].0.clone(), text)];
        }
        let mut transient = !named.is_empty();
        for (name, reason) in &named {
            let passing = ty.transient(reason);
            transient &= passing;
            state.reject(name, passing, now);
            if ty.conflict(reason) {
                state.evicted.extend(state.addresses.take_unknown());
            }
        }
        let names: Vec<Name> = named.into_iter().map(|(name, _)| name).collect();
        self.stop_awaiting_companions_of(at, &names);
        let state = &mut self.types[at];
        let version =
            |name: &Name| suspects.iter().find(|(sent, _)| sent == name).map(|(_, version)| *version);
        let versions = names.iter().filter_map(version).collect();
        let rest: Vec<Name> =
            suspects.into_iter().map(|(name, _)| name).filter(|one| !names.contains(one)).collect();
        state.resend_rest(rest, flight.removed, !names.is_empty());
        if !names.is_empty() || !flight.trial {
            let detail = nack::detail(text, ty.secret());
            self.events.push(Event::Nacked { ty, names, versions, detail, transient });
        }
    }
}

// === impl TypeState ===

impl<T: ResourceType> TypeState<T> {
    fn confirm(&mut self, resource: &Arc<Resource>, place: Option<Place>, keep: bool) {
        if keep {
            self.accepted.insert(resource.name().clone(), resource.clone());
        }
        if let Some(address) = resource.address() {
            self.addresses.confirmed(resource.name(), address);
        }
        if let Some(entry) = self.entries.get_mut(Key { name: resource.name(), place })
            && entry.version == resource.version()
            && entry.standing != Standing::Absent
        {
            entry.standing = Standing::Confirmed;
            self.retries.remove(resource.name());
        }
    }

    /// Whether the client has not answered exactly this version yet.
    fn unconfirmed(&self, resource: &Resource) -> bool {
        self.entries
            .get(resource.name())
            .is_some_and(|entry| entry.version == resource.version() && entry.standing == Standing::Sent)
    }

    /// Marks a rejected resource: it is not sent again until its version changes or its retry is due.
    fn reject(&mut self, name: &Name, transient: bool, now: Instant) {
        self.addresses.rejected(name);
        let Some(entry) = self.entries.get_mut(name) else { return };
        entry.standing = if transient { Standing::Retrying } else { Standing::Withheld };
        if !transient {
            self.retries.remove(name);
            return;
        }
        let earlier = self.retries.get(name).filter(|retry| retry.version == entry.version);
        let delay = earlier.map_or(RETRY_FIRST, |retry| (retry.delay * 2).min(RETRY_LONGEST));
        self.retries.insert(name.clone(), Retry { version: entry.version, delay, due: Some(now + delay) });
    }

    /// Queues the other resources of a rejected response again: together if the culprits are known, else in halves.
    fn resend_rest(&mut self, mut rest: Vec<Name>, removed: Vec<Name>, found: bool) {
        let half = if found || rest.len() < 2 { rest.len() } else { rest.len() / 2 };
        let second = rest.split_off(half);
        rest.extend(removed);
        let trials = [rest, second].into_iter().filter(|names| !names.is_empty());
        if found || half > 0 {
            self.trials.extend(trials);
        }
    }

    /// Queues all due retries as one trial.
    pub(super) fn retry_due(&mut self, now: Instant) {
        let freed = self.addresses.take_freed();
        if self.retries.is_empty() {
            return;
        }
        if freed {
            self.retries.values_mut().filter_map(|retry| retry.due.as_mut()).for_each(|due| *due = now);
        }
        let mut due: Vec<Name> = Vec::new();
        let entries = &mut self.entries;
        self.retries.retain(|name, retry| {
            let Some(entry) = entries.get_mut(name).filter(|entry| entry.version == retry.version) else {
                return false;
            };
            if retry.due.is_some_and(|at| at <= now) {
                retry.due = None;
                entry.standing = Standing::Sent;
                due.push(name.clone());
            }
            true
        });
        if !due.is_empty() {
            self.trials.push_back(due);
        }
    }
}
