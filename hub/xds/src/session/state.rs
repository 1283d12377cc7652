//! What one stream knows about one type: the subscription, what the client has, what is owed and what is in flight.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::addresses::Addresses;
use super::entries::{Entries, Entry, Key, Standing};
use crate::budget::Load;
use crate::place::Place;
use crate::resource::{Name, Resource, ResourceType, Version};
use crate::snapshot::Snapshot;

/// A response that the client has not answered.
#[derive(Debug)]
pub(super) struct Flight {
    pub(super) nonce: u64,
    pub(super) resources: Vec<Arc<Resource>>,
    /// Where the entries of `resources` are, in the same order, as far as known.
    pub(super) places: Vec<Option<Place>>,
    pub(super) removed: Vec<Name>,
    /// Sent to find or to spare the culprits of an earlier rejection.
    pub(super) trial: bool,
}

/// A rejected resource that is tried again unchanged.
#[derive(Debug)]
pub(super) struct Retry {
    pub(super) version: Version,
    pub(super) delay: Duration,
    /// `None` while the retry is in flight.
    pub(super) due: Option<Instant>,
}

/// Removals that wait until what refers to them is gone.
#[derive(Debug, Default)]
pub(super) struct Parting {
    pub(super) names: BTreeSet<Name>,
    /// `None` while changes of the type that refers to these are still unsent.
    pub(super) sent: Option<Barrier>,
}

/// What an answer is waited for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Barrier {
    /// The last nonce of the other type that must be answered.
    pub(super) nonce: u64,
    /// When everything of the other type had been sent.
    pub(super) since: Instant,
}

/// A companion that has not gone out since its owner was sent.
#[derive(Debug)]
pub(super) struct Awaited {
    /// The resource that it must follow.
    pub(super) owner: Name,
    /// Until when others wait for it.
    pub(super) until: Instant,
}

/// How to look at a name for the next response.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Look {
    /// Send it whatever the client has.
    pub(super) force: bool,
    pub(super) place: Option<Place>,
}

/// The fate of one name in the response that is being built.
pub(super) enum Fate {
    Nothing,
    Send(Arc<Resource>),
    /// Sent in place of a removal.
    Vanish(Arc<Resource>),
    Gone,
    /// Not there, and not to be talked about.
    Silent,
}

/// The state of one type on one stream.
pub(super) struct TypeState<T> {
    pub(super) ty: T,
    /// A request of this type has come.
    pub(super) started: bool,
    pub(super) wildcard: bool,
    /// State of the world: the client is known to have what `entries` say, and nothing else.
    pub(super) told: bool,
    /// State of the world: the client has a version of an earlier stream.
    pub(super) returning: bool,
    /// State of the world: names that were asked for and not answered, because nothing is known of them yet.
    pub(super) unsaid: BTreeSet<Name>,
    /// Incremental: names whose empty body was just sent, to be named as removed in the next response.
    pub(super) farewells: BTreeSet<Name>,
    /// State of the world: names were given once, so no names no longer means all.
    pub(super) explicit: bool,
    pub(super) entries: Entries,
    /// The names that are subscribed by name.
    pub(super) load: Load,
    /// Names to look at.
    pub(super) pending: BTreeMap<Name, Look>,
    /// State of the world: names from a request with a stale nonce, kept until the next answer.
    pub(super) later: BTreeSet<Name>,
    /// A response must go out even if it is empty.
    pub(super) owed: bool,
    pub(super) inflight: VecDeque<Flight>,
    pub(super) last_nonce: u64,
    pub(super) trials: VecDeque<Vec<Name>>,
    pub(super) retries: BTreeMap<Name, Retry>,
    /// Removals that wait, in the order in which they began to.
    pub(super) partings: VecDeque<Parting>,
    /// Hash over what the client has been sent (the version of state-of-the-world responses).
    pub(super) sum: u64,
    /// State of the world, full-state types: the last accepted resource of each name.
    pub(super) good: HashMap<Name, Arc<Resource>>,
    /// Companions of sent resources that have not gone out since. Mostly empty, as `retries` are, and asked at each change: an
    /// empty tree has no memory to look at.
    pub(super) awaited: BTreeMap<Name, Awaited>,
    /// The addresses of what the client has.
    pub(super) addresses: Addresses,
    /// Names that must be removed before anything else is sent, as they may hold an address that is another's now.
    pub(super) evicted: BTreeSet<Name>,
}

