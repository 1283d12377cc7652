//! A set of resources by type and name ([`Snapshot`]) and what differs between two of them ([`Changes`]).

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use crate::resource::{Name, Resource, ResourceType, position};
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
/// An incremental client that says that it has such a name gets no answer about it. In the state of the world a set without
/// the name would remove it, so a returning client of a full-state type gets no response until nothing of the type is
/// withheld (spec "Deleting Resources"; `xds.md` §4.3, case 32).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Withheld<T> {
    /// All names of these types.
    pub types: BTreeSet<T>,
    /// These names.
    pub names: BTreeSet<(T, Name)>,
}

/// One transaction on a [`Snapshot`].
#[derive(Clone, Debug)]
pub struct Changes<T> {
    /// Resources to add or to replace.
    pub upsert: Vec<(T, Arc<Resource>)>,
    /// Names to remove; a name that does not exist is passed over.
    pub remove: Vec<(T, Name)>,
}

// === impl Withheld ===

impl<T> Default for Withheld<T> {
    fn default() -> Self {
        Self { types: BTreeSet::new(), names: BTreeSet::new() }
    }
}

impl<T: ResourceType> Withheld<T> {
    /// Every name.
    pub fn all() -> Self {
        Self { types: T::ALL.iter().copied().collect(), names: BTreeSet::new() }
    }
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

    /// Adds or replaces one resource; says whether its version differs from what was there.
    pub fn insert(&mut self, ty: T, resource: Arc<Resource>) -> bool {
        self.table_mut(ty).put(resource).is_some()
    }

    /// Removes one resource.
    pub fn remove(&mut self, ty: T, name: &str) -> Option<Arc<Resource>> {
        self.table_mut(ty).remove(name).map(|(_, resource)| resource)
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
                && let Some((name, _)) = self.table_mut(*ty).remove(name)
            {
                differ.push((*ty, name));
            }
        }
        for (ty, resource) in changes.upsert {
            if let Some(name) = self.table_mut(ty).put(resource) {
                differ.push((ty, name));
            }
        }
        differ
    }

    /// The shared allocation of a name, or a new one if the snapshot does not have it.
    pub(crate) fn intern(&self, ty: T, name: &str) -> Name {
        self.table(ty).intern(name)
    }

    /// The resources of a type, and who follows them.
    pub(crate) fn table(&self, ty: T) -> &Table {
        &self.tables[position(ty)]
    }

    /// See [`Snapshot::table`].
    pub(crate) fn table_mut(&mut self, ty: T) -> &mut Table {
        &mut self.tables[position(ty)]
    }

    /// Sets what is withheld; says whether that differs.
    pub fn withhold(&mut self, withheld: Withheld<T>) -> bool {
        let differs = self.withheld != withheld;
        self.withheld = withheld;
        differs
    }

    /// Whether nothing is said of this name, should it be missing.
    pub fn withholds(&self, ty: T, name: &Name) -> bool {
        let Withheld { types, names } = &self.withheld;
        types.contains(&ty) || (!names.is_empty() && names.contains(&(ty, name.clone())))
    }

    /// Whether nothing is said of a type as a whole or, unless `whole`, of one of its names that is missing.
    pub(crate) fn withholds_of(&self, ty: T, whole: bool) -> bool {
        let Withheld { types, names } = &self.withheld;
        let missing = |(of, name): &(T, Name)| *of == ty && self.get(ty, name).is_none();
        types.contains(&ty) || (!whole && names.iter().any(missing))
    }

    /// What turns `old` into `new`.
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

    /// One resource.
    pub fn get(&self, ty: T, name: &str) -> Option<&Arc<Resource>> {
        self.table(ty).get(name)
    }

    /// All resources of a type, in no particular order.
    pub fn iter(&self, ty: T) -> impl Iterator<Item = (&Name, &Arc<Resource>)> {
        self.table(ty).iter()
    }

    /// The number of resources of a type.
    pub fn len(&self, ty: T) -> usize {
        self.table(ty).len()
    }

    /// How many bytes the resources of a type have as they go out.
    pub fn bytes(&self, ty: T) -> usize {
        self.table(ty).bytes()
    }

    /// Whether there is no resource of any type.
    pub fn is_empty(&self) -> bool {
        self.tables.iter().all(|table| table.len() == 0)
    }
}
