//! What one stream knows about one type ([`TypeState`]): the subscription, what the client has, and what must be sent.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::addresses::Addresses;
use super::awaited::Awaited;
use super::entries::{Entries, Entry, Key, Standing};
use crate::base::Shelf;
use crate::load::Load;
use crate::place::Place;
use crate::resource::{Name, Resource, ResourceType, Version};
use crate::snapshot::Snapshot;

/// A response that the client has not answered.
#[derive(Debug)]
pub(super) struct Flight {
    pub(super) nonce: u64,
    pub(super) resources: Arc<[Arc<Resource>]>,
    /// The places of the entries of `resources`, in the same order; none in full sets.
    pub(super) places: Vec<Option<Place>>,
    pub(super) removed: Vec<Name>,
    /// Part of an earlier rejected response, sent again to find its culprits or to deliver the others.
    pub(super) trial: bool,
}

/// A rejected resource that is sent again unchanged.
#[derive(Debug)]
pub(super) struct Retry {
    pub(super) version: Version,
    pub(super) delay: Duration,
    /// `None` while the retry is in flight.
    pub(super) due: Option<Instant>,
}

/// Removals that wait until the client has dropped what refers to them.
#[derive(Debug, Default)]
pub(super) struct HeldRemoval {
    pub(super) names: BTreeSet<Name>,
    /// `None` while changes of the referring type are still unsent.
    pub(super) sent: Option<Barrier>,
}

/// The answer that a held removal waits for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Barrier {
    /// The last nonce of the referring type that must be answered.
    pub(super) nonce: u64,
    /// When everything of the referring type had been sent.
    pub(super) since: Instant,
}

/// What to send about one name.
pub(super) enum Fate {
    Nothing,
    Send(Arc<Resource>),
    /// An empty resource instead of a removal.
    Empty(Arc<Resource>),
    Remove,
    /// Send nothing, and forget what the client had.
    Forget,
}

/// The state of one type on one stream.
pub(super) struct TypeState<T> {
    pub(super) ty: T,
    /// A request of this type was received.
    pub(super) started: bool,
    pub(super) wildcard: bool,
    /// State of the world: the client has exactly the resources in `entries`.
    pub(super) synced: bool,
    /// State of the world: the client named a version of an earlier stream.
    pub(super) returning: bool,
    /// State of the world: subscribed names without an answer, because it is not known whether they exist.
    pub(super) unanswered: BTreeSet<Name>,
    /// Incremental: names whose empty body was sent; the next response removes them.
    pub(super) emptied: BTreeSet<Name>,
    /// State of the world: a request listed names, so an empty list no longer means all.
    pub(super) explicit: bool,
    pub(super) entries: Entries,
    /// The base when this stream last took changes, or when its wildcard subscription started after that.
    pub(super) told: Shelf,
    /// Number and length of the names subscribed by name.
    pub(super) load: Load,
    /// State of the world: names from requests with a stale nonce, kept until the next answer.
    pub(super) stale_names: BTreeSet<Name>,
    /// A response must be sent even if it is empty.
    pub(super) owes_response: bool,
    pub(super) inflight: VecDeque<Flight>,
    pub(super) last_nonce: u64,
    pub(super) trials: VecDeque<Vec<Name>>,
    pub(super) retries: BTreeMap<Name, Retry>,
    /// Removals that wait, oldest first.
    pub(super) held_removals: VecDeque<HeldRemoval>,
    /// Hash over what was sent to the client (`version_info` of state-of-the-world responses).
    pub(super) sum: u64,
    /// State of the world, full-state types: the last accepted resource of each name.
    pub(super) accepted: HashMap<Name, Arc<Resource>>,
    /// Companions that were not sent since their owners were.
    pub(super) awaited: Awaited,
    /// The addresses of the client's resources.
    pub(super) addresses: Addresses,
    /// Names to remove before anything else is sent: they may hold an address that another resource needs.
    pub(super) evicted: BTreeSet<Name>,
}

/// The version of a full set. It does not depend on the order of changes that led to it.
pub(super) fn version_of(set: &[Arc<Resource>]) -> Version {
    Version::of_set(set.iter().map(|one| (one.name(), one.version())))
}

// === impl TypeState ===

impl<T: ResourceType> TypeState<T> {
    pub(super) fn new(ty: T) -> Self {
        Self {
            ty,
            started: false,
            wildcard: false,
            synced: false,
            returning: false,
            unanswered: BTreeSet::new(),
            emptied: BTreeSet::new(),
            explicit: false,
            entries: Entries::default(),
            told: Shelf::default(),
            load: Load::default(),
            stale_names: BTreeSet::new(),
            owes_response: false,
            inflight: VecDeque::new(),
            last_nonce: 0,
            trials: VecDeque::new(),
            retries: BTreeMap::new(),
            held_removals: VecDeque::new(),
            sum: 0,
            accepted: HashMap::new(),
            awaited: Awaited::default(),
            addresses: Addresses::default(),
            evicted: BTreeSet::new(),
        }
    }

