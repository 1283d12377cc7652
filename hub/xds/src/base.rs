//! The resources that several snapshots are based on ([`Base`]).
//!
//! A set is never changed in place: its next version has its own copies of the few parts that differ, and all others are
//! shared. The views of five hundred clients that are sent the same therefore take the memory of one.

use std::collections::HashSet;
use std::hash::BuildHasher;
use std::marker::PhantomData;
use std::sync::{Arc, LazyLock};

use foldhash::quality::RandomState;

use crate::changes::Changes;
use crate::resource::{Name, Resource, ResourceType, position};

/// The number of parts of a shelf. An update copies one of them, and the list of all.
const PARTS: usize = 256;

/// The hashes of names, the same in all sets.
static HASHES: LazyLock<RandomState> = LazyLock::new(RandomState::default);

/// A set of resources by type and name. A copy costs next to nothing.
#[derive(Clone, Debug)]
pub struct Base<T> {
    /// One per type, in the order of [`ResourceType::ALL`].
    shelves: Vec<Shelf>,
    types: PhantomData<T>,
}

/// The resources of one type.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shelf {
    /// Empty, or [`PARTS`] parts, one for each value of the highest bits of a hash.
    parts: Arc<Vec<Part>>,
    held: usize,
    /// Encoded size of the resources, bytes.
    bytes: usize,
    /// See [`Version::of_set`](crate::Version::of_set).
    sum: u64,
}

/// Resources with the hashes of their names, sorted by these.
type Part = Arc<Vec<Held>>;

/// A resource with the hash of its name.
type Held = (u64, Arc<Resource>);

// === impl Base ===

impl<T: ResourceType> Default for Base<T> {
    fn default() -> Self {
        Self { shelves: vec![Shelf::default(); T::ALL.len()], types: PhantomData }
    }
}

impl<T: ResourceType> Base<T> {
    /// Applies one transaction. Returns the names whose resources differ now.
    ///
    /// If a transaction upserts and removes the same name, the upsert wins.
    pub fn apply(&mut self, changes: &Changes<T>) -> Vec<(T, Name)> {
        let mut differ = Vec::new();
        for (ty, name) in changes.removals() {
            let removed = self.shelves[position(*ty)].remove(name);
            differ.extend(removed.map(|one| (*ty, one.name().clone())));
        }
        for (ty, resource) in &changes.upsert {
            if self.shelves[position(*ty)].put(resource) {
                differ.push((*ty, resource.name().clone()));
            }
        }
        differ
    }

    /// Returns which of the names of a transaction have another version in `new`, or exist in only one of both.
    pub fn differ(&self, new: &Self, changes: &Changes<T>) -> Vec<(T, Name)> {
        let upserted = changes.upsert.iter().map(|(ty, resource)| (*ty, resource.name()));
        let removed = changes.remove.iter().map(|(ty, name)| (*ty, name));
        let names: HashSet<(T, &Name)> = upserted.chain(removed).collect();
        let version = |set: &Self, ty, name: &Name| set.shelf(ty).get(name).map(|one| one.version());
        let differs = |(ty, name): &(T, &Name)| version(self, *ty, name) != version(new, *ty, name);
        names.into_iter().filter(differs).map(|(ty, name)| (ty, name.clone())).collect()
    }

    pub(crate) fn shelf(&self, ty: T) -> &Shelf {
        &self.shelves[position(ty)]
    }

    pub(crate) fn into_shelves(self) -> Vec<Shelf> {
        self.shelves
    }

    pub(crate) fn of_shelves(shelves: Vec<Shelf>) -> Self {
        Self { shelves, types: PhantomData }
    }
}

// === impl Shelf ===

