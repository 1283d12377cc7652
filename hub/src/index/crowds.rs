//! Sets of members by hash, most of which have one member ([`Crowds`]).

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};

/// Sets of members.
pub struct Crowds<M>(HashMap<u64, Crowd<M>>);

enum Crowd<M> {
    One(M),
    Many(BTreeSet<M>),
}

impl<M> Default for Crowds<M> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

// === impl Crowds ===

impl<M: Ord + Clone> Crowds<M> {
    /// Adds a member to a set.
    pub fn insert(&mut self, at: u64, member: M) {
        match self.0.entry(at) {
            Entry::Vacant(free) => drop(free.insert(Crowd::One(member))),
            Entry::Occupied(mut held) => held.get_mut().insert(member),
        }
    }

    /// Removes a member from a set.
    pub fn remove(&mut self, at: u64, member: &M) {
        let Entry::Occupied(mut held) = self.0.entry(at) else { return };
        let is_last = match held.get_mut() {
            Crowd::One(one) => one == member,
            Crowd::Many(many) => {
                many.remove(member);
                many.is_empty()
            }
        };
        if is_last {
            held.remove();
        }
    }

    /// The number of members of a set.
    pub fn count(&self, at: u64) -> usize {
        match self.0.get(&at) {
            None => 0,
            Some(Crowd::One(_)) => 1,
            Some(Crowd::Many(many)) => many.len(),
        }
    }

    /// The members of a set, in order.
    pub fn of(&self, at: u64) -> impl Iterator<Item = &M> {
        let (one, many) = match self.0.get(&at) {
            None => (None, None),
            Some(Crowd::One(one)) => (Some(one), None),
            Some(Crowd::Many(many)) => (None, Some(many.iter())),
        };
        one.into_iter().chain(many.into_iter().flatten())
    }
}

// === impl Crowd ===

impl<M: Ord + Clone> Crowd<M> {
    fn insert(&mut self, member: M) {
        match self {
            Self::One(one) => *self = Self::Many([one.clone(), member].into()),
            Self::Many(many) => drop(many.insert(member)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_grow_and_shrink_between_none_one_and_many() {
        let mut crowds = Crowds::default();
        let of = |crowds: &Crowds<u8>| (crowds.count(7), crowds.of(7).copied().collect::<Vec<_>>());
        for (member, expected) in [(3, vec![3]), (3, vec![3]), (1, vec![1, 3]), (2, vec![1, 2, 3])] {
            crowds.insert(7, member);
            assert_eq!(of(&crowds), (expected.len(), expected));
        }
        for (member, expected) in [(9, vec![1, 2, 3]), (1, vec![2, 3]), (3, vec![2]), (2, vec![])] {
            crowds.remove(7, &member);
            assert_eq!(of(&crowds), (expected.len(), expected));
        }
        crowds.insert(7, 4);
        crowds.remove(7, &5);
        crowds.remove(8, &4);
        assert_eq!(of(&crowds).1, [4]);
        crowds.remove(7, &4);
        assert!(crowds.0.is_empty());
    }
}
