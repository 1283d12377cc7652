//! One stream of the protocol as a synchronous struct ([`Session`]): requests and changes in, responses and events out.
//!
//! The session queues names, never responses. It tracks what the client has, and builds each response from the snapshot when
//! the caller asks for one. A slow client therefore gets the newest state, not a backlog. The clock is an argument. Sources:
//! envoyproxy/envoy `docs/root/api-docs/xds_protocol.rst`, and Envoy 1.40 as measured.

mod addresses;
mod answer;
mod awaited;
mod build;
mod companions;
mod entries;
mod nack;
mod order;
mod state;
mod subscribe;
mod unknown;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::load::Load;
use crate::message::{Event, Kind, Request, Response, Variant};
use crate::place::Place;
use crate::resource::{Name, ResourceType, position};
use crate::snapshot::Snapshot;
use state::TypeState;
use unknown::UnknownTypes;

/// Unanswered responses per type. Further changes wait and merge.
pub const MAX_IN_FLIGHT: usize = 4;

/// How long a removal waits for the client's answer about the type that refers to it.
pub const REMOVAL_GRACE: Duration = Duration::from_secs(1);

/// How long listeners wait for the client to ask for the companions of clusters that were just sent.
pub const COMPANION_WAIT: Duration = Duration::from_millis(250);

/// With more changed parts of its bases a stream is far behind. A shelf has 256 parts.
const FAR: usize = 128;

/// A change of a stream's subscription.
#[derive(Debug)]
pub(crate) enum Interest<T> {
    /// A name is subscribed, with the place of its entry, or unsubscribed (`None`).
    Name(T, Name, Option<Place>),
    /// The wildcard of a type is subscribed or unsubscribed.
    Wildcard(T, bool),
}

/// The state of one stream.
pub struct Session<T> {
    variant: Variant,
    only: Option<T>,
    /// In the order of [`ResourceType::ALL`].
    types: Vec<TypeState<T>>,
    unknown: UnknownTypes,
    nonce: u64,
    events: Vec<Event<T>>,
    interest: Vec<Interest<T>>,
}

// === impl Session ===

impl<T: ResourceType> Session<T> {
    /// Starts a stream. `only` restricts it to one type, as the per-type services do.
    pub fn new(variant: Variant, only: Option<T>) -> Self {
        Self {
            variant,
            only,
            types: T::ALL.iter().map(|ty| TypeState::new(*ty)).collect(),
            unknown: UnknownTypes::default(),
            nonce: 0,
            events: Vec::new(),
            interest: Vec::new(),
        }
    }

    /// Handles one request.
    pub fn request(&mut self, req: Request<T>, snap: &Snapshot<T>, now: Instant) {
        match &req.kind {
            Kind::Known(ty) if self.only.is_none_or(|only| only == *ty) => {
                let at = position(*ty);
                match self.variant {
                    Variant::Delta => self.request_delta(at, req, snap, now),
                    Variant::Sotw => self.request_sotw(at, req, snap, now),
                }
            }
            Kind::Known(ty) => self.request_unknown(ty.type_url().into(), &req),
            Kind::Unknown(url) => self.request_unknown(url.clone(), &req),
        }
    }

    fn request_unknown(&mut self, url: std::sync::Arc<str>, req: &Request<T>) {
        if self.unknown.request(&url, req) {
            self.events.push(Event::Unknown { type_url: url });
        }
    }

    /// Queues names whose resource changed. `snap` and later snapshots hold the change.
    pub fn changed(&mut self, dirty: &BTreeSet<(T, Name)>, snap: &Snapshot<T>, now: Instant) {
        for (ty, name) in dirty {
            self.changed_at(*ty, name, None);
        }
        self.tick(snap, now);
    }

    /// Queues what has changed of these types' bases since the last call.
    pub(crate) fn told(&mut self, snap: &Snapshot<T>, of: impl Fn(T) -> bool) {
        for state in self.types.iter_mut().filter(|state| of(state.ty)) {
            let base = snap.table(state.ty).base().clone();
            let before = std::mem::replace(&mut state.told, base.clone());
            if state.wildcard {
                before.differ(&base, |name| state.changed(name, None));
            }
        }
    }

    /// Whether very much has changed since the stream last took changes: of what is not urgent, and of the bases alone.
    pub fn is_far_behind(&self, snap: &Snapshot<T>) -> bool {
        let changed = |state: &TypeState<T>| state.told.changed_parts(snap.table(state.ty).base());
        let changed: usize =
            self.types.iter().filter(|state| state.wildcard && !state.ty.urgent()).map(changed).sum();
        changed > FAR
    }

