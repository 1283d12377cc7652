//! What one stream knows about one type: the subscription, what the client has, what is owed and what is in flight.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::resource::{Name, Resource, ResourceType, Version};
use crate::snapshot::Snapshot;

/// How sure it is that the client has [`Entry::version`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// The client has nothing of this name.
    Absent,
    /// The client said so when it connected.
    Claimed,
    /// Sent; not answered, or answered by a rejection of another resource in the same response.
    Sent,
    /// Accepted.
    Confirmed,
    /// Rejected: not sent again at this version.
    Withheld,
    /// Rejected for a reason that may pass: sent again when its time comes.
    Retrying,
}

/// One name on one stream. Kept small: there is one per name and stream.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) version: Version,
    pub(super) standing: Standing,
    /// Subscribed by name.
    pub(super) named: bool,
}

/// A response that the client has not answered.
#[derive(Debug)]
pub(super) struct Flight {
    pub(super) nonce: u64,
    pub(super) resources: Vec<Arc<Resource>>,
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
#[derive(Debug)]
pub(super) struct Parting {
    pub(super) names: BTreeSet<Name>,
    pub(super) since: Instant,
    /// The last nonce of the other type that must be answered first.
    pub(super) barrier: Option<u64>,
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
    /// State of the world: names were given once, so no names no longer means all.
    pub(super) explicit: bool,
    pub(super) entries: HashMap<Name, Entry>,
    /// Names to look at, and whether to send them whatever the client has.
    pub(super) pending: BTreeMap<Name, bool>,
    /// State of the world: names from a request with a stale nonce, kept until the next answer.
    pub(super) later: Vec<Name>,
    /// A response must go out even if it is empty.
    pub(super) owed: bool,
    pub(super) inflight: VecDeque<Flight>,
    pub(super) last_nonce: u64,
    pub(super) trials: VecDeque<Vec<Name>>,
    pub(super) retries: HashMap<Name, Retry>,
    pub(super) parting: Option<Parting>,
    /// Hash over what the client has been sent (the version of state-of-the-world responses).
    pub(super) sum: u64,
    /// State of the world, full-state types: the last accepted resource of each name.
    pub(super) good: HashMap<Name, Arc<Resource>>,
    /// Companions of sent resources that have not gone out since.
    pub(super) awaited: HashSet<Name>,
    pub(super) hold_until: Option<Instant>,
}

/// The part of one name in the hash over a set; order does not matter.
fn share(name: &str, version: Version) -> u64 {
    xxhash_rust::xxh3::xxh3_64_with_seed(name.as_bytes(), version.0)
}

/// The version of a whole set, which is the same however it was reached.
pub(super) fn version_of(set: &[Arc<Resource>]) -> Version {
    Version(set.iter().fold(0, |sum: u64, one| sum.wrapping_add(share(one.name(), one.version()))))
}

// === impl TypeState ===

impl<T: ResourceType> TypeState<T> {
    pub(super) fn new(ty: T) -> Self {
        Self {
            ty,
            started: false,
            wildcard: false,
            explicit: false,
            entries: HashMap::new(),
            pending: BTreeMap::new(),
            later: Vec::new(),
            owed: false,
            inflight: VecDeque::new(),
            last_nonce: 0,
            trials: VecDeque::new(),
            retries: HashMap::new(),
            parting: None,
            sum: 0,
            good: HashMap::new(),
            awaited: HashSet::new(),
            hold_until: None,
        }
    }

    pub(super) fn has_work(&self) -> bool {
        self.owed || !self.pending.is_empty() || !self.trials.is_empty()
    }

    pub(super) fn subscribed(&self, name: &Name) -> bool {
        self.wildcard || self.entries.get(name).is_some_and(|entry| entry.named)
    }

    /// Whether a body of this name has been sent to the client or claimed by it.
    pub(super) fn has(&self, name: &Name) -> bool {
        self.entries.get(name).is_some_and(|entry| entry.standing != Standing::Absent)
    }

    /// Puts a name up for the next response.
    pub(super) fn look_at(&mut self, name: Name, force: bool) {
        *self.pending.entry(name).or_default() |= force;
    }

    /// The client has, or is being sent, this version.
    pub(super) fn record(&mut self, name: &Name, version: Version, standing: Standing) {
        let new = Entry { version, standing, named: false };
        self.sum = self.sum.wrapping_add(share(name, version));
        if let Some(entry) = self.entries.get_mut(name) {
            if entry.standing != Standing::Absent {
                self.sum = self.sum.wrapping_sub(share(name, entry.version));
            }
            *entry = Entry { named: entry.named, ..new };
        } else {
            self.entries.insert(name.clone(), new);
        }
    }

    /// The client has nothing of this name any more; a subscription by name stays.
    pub(super) fn forget(&mut self, name: &Name) {
        self.retries.remove(name);
        self.good.remove(name);
        let Some(entry) = self.entries.get_mut(name) else { return };
        if entry.standing != Standing::Absent {
            self.sum = self.sum.wrapping_sub(share(name, entry.version));
        }
        entry.standing = Standing::Absent;
        if !entry.named {
            self.entries.remove(name);
        }
    }

    /// Subscribes by name; says whether that is new.
    pub(super) fn name(&mut self, name: &Name) -> bool {
        let new = Entry { version: Version(0), standing: Standing::Absent, named: false };
        let entry = self.entries.entry(name.clone()).or_insert(new);
        !std::mem::replace(&mut entry.named, true)
    }

    /// Ends a subscription by name; says whether there was one.
    pub(super) fn unname(&mut self, name: &Name) -> bool {
        let was = self.entries.get_mut(name).is_some_and(|entry| std::mem::take(&mut entry.named));
        if was && !self.wildcard {
            self.forget(name);
            self.entries.remove(name);
            self.pending.remove(name);
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
        self.pending.retain(|name, _| entries.contains_key(name));
    }

    /// Whether this version was rejected and must not go out unchanged.
    pub(super) fn rejected(&self, name: &Name, version: Version) -> bool {
        self.entries.get(name).is_some_and(|entry| {
            entry.version == version && matches!(entry.standing, Standing::Withheld | Standing::Retrying)
        })
    }

    /// What to do about one name.
    pub(super) fn decide(&self, name: &Name, force: bool, snap: &Snapshot<T>) -> Fate {
        if !self.subscribed(name) {
            return Fate::Nothing;
        }
        let entry = self.entries.get(name).filter(|entry| entry.standing != Standing::Absent);
        if let Some(resource) = snap.get(self.ty, name) {
            let same = entry.is_some_and(|entry| entry.version == resource.version());
            return if self.rejected(name, resource.version()) || (same && !force) {
                Fate::Nothing
            } else {
                Fate::Send(resource.clone())
            };
        }
        self.decide_missing(name, force, entry)
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
                self.entries.keys().filter_map(find).collect()
            }
        };
        let sum = wanted.iter().fold(0u64, |sum, (name, version)| sum.wrapping_add(share(name, *version)));
        (sum, wanted)
    }
}
