//! A set of resources by type and name ([`Snapshot`]) and what differs between two of them ([`Changes`]).

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::resource::{Name, Resource, ResourceType, position};

/// Resources by type and name.
#[derive(Clone, Debug)]
pub struct Snapshot<T> {
    /// One map per type, in the order of [`ResourceType::ALL`].
    maps: Vec<HashMap<Name, Arc<Resource>>>,
    types: std::marker::PhantomData<T>,
}

/// One transaction on a [`Snapshot`].
#[derive(Clone, Debug)]
pub struct Changes<T> {
    /// Resources to add or to replace.
    pub upsert: Vec<(T, Arc<Resource>)>,
    /// Names to remove; a name that does not exist is passed over.
    pub remove: Vec<(T, Name)>,
}

// === impl Changes ===

impl<T> Default for Changes<T> {
    fn default() -> Self {
        Self { upsert: Vec::new(), remove: Vec::new() }
    }
}

impl<T> Changes<T> {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.upsert.is_empty() && self.remove.is_empty()
    }
}

// === impl Snapshot ===

impl<T: ResourceType> Default for Snapshot<T> {
    fn default() -> Self {
        Self { maps: vec![HashMap::new(); T::ALL.len()], types: std::marker::PhantomData }
    }
}

impl<T: ResourceType> Snapshot<T> {
    /// An empty snapshot.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds or replaces one resource; says whether its version differs from what was there.
    pub fn insert(&mut self, ty: T, resource: Arc<Resource>) -> bool {
        self.put(ty, resource).is_some()
    }

    /// Removes one resource.
    pub fn remove(&mut self, ty: T, name: &str) -> Option<Arc<Resource>> {
        self.maps[position(ty)].remove(name)
    }

    /// Applies one transaction and returns the names that really differ.
    ///
    /// An upsert beats a removal of the same name in one transaction.
    pub fn apply(&mut self, changes: Changes<T>) -> Vec<(T, Name)> {
        let mut differ = Vec::with_capacity(changes.upsert.len() + changes.remove.len());
        let upserted: HashSet<(T, &Name)> = match changes.remove.is_empty() {
            true => HashSet::new(),
            false => changes.upsert.iter().map(|(ty, resource)| (*ty, resource.name())).collect(),
        };
        for (ty, name) in &changes.remove {
            if !upserted.contains(&(*ty, name))
                && let Some((name, _)) = self.maps[position(*ty)].remove_entry(name)
            {
                differ.push((*ty, name));
            }
        }
        for (ty, resource) in changes.upsert {
            if let Some(name) = self.put(ty, resource) {
                differ.push((ty, name));
            }
        }
        differ
    }

    /// Stores a resource; returns its name, as the allocation that all streams share, if its version differs.
    fn put(&mut self, ty: T, resource: Arc<Resource>) -> Option<Name> {
        use std::collections::hash_map::Entry;
        match self.maps[position(ty)].entry(resource.name().clone()) {
            Entry::Vacant(free) => {
                let name = free.key().clone();
                free.insert(resource);
                Some(name)
            }
            Entry::Occupied(mut held) => {
                let same = held.get().version() == resource.version();
                if !same || held.get().companion() != resource.companion() {
                    held.insert(resource);
                }
                (!same).then(|| held.key().clone())
            }
        }
    }

    /// The shared allocation of a name, or a new one if the snapshot does not have it.
    pub(crate) fn intern(&self, ty: T, name: &str) -> Name {
        self.maps[position(ty)].get_key_value(name).map_or_else(|| name.into(), |(name, _)| name.clone())
    }

    /// What turns `old` into `new`.
    pub fn diff(old: &Self, new: &Self) -> Changes<T> {
        let mut changes = Changes::default();
        for (at, ty) in T::ALL.iter().enumerate() {
            let (before, after) = (&old.maps[at], &new.maps[at]);
            let differs = |one: &&Arc<Resource>| before.get(one.name()).is_none_or(|was| was != *one);
            changes.upsert.extend(after.values().filter(differs).map(|one| (*ty, one.clone())));
            let gone = before.keys().filter(|name| !after.contains_key(*name));
            changes.remove.extend(gone.map(|name| (*ty, name.clone())));
        }
        changes
    }

    /// One resource.
    pub fn get(&self, ty: T, name: &str) -> Option<&Arc<Resource>> {
        self.maps[position(ty)].get(name)
    }

    /// All resources of a type, in no particular order.
    pub fn iter(&self, ty: T) -> impl Iterator<Item = (&Name, &Arc<Resource>)> {
        self.maps[position(ty)].iter()
    }

    /// The number of resources of a type.
    pub fn len(&self, ty: T) -> usize {
        self.maps[position(ty)].len()
    }

    /// Whether there is no resource of any type.
    pub fn is_empty(&self) -> bool {
        self.maps.iter().all(HashMap::is_empty)
    }
}
