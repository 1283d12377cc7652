//! Limits a resource per guest: [`Seats`] counts it, and a [`Seat`] is taken until it is dropped.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

type Taken<K> = Arc<Mutex<HashMap<K, usize>>>;

/// The taken seats of each guest. Guests without a seat need no memory.
#[derive(Debug)]
pub struct Seats<K> {
    taken: Taken<K>,
}

/// A taken seat.
#[derive(Debug)]
pub struct Seat<K: Eq + Hash> {
    taken: Taken<K>,
    guest: K,
}

// === impl Seats ===

impl<K> Default for Seats<K> {
    fn default() -> Self {
        Self { taken: Arc::default() }
    }
}

impl<K: Eq + Hash + Clone> Seats<K> {
    /// Takes a seat for `guest`, unless the guest has `limit` already.
    pub fn take(&self, guest: &K, limit: usize) -> Option<Seat<K>> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let count = taken.get(guest).copied().unwrap_or_default();
        if count >= limit {
            return None;
        }
        taken.insert(guest.clone(), count + 1);
        Some(Seat { taken: self.taken.clone(), guest: guest.clone() })
    }
}

// === impl Seat ===

impl<K: Eq + Hash> Drop for Seat<K> {
    fn drop(&mut self) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = taken.get_mut(&self.guest) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.guest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Seats;

    #[test]
    fn one_guest_has_no_more_than_the_limit_and_others_do_not_mind() {
        let seats = Seats::default();
        let first: Vec<_> = (0..2).map(|_| seats.take(&"a", 2)).collect();
        assert!(first.iter().all(Option::is_some));
        assert!(seats.take(&"a", 2).is_none());
        assert!(seats.take(&"b", 2).is_some());
        drop(first);
        assert!(seats.take(&"a", 1).is_some());
        assert!(seats.taken.lock().unwrap().is_empty(), "nothing is left of those who went");
    }
}
