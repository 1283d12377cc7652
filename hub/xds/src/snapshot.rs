//! A set of resources by type and name ([`Snapshot`]).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::base::Base;
use crate::changes::Changes;
use crate::resource::{Name, Resource, ResourceType, Version, position};
use crate::table::Table;

/// Resources by type and name.
#[derive(Clone, Debug)]
pub struct Snapshot<T> {
    /// One per type, in the order of [`ResourceType::ALL`].
    tables: Vec<Table>,
    withheld: Withheld<T>,
    types: std::marker::PhantomData<T>,
}

/// Names whose absence from a snapshot is not a deletion: clients keep them, neither confirmed nor removed.
///
/// An incremental client that claims such a name gets no answer about it. In state of the world a set without the name would
/// delete it, so a returning client of a full-state type gets no response until no name of the type is withheld (spec
/// "Deleting Resources"; `xds.md` §4.3, case 32).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Withheld<T> {
    /// All names of these types.
    pub types: BTreeSet<T>,
    /// These names.
    pub names: BTreeSet<(T, Name)>,
    /// What clients are known to have accepted, if the snapshot may be older than they are; else `None`. An incremental client
    /// that claims neither this nor the snapshot's version of a name may have a newer one. It keeps its version until the name
    /// changes in the snapshot, or until this is `None`.
    pub accepted: Option<Arc<BTreeMap<(T, Name), Version>>>,
}

// === impl Withheld ===

impl<T> Default for Withheld<T> {
    fn default() -> Self {
        Self { types: BTreeSet::new(), names: BTreeSet::new(), accepted: None }
    }
}

impl<T: ResourceType> Withheld<T> {
    /// Withholds every name.
    pub fn all() -> Self {
        Self { types: T::ALL.iter().copied().collect(), ..Self::default() }
    }
}

// === impl Snapshot ===

impl<T: ResourceType> Default for Snapshot<T> {
    fn default() -> Self {
        Self {
            tables: vec![Table::default(); T::ALL.len()],
            withheld: Withheld::default(),
            types: std::marker::PhantomData,
        }
    }
}

impl<T: ResourceType> Snapshot<T> {
    /// An empty snapshot.
    pub fn new() -> Self {
        Self::default()
    }

    /// A snapshot of `base`. Its resource of the type and name in `masked` counts as missing.
    pub fn of(base: Base<T>, masked: Option<(T, Name)>) -> Self {
        let mut snapshot = Self::default();
        snapshot.set_base(base);
        if let Some((ty, name)) = masked {
            snapshot.table_mut(ty).mask(name);
        }
        snapshot
    }

    /// The resources that other snapshots have too.
    pub fn base(&self) -> Base<T> {
        Base::of_shelves(self.tables.iter().map(|table| table.base().clone()).collect())
    }

    /// Replaces the resources that other snapshots have too.
    pub(crate) fn set_base(&mut self, base: Base<T>) {
        let shelves = base.into_shelves();
        self.tables.iter_mut().zip(shelves).for_each(|(table, shelf)| table.set_base(shelf));
    }

    /// Adds or replaces one resource. Returns whether it is new or its version differs.
    pub fn insert(&mut self, ty: T, resource: Arc<Resource>) -> bool {
        self.table_mut(ty).put(resource).is_some()
    }

    /// Removes and returns one resource; `None` if it does not exist.
    pub fn remove(&mut self, ty: T, name: &str) -> Option<Arc<Resource>> {
        self.table_mut(ty).remove(name).map(|(_, resource)| resource)
    }

    /// Applies one transaction. Returns the names whose resources differ now.
    ///
    /// If a transaction upserts and removes the same name, the upsert wins.
    pub fn apply(&mut self, changes: Changes<T>) -> Vec<(T, Name)> {
        let mut differ = Vec::with_capacity(changes.upsert.len() + changes.remove.len());
        for (ty, name) in changes.removals() {
            differ.extend(self.table_mut(*ty).remove(name).map(|(name, _)| (*ty, name)));
        }
        for (ty, resource) in changes.upsert {
            if let Some(name) = self.table_mut(ty).put(resource) {
                differ.push((ty, name));
            }
        }
        differ
    }

    /// Returns the shared allocation of a name, or a new one if the snapshot does not have the name.
    pub(crate) fn intern(&self, ty: T, name: &str) -> Name {
        self.table(ty).intern(name)
    }

    /// The resources of a type, with their followers.
    pub(crate) fn table(&self, ty: T) -> &Table {
        &self.tables[position(ty)]
    }

    /// See [`Snapshot::table`].
    pub(crate) fn table_mut(&mut self, ty: T) -> &mut Table {
        &mut self.tables[position(ty)]
    }

    /// Sets what is withheld. Returns whether that differs.
    pub fn withhold(&mut self, withheld: Withheld<T>) -> bool {
        let differs = self.withheld != withheld;
        self.withheld = withheld;
        differs
    }

    /// Whether the absence of a name is not a deletion.
    pub fn withholds(&self, ty: T, name: &Name) -> bool {
        let Withheld { types, names, .. } = &self.withheld;
        types.contains(&ty) || (!names.is_empty() && names.contains(&(ty, name.clone())))
    }

    /// Whether a client with this version of a name may be newer than the snapshot, see [`Withheld::accepted`].
    pub(crate) fn may_be_older(&self, ty: T, name: &Name, version: Version) -> bool {
        let differs = || self.get(ty, name).is_some_and(|resource| resource.version() != version);
        let unknown = |accepted: &Arc<BTreeMap<_, _>>| accepted.get(&(ty, name.clone())) != Some(&version);
        self.withheld.accepted.as_ref().is_some_and(unknown) && differs()
    }

    /// Whether a type is withheld as a whole or, unless `whole`, one of its missing names is.
    pub(crate) fn withholds_of(&self, ty: T, whole: bool) -> bool {
        let Withheld { types, names, .. } = &self.withheld;
        let missing = |(of, name): &(T, Name)| *of == ty && self.get(ty, name).is_none();
        types.contains(&ty) || (!whole && names.iter().any(missing))
    }

    /// Returns the changes that turn `old` into `new`.
    pub fn diff(old: &Self, new: &Self) -> Changes<T> {
        let mut changes = Changes::default();
        for (at, ty) in T::ALL.iter().enumerate() {
            let (before, after) = (&old.tables[at], &new.tables[at]);
            let differs = |one: &&Arc<Resource>| before.get(one.name()).is_none_or(|was| was != *one);
            let values = after.iter().map(|(_, one)| one);
            changes.upsert.extend(values.filter(differs).map(|one| (*ty, one.clone())));
            let gone = before.iter().map(|(name, _)| name).filter(|name| after.get(name).is_none());
            changes.remove.extend(gone.map(|name| (*ty, name.clone())));
        }
        changes
    }

    /// Returns one resource; `None` if it does not exist.
    pub fn get(&self, ty: T, name: &str) -> Option<&Arc<Resource>> {
        self.table(ty).get(name)
    }

    /// Returns all resources of a type, in no particular order.
    pub fn iter(&self, ty: T) -> impl Iterator<Item = (&Name, &Arc<Resource>)> {
        self.table(ty).iter()
    }

    /// Returns the number of resources of a type.
    pub fn len(&self, ty: T) -> usize {
        self.table(ty).len()
    }

    /// Returns the encoded size of all resources of a type, bytes.
    pub fn bytes(&self, ty: T) -> usize {
        self.table(ty).bytes()
    }

    /// Whether there is no resource of any type.
    pub fn is_empty(&self) -> bool {
        self.tables.iter().all(|table| table.len() == 0)
    }
}
