//! The names of one type on one stream ([`Entries`]): a dense array. Entries are found by name, or by a [`Place`] without a
//! search.
//!
//! A change visits one entry on each of many streams, and that memory is cold each time. One cache line of a small array
//! instead of two of a hash table keeps the cost level up to 10,000 names on 50 streams.
//!
//! A client that has accepted exactly the resources of a [`Shelf`] needs no entries of its own: see [`Entries::settle`].

use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;

use foldhash::quality::RandomState;

use crate::base::Shelf;
use crate::place::Place;
use crate::resource::{Name, Version};

/// A response with at most this number of names is in their order.
const FEW: usize = 32;

/// What is known about the client and [`Entry::version`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// The client has nothing of this name.
    Absent,
    /// The client claimed this version when it connected.
    Claimed,
    /// Sent. The client has not answered, or has rejected another resource of the same response.
    Sent,
    /// Accepted.
    Confirmed,
    /// Rejected. This version is not sent again.
    Withheld,
    /// Rejected for a transient reason. It is sent again when its retry is due.
    Retrying,
}

/// One name on one stream. It has 24 bytes: there is one per name and stream.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) version: Version,
    /// How often the slot was freed, see [`Place::round`].
    round: u32,
    /// The number of the owners that this companion must follow ([`Awaited`](super::awaited::Awaited)); 0 if it need not.
    pub(super) awaited: u32,
    pub(super) standing: Standing,
    /// The client subscribed to it by name.
    pub(super) named: bool,
    /// It waits for the next response.
    queued: bool,
    /// The next response has it even if the client has this version.
    forced: bool,
}

/// A name that a response is to tell about.
#[derive(Debug)]
pub(super) struct Queued {
    pub(super) name: Name,
    pub(super) place: Option<Place>,
    /// Send it even if the client has this version.
    pub(super) force: bool,
}

/// A name, with the place of its entry if that is known.
#[derive(Clone, Copy, Debug)]
pub(super) struct Key<'a> {
    pub(super) name: &'a Name,
    pub(super) place: Option<Place>,
}

/// The entries of one type.
#[derive(Debug, Default)]
pub(super) struct Entries {
    /// Resources that the client has accepted, as far as `places` has no entries of their names.
    settled: Shelf,
    places: HashMap<Name, u32, RandomState>,
    slots: Vec<Entry>,
    free: Vec<u32>,
    /// A client has subscribed to a name, so that there may be a [`Place`] somewhere.
    named: bool,
    /// What waits for the next response, in the order in which it came. Names whose entries were removed since don't count.
    queue: Vec<Queued>,
    /// How many names wait.
    waiting: usize,
}

// === impl Key ===

impl<'a> From<&'a Name> for Key<'a> {
    fn from(name: &'a Name) -> Self {
        Self { name, place: None }
    }
}

// === impl Entry ===

impl Entry {
    const ABSENT: Self = Self {
        version: Version(0),
        round: 0,
        awaited: 0,
        standing: Standing::Absent,
        named: false,
        queued: false,
        forced: false,
    };

    /// The entry of a settled resource.
    fn settled(version: Version) -> Self {
        Self { version, standing: Standing::Confirmed, ..Self::ABSENT }
    }

    /// Whether the client rejected this version, so that it must not be sent again yet.
    pub(super) fn is_rejected(&self) -> bool {
        matches!(self.standing, Standing::Withheld | Standing::Retrying)
    }

    /// Whether it tells nothing. It is kept where a settled resource of its name counts no more.
    fn is_idle(&self) -> bool {
        self.standing == Standing::Absent && !self.named
    }
}

// === impl Entries ===

