//! What one node or proxy sees ([`View`]): a snapshot with one writer and the streams that watch it.
//!
//! A change visits only the streams that are subscribed to a changed name, found by an index.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::task::Waker;

use crate::resource::{Name, ResourceType, position};
use crate::session::{Interest, Place};
use crate::snapshot::{Changes, Snapshot};

/// A shared snapshot and the streams that watch it.
pub struct View<T> {
    inner: RwLock<Inner<T>>,
}

/// The state behind the lock: a transaction is seen whole or not at all.
pub(crate) struct Inner<T> {
    pub(crate) snapshot: Snapshot<T>,
    pub(crate) watermark: Option<Arc<str>>,
    closed: Option<Arc<str>>,
    /// By stream number; a free place is used again.
    streams: Vec<Option<Arc<Slot<T>>>>,
    /// Streams by what they are subscribed to, one place per type.
    subscribers: Vec<Subscribers>,
}

/// The streams that are subscribed to one type.
#[derive(Clone, Default)]
struct Subscribers {
    all: Vec<u32>,
    /// With the place of the name in the stream's own list.
    by_name: HashMap<Name, Vec<(u32, Place)>>,
}

/// Where a view leaves word for one stream.
pub(crate) struct Slot<T> {
    mail: Mutex<Mail<T>>,
}

/// What a stream has not looked at yet: merged, so never longer than the names that exist.
pub(crate) struct Mail<T> {
    pub(crate) dirty: BTreeMap<(T, Name), Option<Place>>,
    pub(crate) closed: Option<Arc<str>>,
    pub(crate) waker: Option<Waker>,
}

// === impl View ===

impl<T: ResourceType> View<T> {
    /// A view of `snapshot`, watched by nobody yet.
    pub fn new(snapshot: Snapshot<T>) -> Arc<Self> {
        let inner = Inner {
            snapshot,
            watermark: None,
            closed: None,
            streams: Vec::new(),
            subscribers: vec![Subscribers::default(); T::ALL.len()],
        };
        Arc::new(Self { inner: RwLock::new(inner) })
    }

    /// Applies one transaction; returns how many resources differ. Nothing is sent when none does.
    pub fn apply(&self, changes: Changes<T>) -> usize {
        let mut inner = self.write();
        let differ = inner.snapshot.apply(changes);
        let wake = inner.post(&differ);
        drop(inner);
        wake.into_iter().for_each(Waker::wake);
        differ.len()
    }

    /// Makes the snapshot equal to `new`; returns how many resources differ.
    pub fn replace(&self, new: Snapshot<T>) -> usize {
        let changes = Snapshot::diff(&self.read().snapshot, &new);
        self.apply(changes)
    }

    /// Sets the text that goes out as `system_version_info` with later responses. It sends nothing by itself.
    pub fn set_watermark(&self, watermark: Arc<str>) {
        self.write().watermark = Some(watermark);
    }

    /// The text set by [`View::set_watermark`].
    pub fn watermark(&self) -> Option<Arc<str>> {
        self.read().watermark.clone()
    }

    /// Reads the snapshot. Streams wait while `read` runs.
    pub fn snapshot<R>(&self, read: impl FnOnce(&Snapshot<T>) -> R) -> R {
        read(&self.read().snapshot)
    }

    /// The number of streams that watch.
    pub fn streams(&self) -> usize {
        self.read().streams.iter().flatten().count()
    }

    /// Ends all streams, now and later, with UNAVAILABLE and this reason.
    pub fn close(&self, reason: impl Into<Arc<str>>) {
        let reason: Arc<str> = reason.into();
        let mut inner = self.write();
        inner.closed = Some(reason.clone());
        let mut wake = Vec::new();
        for slot in inner.streams.iter().flatten() {
            let mut mail = slot.lock();
            mail.closed = Some(reason.clone());
            wake.extend(mail.waker.take());
        }
        drop(inner);
        wake.into_iter().for_each(Waker::wake);
    }

    /// Adds a stream; returns its number and where it finds its mail.
    pub(crate) fn join(&self) -> (u32, Arc<Slot<T>>) {
        let mut inner = self.write();
        let mail = Mail { dirty: BTreeMap::new(), closed: inner.closed.clone(), waker: None };
        let slot = Arc::new(Slot { mail: Mutex::new(mail) });
        let place = inner.streams.iter().position(Option::is_none).unwrap_or(inner.streams.len());
        match inner.streams.get_mut(place) {
            Some(free) => *free = Some(slot.clone()),
            None => inner.streams.push(Some(slot.clone())),
        }
        (place as u32, slot)
    }

    /// Takes a stream out, with everything it is subscribed to.
    pub(crate) fn leave<'n>(&self, id: u32, subscriptions: impl Iterator<Item = (T, Option<&'n Name>)>) {
        let mut inner = self.write();
        for (ty, name) in subscriptions {
            inner.subscribers[position(ty)].remove(id, name);
        }
        inner.streams[id as usize] = None;
    }

    pub(crate) fn read(&self) -> RwLockReadGuard<'_, Inner<T>> {
        self.inner.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, Inner<T>> {
        self.inner.write().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Inner ===

impl<T: ResourceType> Inner<T> {
    /// Leaves word of changed names with whom they concern; returns whom to wake.
    fn post(&self, differ: &[(T, Name)]) -> Vec<Waker> {
        let mut wake = Vec::new();
        for (ty, name) in differ {
            let subscribers = &self.subscribers[position(*ty)];
            let named = subscribers.by_name.get(name).into_iter().flatten();
            let named = named.map(|(id, place)| (*id, Some(*place)));
            for (id, place) in subscribers.all.iter().map(|id| (*id, None)).chain(named) {
                let Some(slot) = &self.streams[id as usize] else { continue };
                let mut mail = slot.lock();
                mail.dirty.insert((*ty, name.clone()), place);
                wake.extend(mail.waker.take());
            }
        }
        wake
    }

    /// Follows a stream's change of subscription.
    pub(crate) fn note(&mut self, id: u32, interest: Interest<T>) {
        match interest {
            Interest::Name(ty, name, Some(place)) => {
                let streams = self.subscribers[position(ty)].by_name.entry(name).or_default();
                streams.push((id, place));
            }
            Interest::Name(ty, name, None) => self.subscribers[position(ty)].remove(id, Some(&name)),
            Interest::Wildcard(ty, true) => self.subscribers[position(ty)].all.push(id),
            Interest::Wildcard(ty, false) => self.subscribers[position(ty)].remove(id, None),
        }
    }
}

// === impl Subscribers ===

impl Subscribers {
    fn remove(&mut self, id: u32, name: Option<&Name>) {
        let Some(name) = name else {
            self.all.retain(|one| *one != id);
            return;
        };
        let Some(ids) = self.by_name.get_mut(name) else { return };
        if let Some(place) = ids.iter().position(|(one, _)| *one == id) {
            ids.swap_remove(place);
        }
        if ids.is_empty() {
            self.by_name.remove(name);
        }
    }
}

// === impl Slot ===

impl<T> Slot<T> {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Mail<T>> {
        self.mail.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
