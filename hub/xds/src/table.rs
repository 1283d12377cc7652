//! The resources of one type, each beside the streams that follow its name ([`Table`]).
//!
//! A change finds both with one look-up: among thousands of names each look-up reads cold memory.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::mem::take;
use std::sync::Arc;

use foldhash::quality::RandomState;

use crate::base::Shelf;
use crate::place::Place;
use crate::resource::{Name, Resource};

/// A stream's number, and the place of the name's entry in that stream.
pub(crate) type Follower = (u32, Place);

/// Resources and followers by name.
#[derive(Debug, Default)]
pub(crate) struct Table {
    rows: HashMap<Name, Row, RandomState>,
    /// Number of rows with a resource.
    held: usize,
    /// Encoded size of these resources, bytes.
    bytes: usize,
    /// Resources that other views have too. None of their names has a resource in `rows`.
    base: Shelf,
    /// A name that `base` counts as not having.
    masked: Option<Name>,
    /// Number of subscriptions by name.
    followed: usize,
}

/// A resource, its followers, or both. Empty rows are removed.
#[derive(Debug, Default)]
struct Row {
    resource: Option<Arc<Resource>>,
    followers: Followers,
}

/// The streams of one name. Most names have one, which takes no allocation.
#[derive(Debug, Default)]
enum Followers {
    #[default]
    None,
    One(Follower),
    Many(Vec<Follower>),
}

// === impl Table ===

impl Clone for Table {
    /// Copies the resources without followers.
    fn clone(&self) -> Self {
        let row = |one: &Arc<Resource>| Row { resource: Some(one.clone()), ..Row::default() };
        let rows = self.own().map(|(name, one)| (name.clone(), row(one))).collect();
        let (base, masked) = (self.base.clone(), self.masked.clone());
        Self { rows, held: self.held, bytes: self.bytes, base, masked, followed: 0 }
    }
}

impl Table {
    pub(crate) fn get(&self, name: &str) -> Option<&Arc<Resource>> {
        let own = self.rows.get(name).and_then(|row| row.resource.as_ref());
        own.or_else(|| self.base.get(name).filter(|one| !self.masks(one.name())))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Name, &Arc<Resource>)> {
        let base = self.base.iter().filter(|one| !self.masks(one.name()));
        self.own().chain(base.map(|one| (one.name(), one)))
    }

    pub(crate) fn len(&self) -> usize {
        self.held + self.base.len() - usize::from(self.hidden(&self.base).is_some())
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes + self.base.bytes() - self.hidden(&self.base).map_or(0, |one| one.delta_bytes().len())
    }

    /// Returns the shared allocation of a name, or a new one if there is none.
    pub(crate) fn intern(&self, name: &str) -> Name {
        let own = self.rows.get_key_value(name).map(|(name, _)| name);
        let known = own.or_else(|| self.base.get(name).map(|one| one.name()));
        known.map_or_else(|| name.into(), Name::clone)
    }

    /// Sets the resources that other views have too.
    pub(crate) fn set_base(&mut self, base: Shelf) {
        self.base = base;
    }

    /// The resources that other views have too.
    pub(crate) fn base(&self) -> &Shelf {
        &self.base
    }

    /// Sets the name that the base counts as not having.
    pub(crate) fn mask(&mut self, name: Name) {
        self.masked = Some(name);
    }

    /// Returns whether the resource of this name in the base is hidden.
    pub(crate) fn masks(&self, name: &Name) -> bool {
        self.masked.as_ref() == Some(name)
    }

    /// Returns whether the versions of all resources have this sum ([`Version::of_set`](crate::Version::of_set)) with this shelf as
    /// the base.
    pub(crate) fn is_all(&self, base: &Shelf, sum: u64) -> bool {
        let hidden = self.hidden(base).map_or(0, |one| one.version().share(one.name()));
        self.held == 0 && base.len() > 0 && base.sum().wrapping_sub(hidden) == sum
    }

    /// The name that the base counts as not having.
    pub(crate) fn masked(&self) -> Option<&Name> {
        self.masked.as_ref()
    }

