//! Tokens that were found good a moment ago ([`Cache`]): an agent that reconnects must not cost the API server a review
//! each time. Kept by hash: the tokens themselves are nowhere.

use std::collections::HashMap;

use ring::digest::{SHA256, digest};

/// How long a review is believed, seconds: as long as the API server itself believes a deleted pod's token.
const TRUSTED: i64 = 10;

/// Tokens that are remembered at a time: more than there are agents.
const MOST: usize = 20_000;

/// A token's hash.
type Hash = [u8; 32];

/// Tokens that were found good, with the second until which that counts.
#[derive(Debug, Default)]
pub struct Cache {
    good: HashMap<Hash, i64>,
}

// === impl Cache ===

impl Cache {
    /// Whether a token was found good a moment ago.
    pub fn holds(&self, token: &str, now: i64) -> bool {
        self.good.get(&hash(token)).is_some_and(|until| now < *until)
    }

    /// Remembers a token. When there is no room it is not remembered, and is reviewed again.
    pub fn put(&mut self, token: &str, now: i64) {
        if self.good.len() >= MOST {
            self.good.retain(|_, until| now < *until);
        }
        if self.good.len() < MOST {
            self.good.insert(hash(token), now + TRUSTED);
        }
    }
}

fn hash(token: &str) -> Hash {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_token_counts_for_a_moment() {
        let mut cache = Cache::default();
        cache.put("a", 100);
        assert!(cache.holds("a", 100 + TRUSTED - 1));
        assert!(!cache.holds("a", 100 + TRUSTED));
        assert!(!cache.holds("b", 100));
        assert!(!format!("{cache:?}").contains("\"a\""));
    }

    #[test]
    fn memory_is_bounded_and_old_ones_make_room() {
        let mut cache = Cache::default();
        (0..MOST + 5).for_each(|i| cache.put(&i.to_string(), 100));
        assert_eq!(cache.good.len(), MOST);
        cache.put("late", 100 + TRUSTED);
        assert_eq!(cache.good.len(), 1);
    }
}