impl Entries {
    pub(super) fn get<'a>(&self, key: impl Into<Key<'a>>) -> Option<Entry> {
        let key = key.into();
        match self.find(key) {
            Some(at) => self.slots.get(at).copied(),
            None => Some(Entry::settled(self.settled.get(key.name)?.version())),
        }
    }

    pub(super) fn get_mut<'a>(&mut self, key: impl Into<Key<'a>>) -> Option<&mut Entry> {
        let key = key.into();
        let known = self.find(key);
        if known.is_none() {
            self.settled.get(key.name)?;
        }
        let at = known.unwrap_or_else(|| self.open(key.name));
        self.slots.get_mut(at)
    }

    /// The entry of a name, unless it is settled.
    pub(super) fn known_mut<'a>(&mut self, key: impl Into<Key<'a>>) -> Option<&mut Entry> {
        let at = self.find(key.into())?;
        self.slots.get_mut(at)
    }

    /// The entry of a name. A missing one is added as absent and not named.
    pub(super) fn put<'a>(&mut self, key: impl Into<Key<'a>>) -> (Place, &mut Entry) {
        let key = key.into();
        let at = self.kept(key.place).unwrap_or_else(|| self.open(key.name));
        let entry = &mut self.slots[at];
        (Place { at: at as u32, round: entry.round }, entry)
    }

    /// Makes room for this number of entries.
    pub(super) fn reserve(&mut self, count: usize) {
        let more = count.saturating_sub(self.places.len());
        self.places.reserve(more);
        self.slots.reserve(more);
    }

    /// Makes room for this number of entries that are queued.
    pub(super) fn reserve_queued(&mut self, count: usize) {
        self.reserve(count);
        self.queue.reserve(count.saturating_sub(self.queue.len()));
    }

    /// The companions that must follow their owners, with [`Entry::awaited`].
    pub(super) fn awaited(&self) -> impl Iterator<Item = (&Name, u32)> {
        self.all().map(|(name, entry)| (name, entry.awaited)).filter(|(_, owners)| *owners != 0)
    }

    /// Subscribes to a name. Returns its entry's place, and whether the subscription is new.
    pub(super) fn subscribe(&mut self, name: &Name) -> (Place, bool) {
        self.named = true;
        let (place, entry) = self.put(name);
        (place, !std::mem::replace(&mut entry.named, true))
    }

    /// Records that the client has exactly these resources of a type, without the masked one, and drops all entries. Does nothing
    /// if an entry tells more or waits for a response, or if the client subscribed to a name: its place must stay. What the client
    /// claimed counts as accepted, because the resource is there.
    pub(super) fn settle(&mut self, shelf: &Shelf, masked: Option<&Name>) {
        let plain = |entry: &Entry| match entry.standing {
            Standing::Confirmed | Standing::Claimed => true,
            Standing::Absent => !entry.named,
            Standing::Sent | Standing::Withheld | Standing::Retrying => false,
        };
        if self.named || self.waiting > 0 || self.places.is_empty() || !self.slots.iter().all(plain) {
            return;
        }
        *self = Self { settled: shelf.clone(), ..Self::default() };
        if let Some(masked) = masked.filter(|name| shelf.get(name).is_some()) {
            self.put(masked).1.standing = Standing::Absent;
        }
    }

    /// Forgets the settled resources, of which the client keeps only those with entries.
    pub(super) fn abandon_settled(&mut self) {
        self.settled = Shelf::default();
        let idle = self.all().filter(|(_, entry)| entry.is_idle());
        let idle: Vec<Name> = idle.map(|(name, _)| name.clone()).collect();
        idle.iter().for_each(|name| self.remove(name));
    }

    pub(super) fn remove(&mut self, name: &Name) {
        if self.settled.get(name).is_some() {
            let (_, entry) = self.put(name);
            (entry.standing, entry.named) = (Standing::Absent, false);
            return;
        }
        let Some(at) = self.places.remove(name) else { return };
        let entry = &mut self.slots[at as usize];
        entry.round = entry.round.wrapping_add(1);
        self.free.push(at);
        if std::mem::take(&mut entry.queued) {
            self.waiting -= 1;
            self.shorten_queue();
        }
    }

    /// Removes an entry that tells nothing and waits for nothing.
    pub(super) fn sweep(&mut self, key: Key<'_>) {
        let waits = |entry: &Entry| entry.queued || entry.awaited != 0;
        let idle = |at: usize| self.slots[at].is_idle() && !waits(&self.slots[at]);
        if self.find(key).is_some_and(idle) && self.settled.get(key.name).is_none() {
            self.remove(key.name);
        }
    }

    /// Queues a name for the next response. `force` sends it even if the client has this version.
    pub(super) fn enqueue<'a>(&mut self, key: impl Into<Key<'a>>, force: bool) {
        let key = key.into();
        let (place, entry) = self.put(key);
        entry.forced |= force;
        if !std::mem::replace(&mut entry.queued, true) {
            self.waiting += 1;
            self.queue.push(Queued { name: key.name.clone(), place: Some(place), force });
        }
    }

    /// Whether names wait for the next response.
    pub(super) fn has_queued(&self) -> bool {
        self.waiting > 0
    }

    /// Takes all names that wait for the next response. Few are in the order of the names, which makes them easy to read; to sort
    /// thousands costs as much as to send them.
    pub(super) fn take_queued(&mut self) -> Vec<Queued> {
        let mut queued = std::mem::take(&mut self.queue);
        queued.retain_mut(|one| {
            let Some(entry) = waiting_at(&mut self.slots, one.place) else { return false };
            entry.queued = false;
            one.force = std::mem::take(&mut entry.forced);
            true
        });
        self.waiting = 0;
        if queued.len() <= FEW {
            queued.sort_by(|one, other| one.name.cmp(&other.name));
        }
        queued
    }

    /// Bounds what a client can make the queue hold that subscribes and unsubscribes in turn.
    fn shorten_queue(&mut self) {
        if self.queue.len() > 2 * self.waiting + 64 {
            let slots = &mut self.slots;
            self.queue.retain(|one| waiting_at(slots, one.place).is_some());
        }
    }

    pub(super) fn contains(&self, name: &Name) -> bool {
        self.get(name).is_some_and(|entry| !entry.is_idle())
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Name, Entry)> {
        let settled = self.settled.iter().filter(|one| !self.places.contains_key(one.name()));
        let settled = settled.map(|one| (one.name(), Entry::settled(one.version())));
        self.unsettled().chain(settled)
    }

    /// Those that are not settled.
    pub(super) fn unsettled(&self) -> impl Iterator<Item = (&Name, Entry)> {
        self.all().filter(|(_, entry)| !entry.is_idle())
    }

    fn all(&self) -> impl Iterator<Item = (&Name, Entry)> {
        self.places.iter().map(|(name, at)| (name, self.slots[*at as usize]))
    }

    fn find(&self, key: Key<'_>) -> Option<usize> {
        self.kept(key.place).or_else(|| Some(*self.places.get(key.name)? as usize))
    }

    /// The index of a place that is still valid.
    fn kept(&self, place: Option<Place>) -> Option<usize> {
        let place = place?;
        let entry = self.slots.get(place.at as usize)?;
        (entry.round == place.round).then_some(place.at as usize)
    }

    /// The index of a name's entry. A missing one is added, as settled or as absent.
    fn open(&mut self, name: &Name) -> usize {
        let missing = match self.places.entry(name.clone()) {
            Slot::Occupied(held) => return *held.get() as usize,
            Slot::Vacant(missing) => missing,
        };
        let fresh = self.settled.get(name).map_or(Entry::ABSENT, |one| Entry::settled(one.version()));
        let at = match self.free.pop() {
            Some(at) => {
                let slot = &mut self.slots[at as usize];
                *slot = Entry { round: slot.round, ..fresh };
                at
            }
            None => {
                self.slots.push(fresh);
                (self.slots.len() - 1) as u32
            }
        };
        *missing.insert(at) as usize
    }
}