impl Shelf {
    pub(crate) fn get(&self, name: &str) -> Option<&Arc<Resource>> {
        if self.held == 0 {
            return None;
        }
        let hash = HASHES.hash_one(name);
        let part = self.parts.get(part_of(hash))?;
        Some(&part[find(part, hash, name).ok()?].1)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Resource>> {
        self.parts.iter().flat_map(|part| part.iter().map(|(_, resource)| resource))
    }

    pub(crate) fn len(&self) -> usize {
        self.held
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn sum(&self) -> u64 {
        self.sum
    }

    /// Calls `tell` with each name that has another version in `new`, or exists in only one of both. It may be called with others,
    /// and more than once. Parts that both share cost nothing.
    pub(crate) fn differ(&self, new: &Self, mut tell: impl FnMut(&Name)) {
        for (old, new) in self.pairs(new) {
            differ_in_part(old, new, &mut tell);
        }
    }

    /// Returns the number of parts that both don't share.
    pub(crate) fn changed_parts(&self, new: &Self) -> usize {
        self.pairs(new).count()
    }

    /// The pairs of parts that both don't share.
    fn pairs<'a>(&'a self, new: &'a Self) -> impl Iterator<Item = (&'a [Held], &'a [Held])> {
        let parts = if Arc::ptr_eq(&self.parts, &new.parts) { 0 } else { PARTS };
        let pairs = (0..parts).map(|at| (self.parts.get(at), new.parts.get(at)));
        let changed =
            pairs.filter(|(old, new)| !old.zip(*new).is_some_and(|(old, new)| Arc::ptr_eq(old, new)));
        let held = |part: Option<&'a Part>| part.map_or(&[][..], |part| part);
        changed
            .map(move |(old, new)| (held(old), held(new)))
            .filter(|(old, new)| !old.is_empty() || !new.is_empty())
    }

    /// Stores a resource. Returns whether its version differs.
    fn put(&mut self, resource: &Arc<Resource>) -> bool {
        let held = self.get(resource.name());
        let same = held.is_some_and(|held| held.version() == resource.version());
        if same && held.is_some_and(|held| held.companion() == resource.companion()) {
            return false;
        }
        let hash = HASHES.hash_one(&**resource.name());
        let (before, old) = (held.map(|held| held.delta_bytes().len()), held.map_or(0, |held| share(held)));
        let parts = Arc::make_mut(&mut self.parts);
        if parts.is_empty() {
            parts.resize_with(PARTS, Part::default);
        }
        let part = Arc::make_mut(&mut parts[part_of(hash)]);
        match find(part, hash, resource.name()) {
            Ok(at) => part[at].1 = resource.clone(),
            Err(at) => part.insert(at, (hash, resource.clone())),
        }
        self.held += usize::from(before.is_none());
        self.bytes = self.bytes + resource.delta_bytes().len() - before.unwrap_or(0);
        self.sum = self.sum.wrapping_add(share(resource)).wrapping_sub(old);
        !same
    }

    fn remove(&mut self, name: &str) -> Option<Arc<Resource>> {
        self.get(name)?;
        let hash = HASHES.hash_one(name);
        let part = Arc::make_mut(Arc::make_mut(&mut self.parts).get_mut(part_of(hash))?);
        let (_, resource) = part.remove(find(part, hash, name).ok()?);
        self.held -= 1;
        self.bytes -= resource.delta_bytes().len();
        self.sum = self.sum.wrapping_sub(share(&resource));
        Some(resource)
    }
}

/// See [`Shelf::differ`]. Where several names have the same hash, all of them may be told.
fn differ_in_part(old: &[Held], new: &[Held], tell: &mut impl FnMut(&Name)) {
    let rank = |one: Option<&Held>| one.map_or(u128::MAX, |(hash, _)| u128::from(*hash));
    let (mut at, mut new_at) = (0, 0);
    while at < old.len() || new_at < new.len() {
        let order = rank(old.get(at)).cmp(&rank(new.get(new_at)));
        let was = old.get(at).filter(|_| order.is_le());
        let is = new.get(new_at).filter(|_| order.is_ge());
        (at, new_at) = (at + usize::from(was.is_some()), new_at + usize::from(is.is_some()));
        let same = was.zip(is).is_some_and(|((_, was), (_, is))| {
            Arc::ptr_eq(was, is) || was.name() == is.name() && was.version() == is.version()
        });
        if !same {
            was.into_iter().chain(is).for_each(|(_, one)| tell(one.name()));
        }
    }
}

fn share(resource: &Resource) -> u64 {
    resource.version().share(resource.name())
}

fn part_of(hash: u64) -> usize {
    (hash >> 56) as usize
}

/// The place of a name in a part, or where it would be.
fn find(part: &[Held], hash: u64, name: &str) -> Result<usize, usize> {
    let start = part.partition_point(|(one, _)| *one < hash);
    let same = part[start..].iter().take_while(|(one, _)| *one == hash);
    let at = same.map(|(_, resource)| resource).position(|resource| **resource.name() == *name);
    at.map(|at| start + at).ok_or(start)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{EnvoyType, Version};

    fn put(name: &str, body: &[u8]) -> Changes<EnvoyType> {
        let resource = Resource::new(EnvoyType::Cluster, name, body);
        Changes { upsert: vec![(EnvoyType::Cluster, resource)], remove: Vec::new() }
    }

    fn remove(name: &str) -> Changes<EnvoyType> {
        Changes { upsert: Vec::new(), remove: vec![(EnvoyType::Cluster, name.into())] }
    }

    fn names(differ: Vec<(EnvoyType, Name)>) -> Vec<String> {
        differ.into_iter().map(|(_, name)| name.to_string()).collect()
    }

    #[test]
    fn a_changed_set_leaves_its_copies_as_they_were() {
        let mut set = Base::default();
        for i in 0..1_000 {
            assert_eq!(names(set.apply(&put(&i.to_string(), b"1"))), [i.to_string()]);
        }
        let before = set.clone();
        assert_eq!(names(set.apply(&put("7", b"22"))), ["7"]);
        assert_eq!(names(set.apply(&put("7", b"22"))), [""; 0]);
        assert_eq!(names(set.apply(&remove("8"))), ["8"]);
        assert_eq!(names(set.apply(&remove("8"))), [""; 0]);
        let (old, new) = (before.shelf(EnvoyType::Cluster), set.shelf(EnvoyType::Cluster));
        let body = |shelf: &Shelf, name| shelf.get(name).map(|one| one.body().to_vec());
        assert_eq!([body(old, "7"), body(old, "8")], [Some(b"1".to_vec()), Some(b"1".to_vec())]);
        assert_eq!([body(new, "7"), body(new, "8")], [Some(b"22".to_vec()), None]);
        assert_eq!((old.len(), new.len(), new.iter().count()), (1_000, 999, 999));
        let sizes = |shelf: &Shelf| shelf.iter().map(|one| one.delta_bytes().len()).sum::<usize>();
        assert_eq!([old.bytes(), new.bytes()], [sizes(old), sizes(new)]);
        let sum = |shelf: &Shelf| Version::of_set(shelf.iter().map(|one| (one.name(), one.version())));
        assert_eq!([old, new].map(|shelf| Version(shelf.sum())), [sum(old), sum(new)]);
        let shared = old.parts.iter().zip(new.parts.iter()).filter(|(a, b)| Arc::ptr_eq(a, b)).count();
        assert!(shared >= PARTS - 2, "only {shared} parts are shared");
        let told = |old: &Shelf, new: &Shelf| {
            let mut told = std::collections::BTreeSet::new();
            old.differ(new, |name| {
                told.insert(name.to_string());
            });
            told.into_iter().collect::<Vec<_>>()
        };
        assert_eq!([told(old, new), told(new, old)], [["7", "8"], ["7", "8"]]);
        let empty = Shelf::default();
        assert_eq!((told(new, new).len(), told(&empty, new).len()), (0, 999));
        let changed = [old.changed_parts(new), empty.changed_parts(&empty), empty.changed_parts(new)];
        assert!(changed[0] <= 2 && changed[1] == 0 && changed[2] > 200, "{changed:?}");
        let both = Changes { upsert: put("7", b"22").upsert, remove: remove("8").remove };
        let mut differ = names(before.differ(&set, &both));
        differ.sort();
        assert_eq!(differ, ["7", "8"]);
        assert!(set.differ(&set, &both).is_empty());
    }

    #[test]
    fn an_upsert_wins_over_a_removal_of_the_same_name() {
        let mut set = Base::default();
        set.apply(&put("a", b"1"));
        let both = Changes { upsert: put("a", b"2").upsert, remove: remove("a").remove };
        assert_eq!(names(set.apply(&both)), ["a"]);
        assert_eq!(set.shelf(EnvoyType::Cluster).len(), 1);
    }
}
