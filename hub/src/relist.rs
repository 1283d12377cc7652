//! The objects that a watch has passed on, to find those that a new list lacks ([`Relist`]).

use std::collections::HashSet;
use std::hash::Hash;

/// The ids of a watch's objects. The list may arrive in portions.
#[derive(Debug)]
pub struct Relist<I> {
    /// The objects that exist, as far as the last list and the later events tell.
    known: HashSet<I>,
    /// The objects known before that the list being received did not have so far; after it, those that are gone.
    unlisted: HashSet<I>,
}

// === impl Relist ===

impl<I> Default for Relist<I> {
    fn default() -> Self {
        Self { known: HashSet::new(), unlisted: HashSet::new() }
    }
}

impl<I: Eq + Hash + Clone> Relist<I> {
    /// Starts a list. It replaces one that is incomplete.
    pub fn begin(&mut self) {
        let known = std::mem::take(&mut self.known);
        match self.unlisted.is_empty() {
            true => self.unlisted = known,
            false => self.unlisted.extend(known),
        }
    }

    /// Records an object of the list, or one that was created or changed.
    pub fn put(&mut self, id: I) {
        self.unlisted.remove(&id);
        self.known.insert(id);
    }

    /// Records that an object was deleted.
    pub fn remove(&mut self, id: &I) {
        self.unlisted.remove(id);
        self.known.remove(id);
    }

    /// Takes up to `count` of the objects that the complete list lacked.
    pub fn take_gone(&mut self, count: usize) -> Vec<I> {
        let gone: Vec<I> = self.unlisted.iter().take(count).cloned().collect();
        for id in &gone {
            self.unlisted.remove(id);
        }
        if self.unlisted.is_empty() {
            self.unlisted = HashSet::new();
        }
        gone
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes everything that is gone, two at a time.
    fn gone(relist: &mut Relist<u8>) -> Vec<u8> {
        let mut all = Vec::new();
        loop {
            let some = relist.take_gone(2);
            if some.is_empty() {
                all.sort_unstable();
                return all;
            }
            assert!(some.len() <= 2);
            all.extend(some);
        }
    }

    fn list(relist: &mut Relist<u8>, ids: &[u8]) {
        relist.begin();
        ids.iter().for_each(|id| relist.put(*id));
    }

    #[test]
    fn what_a_list_lacks_is_gone() {
        let mut relist = Relist::default();
        list(&mut relist, &[1, 2, 3, 4]);
        assert!(gone(&mut relist).is_empty());
        relist.put(5);
        relist.remove(&1);
        list(&mut relist, &[4, 6]);
        assert_eq!(gone(&mut relist), [2, 3, 5]);
        list(&mut relist, &[]);
        assert_eq!(gone(&mut relist), [4, 6]);
    }

    #[test]
    fn objects_of_an_incomplete_list_and_those_before_it_are_gone_unless_the_next_list_has_them() {
        let mut relist = Relist::default();
        list(&mut relist, &[1, 2]);
        list(&mut relist, &[1, 3]);
        list(&mut relist, &[1]);
        assert_eq!(gone(&mut relist), [2, 3]);
    }
}