/// The entry at a place of the queue, unless it was removed since.
fn waiting_at(slots: &mut [Entry], place: Option<Place>) -> Option<&mut Entry> {
    let place = place?;
    slots.get_mut(place.at as usize).filter(|entry| entry.round == place.round && entry.queued)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_twenty_four_bytes() {
        assert_eq!(size_of::<Entry>(), 24);
    }

    #[test]
    fn a_place_finds_its_entry_without_the_name() {
        let (kept, other): (Name, Name) = ("kept".into(), "other".into());
        let mut entries = Entries::default();
        let (place, entry) = entries.put(&kept);
        entry.named = true;
        let found = entries.get(Key { name: &other, place: Some(place) });
        assert!(found.is_some_and(|entry| entry.named));
    }

    #[test]
    fn a_freed_place_does_not_find_the_entry_that_reuses_it() {
        let (gone, next): (Name, Name) = ("gone".into(), "next".into());
        let mut entries = Entries::default();
        let (place, _) = entries.put(&gone);
        entries.remove(&gone);
        let (reused, entry) = entries.put(&next);
        assert!(!entry.named && entry.standing == Standing::Absent);
        entry.standing = Standing::Sent;
        assert_eq!(reused.at, place.at);
        assert!(entries.get(Key { name: &gone, place: Some(place) }).is_none());
        assert_eq!(entries.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>(), [next]);
    }

    #[test]
    fn a_name_that_returns_is_found_by_name_when_its_old_place_is_stale() {
        let name: Name = "name".into();
        let mut entries = Entries::default();
        let (stale, _) = entries.put(&name);
        entries.remove(&name);
        entries.put(&name).1.version = Version(7);
        let found = entries.get(Key { name: &name, place: Some(stale) });
        assert_eq!(found.map(|entry| entry.version), Some(Version(7)));
    }

    #[test]
    fn name_is_queued_once_and_until_it_is_taken() {
        let (name, other): (Name, Name) = ("name".into(), "other".into());
        let mut entries = Entries::default();
        for (name, force) in [(&name, true), (&other, false), (&name, false)] {
            entries.enqueue(name, force);
            entries.sweep(name.into());
        }
        let taken = |entries: &mut Entries| {
            let taken = entries.take_queued();
            taken.into_iter().map(|one| (one.name.to_string(), one.force)).collect::<Vec<_>>()
        };
        assert!(entries.has_queued());
        assert_eq!(taken(&mut entries), [("name".to_owned(), true), ("other".to_owned(), false)]);
        assert!(!entries.has_queued() && taken(&mut entries).is_empty());
        entries.enqueue(&name, true);
        entries.remove(&name);
        entries.enqueue(&name, false);
        assert_eq!(taken(&mut entries), [("name".to_owned(), false)], "removed and queued again");
        entries.sweep((&name).into());
        entries.sweep((&other).into());
        assert!(entries.places.is_empty());
    }

    #[test]
    fn queue_of_names_that_come_and_go_stays_short() {
        let mut entries = Entries::default();
        for i in 0..10_000 {
            let name: Name = i.to_string().into();
            entries.enqueue(&name, true);
            if i % 100 > 0 {
                entries.remove(&name);
            }
        }
        assert!(entries.queue.len() < 300, "{}", entries.queue.len());
        assert_eq!(entries.take_queued().len(), 100);
    }

    #[test]
    fn accepted_resources_need_no_entries_until_one_changes() {
        use crate::{Base, Changes, EnvoyType, Resource};
        let of = |name: &str| (EnvoyType::Cluster, Resource::new(EnvoyType::Cluster, name, b"1"));
        let mut base = Base::default();
        base.apply(&Changes { upsert: ["a", "b", "c"].map(of).into(), remove: Vec::new() });
        let (shelf, masked): (_, Name) = (base.shelf(EnvoyType::Cluster), "c".into());
        let mut entries = Entries::default();
        let names: [Name; 2] = ["a".into(), "b".into()];
        for (name, standing) in names.iter().zip([Standing::Confirmed, Standing::Withheld]) {
            let (_, entry) = entries.put(name);
            (entry.version, entry.standing) = (Version::of(b"1"), standing);
        }
        entries.settle(shelf, Some(&masked));
        assert_eq!(entries.places.len(), 2, "one was rejected");
        entries.put(&names[1]).1.standing = Standing::Confirmed;
        entries.settle(shelf, Some(&masked));
        let all = |entries: &Entries| {
            let mut all: Vec<_> =
                entries.iter().map(|(name, entry)| (name.to_string(), entry.standing)).collect();
            all.sort_by(|one, other| one.0.cmp(&other.0));
            all
        };
        let confirmed = |name: &str| (name.to_owned(), Standing::Confirmed);
        assert_eq!((entries.places.len(), all(&entries)), (1, vec![confirmed("a"), confirmed("b")]));
        entries.get_mut(&names[0]).unwrap().standing = Standing::Sent;
        entries.remove(&names[1]);
        assert_eq!(all(&entries), [("a".to_owned(), Standing::Sent)]);
        assert!(!entries.contains(&names[1]) && !entries.contains(&masked));
        entries.abandon_settled();
        assert_eq!((entries.places.len(), entries.get(&names[1]).is_none()), (1, true));
    }
}