    pub(super) fn has_work(&self) -> bool {
        let queued = !self.trials.is_empty() || !self.emptied.is_empty() || !self.evicted.is_empty();
        self.owes_response || self.entries.has_queued() || queued
    }

    pub(super) fn subscribed<'a>(&self, key: impl Into<Key<'a>>) -> bool {
        self.wildcard || self.entries.get(key).is_some_and(|entry| entry.named)
    }

    /// Whether the client claimed this name or was sent a body of it.
    pub(super) fn has(&self, key: Key<'_>) -> bool {
        self.entries.get(key).is_some_and(|entry| entry.standing != Standing::Absent)
    }

    /// Queues a name for the next response. `force` sends it even if the client has this version.
    pub(super) fn enqueue<'a>(&mut self, key: impl Into<Key<'a>>, force: bool) {
        self.entries.enqueue(key, force);
    }

    /// Queues a changed name if it is subscribed.
    pub(super) fn changed(&mut self, name: &Name, place: Option<Place>) {
        if self.started && self.subscribed(Key { name, place }) {
            self.enqueue(Key { name, place }, false);
        }
    }

    /// Records that the client has this version or is being sent it. Returns the place of the entry.
    pub(super) fn record<'a>(
        &mut self,
        key: impl Into<Key<'a>>,
        version: Version,
        standing: Standing,
    ) -> Place {
        let key = key.into();
        let (place, entry) = self.entries.put(key);
        self.sum = self.sum.wrapping_add(version.share(key.name));
        if entry.standing != Standing::Absent {
            self.sum = self.sum.wrapping_sub(entry.version.share(key.name));
        }
        entry.version = version;
        entry.standing = standing;
        place
    }

    /// Records that a resource was sent. Returns the place of its entry.
    pub(super) fn record_sent<'a>(&mut self, key: impl Into<Key<'a>>, resource: &Resource) -> Place {
        let key = key.into();
        if let Some(address) = resource.address() {
            let claimed = self.entries.get(key).is_some_and(|entry| entry.standing == Standing::Claimed);
            if claimed {
                self.addresses.unknown(key.name);
            }
            self.addresses.sent(key.name, address);
        }
        self.record(key, resource.version(), Standing::Sent)
    }

    /// Records that the client claims to have a version.
    pub(super) fn record_claim(&mut self, name: &Name, version: Version, snap: &Snapshot<T>) {
        self.record(name, version, Standing::Claimed);
        let same = snap.get(self.ty, name).filter(|resource| resource.version() == version);
        if let Some(address) = same.and_then(|resource| resource.address()) {
            self.addresses.sent(name, address);
        }
    }

    /// Records that the client no longer has this name. A subscription by name stays.
    pub(super) fn forget(&mut self, name: &Name) {
        self.retries.remove(name);
        self.accepted.remove(name);
        self.addresses.released(name);
        let Some(entry) = self.entries.get_mut(name) else { return };
        if entry.standing != Standing::Absent {
            self.sum = self.sum.wrapping_sub(entry.version.share(name));
        }
        entry.standing = Standing::Absent;
        self.entries.sweep(name.into());
    }

    /// Subscribes by name. Returns the entry's place if the subscription is new.
    pub(super) fn subscribe_name(&mut self, name: &Name) -> Option<Place> {
        let (place, new) = self.entries.subscribe(name);
        if new {
            self.load = self.load.plus(Load::of([&**name]));
        }
        new.then_some(place)
    }

    /// Ends a subscription by name. Returns whether there was one.
    pub(super) fn unsubscribe_name(&mut self, name: &Name) -> bool {
        let was = self.entries.get_mut(name).is_some_and(|entry| std::mem::take(&mut entry.named));
        if was {
            self.load = self.load.minus(Load::of([&**name]));
            self.stale_names.remove(name);
        }
        if was && !self.wildcard {
            self.forget(name);
            self.stop_awaiting(name.into());
            self.entries.remove(name);
            self.unanswered.remove(name);
            self.emptied.remove(name);
        }
        was
    }

    /// Starts the wildcard subscription. The caller queues what the client lacks of this snapshot.
    pub(super) fn start_wildcard(&mut self, snap: &Snapshot<T>) {
        self.wildcard = true;
        self.told = snap.table(self.ty).base().clone();
        self.entries.reserve_queued(snap.len(self.ty));
    }

    /// Ends the wildcard subscription. Subscriptions by name stay.
    pub(super) fn end_wildcard(&mut self) {
        self.wildcard = false;
        let rest: Vec<Name> =
            self.entries.iter().filter(|(_, entry)| !entry.named).map(|(name, _)| name.clone()).collect();
        for name in &rest {
            self.forget(name);
        }
        self.entries.abandon_settled();
        self.recount_awaited();
        let entries = &self.entries;
        self.unanswered.retain(|name| entries.contains(name));
        self.emptied.retain(|name| entries.contains(name));
    }

    /// Gives up the entries of a client that has accepted exactly what its view has in common with others: now, or when it was last
    /// told of changes. (While changes never pause, the client is never quite up to date.)
    pub(super) fn settle(&mut self, snap: &Snapshot<T>) {
        if !self.wildcard || !self.inflight.is_empty() || !self.awaited.is_empty() {
            return;
        }
        let table = snap.table(self.ty);
        let same = [table.base(), &self.told].into_iter().find(|shelf| table.is_all(shelf, self.sum));
        if let Some(shelf) = same {
            self.entries.settle(shelf, table.masked());
        }
    }

    /// Whether this version was rejected and must not be sent again yet.
    pub(super) fn rejected<'a>(&self, key: impl Into<Key<'a>>, version: Version) -> bool {
        self.entries.get(key).is_some_and(|entry| entry.version == version && entry.is_rejected())
    }

    /// State of the world: whether a full set could delete a withheld resource at the client.
    ///
    /// A name that is left out of a full set is deleted. A returning client may have any withheld name. A new client has no
    /// resource to lose: it waits only while the whole type is withheld.
    pub(super) fn may_drop_withheld(&self, snap: &Snapshot<T>) -> bool {
        self.ty.full_state() && !self.synced && snap.withholds_of(self.ty, !self.returning)
    }

    /// State of the world: whether a missing name must stay unanswered, because it is withheld.
    pub(super) fn may_exist(&self, key: Key<'_>, snap: &Snapshot<T>) -> bool {
        let sent = self
            .entries
            .get(key)
            .is_some_and(|entry| !matches!(entry.standing, Standing::Absent | Standing::Claimed));
        !sent && snap.get(self.ty, key.name).is_none() && snap.withholds(self.ty, key.name)
    }

    /// Decides what to send about one name.
    pub(super) fn decide(&self, key: Key<'_>, force: bool, snap: &Snapshot<T>) -> Fate {
        let entry = self.entries.get(key);
        if !self.wildcard && !entry.is_some_and(|entry| entry.named) {
            return Fate::Nothing;
        }
        let entry = entry.filter(|entry| entry.standing != Standing::Absent);
        if let Some(resource) = snap.get(self.ty, key.name) {
            let same = entry.filter(|entry| entry.version == resource.version());
            return match same.is_some_and(|entry| !force || entry.is_rejected()) {
                true => Fate::Nothing,
                false => Fate::Send(resource.clone()),
            };
        }
        // The client claims it, and its absence is not known to be a deletion.
        if entry.is_some_and(|entry| entry.standing == Standing::Claimed) && snap.withholds(self.ty, key.name)
        {
            return Fate::Nothing;
        }
        self.decide_missing(key.name, force, entry)
    }

    fn decide_missing(&self, name: &Name, force: bool, entry: Option<Entry>) -> Fate {
        use crate::resource::Missing;
        if entry.is_none() && !force {
            return Fate::Nothing;
        }
        if self.ty.on_missing() == Missing::Hold {
            return Fate::Forget;
        }
        match (entry, self.ty.vanished_body(name)) {
            (Some(entry), Some(body)) if !force && entry.version == Version::of(&body) => Fate::Nothing,
            (Some(_), Some(body)) => Fate::Empty(Resource::new(self.ty, name.clone(), &body)),
            _ => Fate::Remove,
        }
    }

    /// The hash of an up-to-date client, and the names and versions behind it.
    pub(super) fn current(&self, snap: &Snapshot<T>) -> (u64, Vec<(Name, Version)>) {
        let wanted: Vec<(Name, Version)> = match self.wildcard {
            true => snap.iter(self.ty).map(|(name, one)| (name.clone(), one.version())).collect(),
            false => {
                let find = |name: &Name| snap.get(self.ty, name).map(|one| (name.clone(), one.version()));
                self.entries.iter().filter_map(|(name, _)| find(name)).collect()
            }
        };
        let Version(sum) = Version::of_set(wanted.iter().map(|(name, version)| (name, *version)));
        (sum, wanted)
    }
}
