//! The resources of one node or proxy ([`View`]): a snapshot with one writer, and the streams that watch it.
//!
//! A change visits only the streams that are subscribed to a changed name. An index finds them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::task::Waker;

use crate::base::Base;
use crate::changes::Changes;
use crate::place::Place;
use crate::resource::{Name, ResourceType, position};
use crate::session::Interest;
use crate::snapshot::{Snapshot, Withheld};

/// A shared snapshot and the streams that watch it.
pub struct View<T> {
    inner: RwLock<Inner<T>>,
}

/// The state behind the lock. Streams see a transaction as a whole.
pub(crate) struct Inner<T> {
    pub(crate) snapshot: Snapshot<T>,
    /// The number of transactions that changed the snapshot.
    revision: u64,
    pub(crate) watermark: Option<Arc<str>>,
    closed: Option<Arc<str>>,
    /// Mailboxes by stream number. Free numbers are reused.
    streams: Vec<Option<Arc<Mailbox<T>>>>,
    /// The streams with a wildcard subscription, per type. The table holds the streams of each name beside its resource.
    wildcards: Vec<Vec<u32>>,
}

/// The mailbox of one stream, which its view fills.
pub(crate) struct Mailbox<T> {
    mail: Mutex<Mail<T>>,
}

/// Names that changed together, with their types.
pub type Batch<T> = Arc<[(T, Name)]>;

/// Changes that a stream has not handled yet.
pub(crate) struct Mail<T> {
    /// At most one change per name.
    pub(crate) dirty: BTreeMap<(T, Name), Option<Place>>,
    /// Something has changed since the stream last looked. What the view shares with others is in no mailbox, where names would
    /// take memory: the stream compares it with what it was last told of.
    pub(crate) news: bool,
    /// The set of withheld names has changed.
    pub(crate) recheck: bool,
    pub(crate) closed: Option<Arc<str>>,
    pub(crate) waker: Option<Waker>,
}

// === impl View ===

impl<T: ResourceType> View<T> {
    /// A view of `snapshot` without streams.
    pub fn new(snapshot: Snapshot<T>) -> Arc<Self> {
        let inner = Inner {
            snapshot,
            revision: 0,
            watermark: None,
            closed: None,
            streams: Vec::new(),
            wildcards: vec![Vec::new(); T::ALL.len()],
        };
        Arc::new(Self { inner: RwLock::new(inner) })
    }

    /// Applies one transaction. Returns how many resources differ now; if none does, nothing is sent.
    pub fn apply(&self, changes: Changes<T>) -> usize {
        self.change(None, changes)
    }

    /// Does the same, and sets the resources that other views have too. `differ` are the names of these that differ now.
    pub fn install(&self, base: Base<T>, differ: &Batch<T>, changes: Changes<T>) -> usize {
        self.change(Some((base, differ)), changes)
    }

    fn change(&self, shift: Option<(Base<T>, &Batch<T>)>, changes: Changes<T>) -> usize {
        let mut inner = self.write();
        let differ = inner.snapshot.apply(changes);
        let (mut count, mut wake) = (differ.len(), inner.post(&differ));
        if let Some((base, differ)) = shift {
            inner.snapshot.set_base(base);
            let masks = |(ty, name): &&(T, Name)| inner.snapshot.table(*ty).masks(name);
            let shown = differ.len() - differ.iter().filter(masks).count();
            if shown > 0 {
                wake.extend(inner.post_batch(differ));
            }
            count += shown;
        }
        inner.revision += u64::from(count > 0);
        drop(inner);
        wake.into_iter().for_each(Waker::wake);
        count
    }

    /// Makes the snapshot equal to `new`. Returns how many resources differ.
    pub fn replace(&self, new: Snapshot<T>) -> usize {
        let changes = Snapshot::diff(&self.read().snapshot, &new);
        self.apply(changes)
    }

    /// Sets what is withheld. All streams decide again about names that are no longer withheld.
    pub fn withhold(&self, withheld: Withheld<T>) {
        let mut inner = self.write();
        if !inner.snapshot.withhold(withheld) {
            return;
        }
        let mut wake = Vec::new();
        for mailbox in inner.streams.iter().flatten() {
            let mut mail = mailbox.lock();
            mail.recheck = true;
            wake.extend(mail.notify());
        }
        drop(inner);
        wake.into_iter().for_each(Waker::wake);
    }

    /// Sets the `system_version_info` of later responses. It causes no response.
    pub fn set_watermark(&self, watermark: Arc<str>) {
        self.write().watermark = Some(watermark);
    }

    /// Returns the text of [`View::set_watermark`]; `None` before the first.
    pub fn watermark(&self) -> Option<Arc<str>> {
        self.read().watermark.clone()
    }

    /// Calls `read` with the snapshot. Changes wait while it runs.
    pub fn snapshot<R>(&self, read: impl FnOnce(&Snapshot<T>) -> R) -> R {
        read(&self.read().snapshot)
    }