    /// The masked resource of a base.
    fn hidden<'b>(&self, base: &'b Shelf) -> Option<&'b Arc<Resource>> {
        base.get(self.masked.as_ref()?)
    }

    fn own(&self) -> impl Iterator<Item = (&Name, &Arc<Resource>)> {
        self.rows.iter().filter_map(|(name, row)| Some((name, row.resource.as_ref()?)))
    }

    /// Stores a resource. If its version differs, returns its name in the allocation that all streams share.
    pub(crate) fn put(&mut self, mut resource: Arc<Resource>) -> Option<Name> {
        let mut entry = match self.rows.entry(resource.name().clone()) {
            Entry::Vacant(free) => free.insert_entry(Row::default()),
            Entry::Occupied(held) => held,
        };
        let name = entry.key().clone();
        let row = entry.get_mut();
        let held = row.resource.as_ref();
        let same = held.is_some_and(|held| held.version() == resource.version());
        if same && held.is_some_and(|held| held.companion() == resource.companion()) {
            return None;
        }
        self.held += usize::from(held.is_none());
        self.bytes -= held.map_or(0, |held| held.delta_bytes().len());
        self.bytes += resource.delta_bytes().len();
        // All versions share one name, so dropping the old version reads no other name.
        if let Some(own) = Arc::get_mut(&mut resource) {
            own.share_name(&name);
        }
        row.resource = Some(resource);
        (!same).then_some(name)
    }

    /// Removes a resource. Returns it with the shared allocation of its name.
    pub(crate) fn remove(&mut self, name: &str) -> Option<(Name, Arc<Resource>)> {
        let row = self.rows.get_mut(name)?;
        let resource = row.resource.take()?;
        self.held -= 1;
        self.bytes -= resource.delta_bytes().len();
        let idle = row.is_idle();
        let name = self.intern(name);
        if idle {
            self.rows.remove(&name);
        }
        Some((name, resource))
    }

    /// The streams that follow a name.
    pub(crate) fn followers(&self, name: &str) -> &[Follower] {
        self.rows.get(name).map_or(&[], |row| row.followers.as_slice())
    }

    /// Whether any stream follows a name.
    pub(crate) fn has_followers(&self) -> bool {
        self.followed > 0
    }

    /// Adds a stream to a name's followers. The resource need not exist.
    pub(crate) fn follow(&mut self, name: Name, follower: Follower) {
        self.followed += 1;
        self.rows.entry(name).or_default().followers.add(follower);
    }

    /// Removes a stream from the followers of all its names. If they are many, it looks at each row instead of finding theirs.
    pub(crate) fn unfollow_all(&mut self, names: &[&Name], stream: u32) {
        if names.len() < self.rows.len() / 4 {
            return names.iter().for_each(|name| self.unfollow(name, stream));
        }
        self.rows.retain(|_, row| {
            self.followed -= usize::from(row.followers.remove(stream));
            !row.is_idle()
        });
    }

    /// Removes a stream from a name's followers.
    pub(crate) fn unfollow(&mut self, name: &Name, stream: u32) {
        let Some(row) = self.rows.get_mut(name) else { return };
        self.followed -= usize::from(row.followers.remove(stream));
        if row.is_idle() {
            self.rows.remove(name);
        }
    }
}

// === impl Row ===

impl Row {
    /// Whether it has neither resource nor followers.
    fn is_idle(&self) -> bool {
        self.resource.is_none() && self.followers.as_slice().is_empty()
    }
}

// === impl Followers ===

impl Followers {
    fn as_slice(&self) -> &[Follower] {
        match self {
            Self::None => &[],
            Self::One(follower) => std::slice::from_ref(follower),
            Self::Many(followers) => followers,
        }
    }

    fn add(&mut self, follower: Follower) {
        *self = match take(self) {
            Self::None => Self::One(follower),
            Self::One(first) => Self::Many(vec![first, follower]),
            Self::Many(mut followers) => {
                followers.push(follower);
                Self::Many(followers)
            }
        };
    }

    /// Returns whether the stream was one of them.
    fn remove(&mut self, stream: u32) -> bool {
        let Some(at) = self.as_slice().iter().position(|(id, _)| *id == stream) else { return false };
        match self {
            Self::Many(followers) => {
                followers.swap_remove(at);
            }
            Self::None | Self::One(_) => *self = Self::None,
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::EnvoyType;

    fn resource(body: &[u8]) -> Arc<Resource> {
        Resource::new(EnvoyType::Endpoint, "name", body)
    }

    fn streams(table: &Table) -> Vec<u32> {
        table.followers("name").iter().map(|(id, _)| *id).collect()
    }

    #[test]
    fn followers_outlive_the_resource_and_the_resource_outlives_them() {
        let mut table = Table::default();
        let name: Name = "name".into();
        for stream in [7, 8, 9] {
            table.follow(name.clone(), (stream, Place::default()));
        }
        assert_eq!((table.len(), table.iter().count(), table.get("name")), (0, 0, None));
        assert!(table.put(resource(b"1")).is_some());
        assert_eq!(table.bytes(), resource(b"1").delta_bytes().len());
        table.put(resource(b"much more"));
        assert_eq!(table.bytes(), resource(b"much more").delta_bytes().len());
        table.unfollow(&name, 7);
        table.unfollow(&name, 7);
        assert_eq!(streams(&table), [9, 8]);
        assert!(table.remove("name").is_some() && table.remove("name").is_none());
        assert_eq!((table.len(), table.bytes(), streams(&table).len()), (0, 0, 2));
        table.put(resource(b"2"));
        table.unfollow(&name, 8);
        table.unfollow(&name, 9);
        assert_eq!((table.len(), streams(&table).len(), table.rows.len()), (1, 0, 1));
        table.remove("name");
        assert!(table.rows.is_empty(), "an empty row is kept");
    }

    #[test]
    fn all_versions_share_one_name() {
        let mut table = Table::default();
        let first = table.put(resource(b"1")).map(|name| name.as_ptr());
        let second = table.put(resource(b"2")).map(|name| name.as_ptr());
        assert_eq!(first, second);
        assert_eq!(table.get("name").map(|one| one.name().as_ptr()), first);
        assert_eq!(table.put(resource(b"2")), None);
    }

    #[test]
    fn a_copy_has_no_followers() {
        let mut table = Table::default();
        table.put(resource(b"1"));
        table.follow("name".into(), (1, Place::default()));
        table.follow("other".into(), (1, Place::default()));
        let copy = table.clone();
        assert_eq!((copy.len(), copy.rows.len(), streams(&copy).len()), (1, 1, 0));
    }
}