/// The version of a whole set, which is the same however it was reached.
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
            told: false,
            returning: false,
            unsaid: BTreeSet::new(),
            farewells: BTreeSet::new(),
            explicit: false,
            entries: Entries::default(),
            load: Load::default(),
            pending: BTreeMap::new(),
            later: BTreeSet::new(),
            owed: false,
            inflight: VecDeque::new(),
            last_nonce: 0,
            trials: VecDeque::new(),
            retries: BTreeMap::new(),
            partings: VecDeque::new(),
            sum: 0,
            good: HashMap::new(),
            awaited: BTreeMap::new(),
            addresses: Addresses::default(),
            evicted: BTreeSet::new(),
        }
    }

    pub(super) fn has_work(&self) -> bool {
        let queued = !self.trials.is_empty() || !self.farewells.is_empty() || !self.evicted.is_empty();
        self.owed || !self.pending.is_empty() || queued
    }

    pub(super) fn subscribed<'a>(&self, key: impl Into<Key<'a>>) -> bool {
        self.wildcard || self.entries.get(key).is_some_and(|entry| entry.named)
    }

    /// Whether a body of this name has been sent to the client or claimed by it.
    pub(super) fn has(&self, key: Key<'_>) -> bool {
        self.entries.get(key).is_some_and(|entry| entry.standing != Standing::Absent)
    }

    /// Puts a name up for the next response.
    pub(super) fn look_at(&mut self, name: Name, force: bool) {
        self.pending.entry(name).or_default().force |= force;
    }

    /// A subscribed name has changed.
    pub(super) fn changed(&mut self, name: &Name, place: Option<Place>) {
        if self.started && self.subscribed(Key { name, place }) {
            self.pending.entry(name.clone()).or_default().place = place;
        }
    }

    /// The client has, or is being sent, this version.
    pub(super) fn record<'a>(&mut self, key: impl Into<Key<'a>>, version: Version, standing: Standing) {
        let key = key.into();
        let (_, entry) = self.entries.put(key);
        self.sum = self.sum.wrapping_add(version.share(key.name));
        if entry.standing != Standing::Absent {
            self.sum = self.sum.wrapping_sub(entry.version.share(key.name));
        }
        entry.version = version;
        entry.standing = standing;
    }

    /// This resource was sent.
    pub(super) fn record_sent<'a>(&mut self, key: impl Into<Key<'a>>, resource: &Resource) {
        let key = key.into();
        if let Some(address) = resource.address() {
            let claimed = self.entries.get(key).is_some_and(|entry| entry.standing == Standing::Claimed);
            if claimed {
                self.addresses.unknown(key.name);
            }
            self.addresses.sent(key.name, address);
        }
        self.record(key, resource.version(), Standing::Sent);
    }

    /// The client says that it has this version.
    pub(super) fn record_claim(&mut self, name: &Name, version: Version, snap: &Snapshot<T>) {
        self.record(name, version, Standing::Claimed);
        let same = snap.get(self.ty, name).filter(|resource| resource.version() == version);
        if let Some(address) = same.and_then(|resource| resource.address()) {
            self.addresses.sent(name, address);
        }
    }

    /// The client has nothing of this name any more; a subscription by name stays.
    pub(super) fn forget(&mut self, name: &Name) {
        self.retries.remove(name);
        self.good.remove(name);
        self.addresses.released(name);
        let Some(entry) = self.entries.get_mut(name) else { return };
        if entry.standing != Standing::Absent {
            self.sum = self.sum.wrapping_sub(entry.version.share(name));
        }
        entry.standing = Standing::Absent;
        if !entry.named {
            self.entries.remove(name);
        }
    }

    /// Subscribes by name; says where, if that is new.
    pub(super) fn name(&mut self, name: &Name) -> Option<Place> {
        let (place, entry) = self.entries.put(name);
        let known = std::mem::replace(&mut entry.named, true);
        if !known {
            self.load = self.load.plus(Load::of([&**name]));
        }
        (!known).then_some(place)
    }

    /// Ends a subscription by name; says whether there was one.
    pub(super) fn unname(&mut self, name: &Name) -> bool {
        let was = self.entries.get_mut(name).is_some_and(|entry| std::mem::take(&mut entry.named));
        if was {
            self.load = self.load.minus(Load::of([&**name]));
            self.later.remove(name);
        }
        if was && !self.wildcard {
            self.forget(name);
            self.entries.remove(name);
            self.pending.remove(name);
            self.awaited.remove(name);
            self.unsaid.remove(name);
            self.farewells.remove(name);
        }
        was
    }

    /// Ends the subscription to everything; names stay.
    pub(super) fn end_wildcard(&mut self) {
        self.wildcard = false;
        let rest: Vec<Name> =
            self.entries.iter().filter(|(_, entry)| !entry.named).map(|(name, _)| name.clone()).collect();
        for name in &rest {
            self.forget(name);
        }
        let entries = &self.entries;
        self.pending.retain(|name, _| entries.contains(name));
        self.awaited.retain(|name, _| entries.contains(name));
        self.unsaid.retain(|name| entries.contains(name));
        self.farewells.retain(|name| entries.contains(name));
    }

    /// Whether this version was rejected and must not go out unchanged.
    pub(super) fn rejected<'a>(&self, key: impl Into<Key<'a>>, version: Version) -> bool {
        self.entries.get(key).is_some_and(|entry| {
            entry.version == version && matches!(entry.standing, Standing::Withheld | Standing::Retrying)
        })
    }

    /// State of the world: whether a full set would take something from the client that may well exist.
    ///
    /// A set without names is the word "delete all". A client that returns may have every name that is withheld; one that
    /// starts has nothing to lose, and waits for a type of which nothing at all is known.
    pub(super) fn unsure(&self, snap: &Snapshot<T>) -> bool {
        self.ty.full_state() && !self.told && snap.withholds_of(self.ty, !self.returning)
    }

    /// State of the world: whether nothing may be said of a missing name, because it is not known to be gone.
    pub(super) fn unknown(&self, key: Key<'_>, snap: &Snapshot<T>) -> bool {
        let sent = self
            .entries
            .get(key)
            .is_some_and(|entry| !matches!(entry.standing, Standing::Absent | Standing::Claimed));
        !sent && snap.get(self.ty, key.name).is_none() && snap.withholds(self.ty, key.name)
    }

    /// What to do about one name.
    pub(super) fn decide(&self, key: Key<'_>, force: bool, snap: &Snapshot<T>) -> Fate {
        if !self.subscribed(key) {
            return Fate::Nothing;
        }
        let entry = self.entries.get(key).filter(|entry| entry.standing != Standing::Absent);
        if let Some(resource) = snap.get(self.ty, key.name) {
            let same = entry.is_some_and(|entry| entry.version == resource.version());
            return if self.rejected(key, resource.version()) || (same && !force) {
                Fate::Nothing
            } else {
                Fate::Send(resource.clone())
            };
        }
        // What the client says that it has, and nobody knows to be gone.
        if entry.is_some_and(|entry| entry.standing == Standing::Claimed) && snap.withholds(self.ty, key.name)
        {
            return Fate::Nothing;
        }
        self.decide_missing(key.name, force, entry)
    }

    fn decide_missing(&self, name: &Name, force: bool, entry: Option<&Entry>) -> Fate {
        use crate::resource::Missing;
        if entry.is_none() && !force {
            return Fate::Nothing;
        }
        if self.ty.on_missing() == Missing::Hold {
            return Fate::Silent;
        }
        match (entry, self.ty.vanished_body(name)) {
            (Some(entry), Some(body)) if !force && entry.version == Version::of(&body) => Fate::Nothing,
            (Some(_), Some(body)) => Fate::Vanish(Resource::new(self.ty, name.clone(), &body)),
            _ => Fate::Gone,
        }
    }

    /// The hash over what a client has that is up to date, and the names behind it.
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