    /// Returns the number of transactions that changed the snapshot so far.
    pub fn revision(&self) -> u64 {
        self.read().revision
    }

    /// Returns the number of streams that watch the view.
    pub fn streams(&self) -> usize {
        self.read().streams.iter().flatten().count()
    }

    /// Ends all present and later streams with UNAVAILABLE and this reason.
    pub fn close(&self, reason: impl Into<Arc<str>>) {
        let reason: Arc<str> = reason.into();
        let mut inner = self.write();
        inner.closed = Some(reason.clone());
        let mut wake = Vec::new();
        for mailbox in inner.streams.iter().flatten() {
            let mut mail = mailbox.lock();
            mail.closed = Some(reason.clone());
            wake.extend(mail.waker.take());
        }
        drop(inner);
        wake.into_iter().for_each(Waker::wake);
    }

    /// Adds a stream. Returns its number and its mailbox.
    pub(crate) fn join(&self) -> (u32, Arc<Mailbox<T>>) {
        let mut inner = self.write();
        let mail = Mail {
            dirty: BTreeMap::new(),
            news: false,
            recheck: false,
            closed: inner.closed.clone(),
            waker: None,
        };
        let mailbox = Arc::new(Mailbox { mail: Mutex::new(mail) });
        let place = inner.streams.iter().position(Option::is_none).unwrap_or(inner.streams.len());
        match inner.streams.get_mut(place) {
            Some(free) => *free = Some(mailbox.clone()),
            None => inner.streams.push(Some(mailbox.clone())),
        }
        (place as u32, mailbox)
    }

    /// Removes a stream, its wildcards, and its subscriptions to these names.
    pub(crate) fn leave<'n>(&self, id: u32, subscribed: impl Iterator<Item = (T, Vec<&'n Name>)>) {
        let mut inner = self.write();
        for (ty, names) in subscribed {
            inner.snapshot.table_mut(ty).unfollow_all(&names, id);
        }
        inner.wildcards.iter_mut().for_each(|ids| ids.retain(|one| *one != id));
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
    /// Puts changed names into the mailboxes of their subscribers. Returns the wakers to call.
    fn post(&self, differ: &[(T, Name)]) -> Vec<Waker> {
        let mut wake = Vec::new();
        for (ty, name) in differ {
            let ids = self.wildcards[position(*ty)].iter();
            wake.extend(ids.filter_map(|id| self.mark(*id, (*ty, name.clone()), None)));
            wake.extend(self.post_named(*ty, name));
        }
        wake
    }

    /// Does the same with names that changed in many views.
    fn post_batch(&self, batch: &Batch<T>) -> Vec<Waker> {
        let types: BTreeSet<T> = batch.iter().map(|(ty, _)| *ty).collect();
        let ids: BTreeSet<u32> =
            types.iter().flat_map(|ty| &self.wildcards[position(*ty)]).copied().collect();
        let mailboxes = ids.iter().filter_map(|id| self.streams[*id as usize].as_ref());
        let mut wake: Vec<Waker> = mailboxes.filter_map(|mailbox| mailbox.lock().notify()).collect();
        let named = batch.iter().filter(|(ty, _)| self.snapshot.table(*ty).has_followers());
        wake.extend(named.flat_map(|(ty, name)| self.post_named(*ty, name)));
        wake
    }

    /// Puts a changed name into the mailboxes of those that subscribed to it by name.
    fn post_named(&self, ty: T, name: &Name) -> impl Iterator<Item = Waker> {
        let followers = self.snapshot.table(ty).followers(name).iter();
        followers.filter_map(move |(id, place)| self.mark(*id, (ty, name.clone()), Some(*place)))
    }

    /// Puts a changed name into a mailbox.
    fn mark(&self, id: u32, key: (T, Name), place: Option<Place>) -> Option<Waker> {
        let mut mail = self.streams[id as usize].as_ref()?.lock();
        mail.dirty.insert(key, place);
        mail.notify()
    }

    /// Applies a change of a stream's subscription.
    pub(crate) fn set_interest(&mut self, id: u32, interest: Interest<T>) {
        match interest {
            Interest::Name(ty, name, Some(place)) => self.snapshot.table_mut(ty).follow(name, (id, place)),
            Interest::Name(ty, name, None) => self.snapshot.table_mut(ty).unfollow(&name, id),
            Interest::Wildcard(ty, true) => self.wildcards[position(ty)].push(id),
            Interest::Wildcard(ty, false) => self.wildcards[position(ty)].retain(|one| *one != id),
        }
    }
}

// === impl Mail ===

impl<T> Mail<T> {
    /// Records that something has changed. Returns the waker to call.
    fn notify(&mut self) -> Option<Waker> {
        self.news = true;
        self.waker.take()
    }
}

// === impl Mailbox ===

impl<T> Mailbox<T> {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Mail<T>> {
        self.mail.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
