//! What one node or proxy sees ([`View`]): a snapshot with one writer and the streams that watch it.
//!
//! A change visits only the streams that are subscribed to a changed name, found by an index.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::task::Waker;

use crate::place::Place;
use crate::resource::{Name, ResourceType, position};
use crate::session::Interest;
use crate::snapshot::{Changes, Snapshot, Withheld};

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
    /// The streams that are subscribed to all of a type, one place per type. Those of a name are beside its resource.
    wildcards: Vec<Vec<u32>>,
}

/// Where a view leaves word for one stream.
pub(crate) struct Slot<T> {
    mail: Mutex<Mail<T>>,
}

/// What a stream has not looked at yet: merged, so never longer than the names that exist.
pub(crate) struct Mail<T> {
    pub(crate) dirty: BTreeMap<(T, Name), Option<Place>>,
    /// What is withheld has changed.
    pub(crate) recheck: bool,
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
            wildcards: vec![Vec::new(); T::ALL.len()],
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

    /// Sets what is withheld: names that it no longer covers are looked at again on all streams.
    pub fn withhold(&self, withheld: Withheld<T>) {
        let mut inner = self.write();
        if !inner.snapshot.withhold(withheld) {
            return;
        }
        let mut wake = Vec::new();
        for slot in inner.streams.iter().flatten() {
            let mut mail = slot.lock();
            mail.recheck = true;
            wake.extend(mail.waker.take());
        }
        drop(inner);
        wake.into_iter().for_each(Waker::wake);
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
        let mail = Mail { dirty: BTreeMap::new(), recheck: false, closed: inner.closed.clone(), waker: None };
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
            inner.unsubscribe(id, ty, name);
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
            let wildcards = self.wildcards[position(*ty)].iter().map(|id| (*id, None));
            let named = self.snapshot.table(*ty).followers(name).iter();
            for (id, place) in wildcards.chain(named.map(|(id, place)| (*id, Some(*place)))) {
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
            Interest::Name(ty, name, Some(place)) => self.snapshot.table_mut(ty).follow(name, (id, place)),
            Interest::Name(ty, name, None) => self.unsubscribe(id, ty, Some(&name)),
            Interest::Wildcard(ty, true) => self.wildcards[position(ty)].push(id),
            Interest::Wildcard(ty, false) => self.unsubscribe(id, ty, None),
        }
    }

    /// Takes a stream from a name; none: from the wildcard.
    fn unsubscribe(&mut self, id: u32, ty: T, name: Option<&Name>) {
        match name {
            Some(name) => self.snapshot.table_mut(ty).unfollow(name, id),
            None => self.wildcards[position(ty)].retain(|one| *one != id),
        }
    }
}

// === impl Slot ===

impl<T> Slot<T> {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Mail<T>> {
        self.mail.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