    /// Queues one changed name, with the place of its entry if that is known.
    pub(crate) fn changed_at(&mut self, ty: T, name: &Name, place: Option<Place>) {
        self.types[position(ty)].changed(name, place);
    }

    /// Handles a change of [`Withheld`](crate::Withheld): queues the names that the client claims in another version than the
    /// snapshot has or although the snapshot lacks them, and the names that were asked for and not answered.
    pub fn recheck(&mut self, snap: &Snapshot<T>) {
        for state in &mut self.types {
            std::mem::take(&mut state.unanswered).into_iter().for_each(|name| state.enqueue(&name, true));
            let claimed =
                state.entries.unsettled().filter(|(_, entry)| entry.standing == entries::Standing::Claimed);
            let differs =
                |name: &Name, version| snap.get(state.ty, name).is_none_or(|one| one.version() != version);
            let doubtful = claimed.filter(|(name, entry)| {
                differs(name, entry.version) && !snap.may_be_older(state.ty, name, entry.version)
            });
            let doubtful: Vec<Name> = doubtful.map(|(name, _)| name.clone()).collect();
            doubtful.into_iter().for_each(|name| state.enqueue(&name, false));
        }
    }

    /// Advances the clock: queues rejected resources whose retry is due, and stops waiting for companions that the client did
    /// not ask for in time.
    pub fn tick(&mut self, _snap: &Snapshot<T>, now: Instant) {
        for state in &mut self.types {
            state.retry_due(now);
            state.stop_awaiting_late(now);
        }
    }

    /// Returns when [`Session::next`] may have a response without a further request or change.
    pub fn deadline(&self) -> Option<Instant> {
        let retries = self.types.iter().flat_map(|state| state.retries.values().filter_map(|one| one.due));
        let open = |at: &usize| self.types[*at].inflight.len() < MAX_IN_FLIGHT;
        let all = 0..self.types.len();
        let held_removals = all.clone().filter(open).filter_map(|at| self.removal_due(at));
        let holds =
            all.filter(open).filter(|at| self.types[*at].has_work()).filter_map(|at| self.held_until(at));
        retries.chain(held_removals).chain(holds).min()
    }

    /// Returns the next response, in make-before-break order: additions type by type, then removals that had to wait.
    pub fn next(&mut self, snap: &Snapshot<T>, now: Instant) -> Option<Response<T>> {
        self.tick(snap, now);
        if let Some(answer) = self.unknown.next() {
            let nonce = self.take_nonce();
            return Some(answer.response(self.variant, nonce));
        }
        let all = 0..self.types.len();
        if let Some(response) = all.clone().find_map(|at| self.next_of(at, snap, now)) {
            return Some(response);
        }
        all.into_iter().find_map(|at| self.release(at, snap, now))
    }

    /// Whether the client was sent all that it is to be sent now, and has answered it.
    pub fn is_idle(&self) -> bool {
        let idle = |state: &TypeState<T>| state.inflight.is_empty() && state.held_removals.is_empty();
        self.types.iter().all(|state| idle(state) && !state.has_work())
    }

    /// Returns how many names the client made this stream remember, over all types.
    pub fn load(&self) -> Load {
        self.types.iter().map(|state| state.load).fold(self.unknown.load(), Load::plus)
    }

    /// Checks that the client asked for no more unknown types than a stream may.
    ///
    /// # Errors
    /// The client asked for more. The text tells how many are allowed.
    pub fn check(&self) -> Result<(), String> {
        self.unknown.check()
    }

    /// Returns the events of the requests since the last call.
    pub fn events(&mut self) -> Vec<Event<T>> {
        std::mem::take(&mut self.events)
    }

    /// Whether a request may change the subscription.
    pub(crate) fn may_subscribe(&self, req: &Request<T>) -> bool {
        let Kind::Known(ty) = req.kind else { return false };
        let first = !self.types[position(ty)].started;
        first || self.variant == Variant::Sotw || !req.subscribe.is_empty() || !req.unsubscribe.is_empty()
    }

    /// Returns the changes of the subscription since the last call.
    pub(crate) fn take_interest(&mut self) -> Vec<Interest<T>> {
        std::mem::take(&mut self.interest)
    }

    /// The names of each type that are subscribed by name.
    pub(crate) fn subscribed_names(&self) -> impl Iterator<Item = (T, Vec<&Name>)> {
        self.types.iter().map(|state| {
            let named = state.entries.unsettled().filter(|(_, entry)| entry.named);
            (state.ty, named.map(|(name, _)| name).collect())
        })
    }

    fn take_nonce(&mut self) -> u64 {
        self.nonce += 1;
        self.nonce
    }
}
