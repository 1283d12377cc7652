//! Tokens that were recently verified ([`Cache`]), so that an agent that reconnects doesn't cost the API server a
//! review each time. The cache stores only hashes, never the tokens.

use std::collections::HashMap;

use ring::digest::{SHA256, digest};

/// How long the result of a review is trusted, in seconds: as long as the API server itself trusts the token of a
/// deleted pod.
const TRUSTED: i64 = 10;

/// Maximum number of cached tokens, which exceeds the number of agents.
const MOST: usize = 20_000;

/// A token's hash.
type Hash = [u8; 32];

/// Verified tokens, each with the second at which the entry expires.
#[derive(Debug, Default)]
pub struct Cache {
    good: HashMap<Hash, i64>,
}

// === impl Cache ===

impl Cache {
    /// Returns whether a token was verified recently.
    pub fn holds(&self, token: &str, now: i64) -> bool {
        self.good.get(&hash(token)).is_some_and(|until| now < *until)
    }

    /// Adds a token. If the cache is full, the token isn't added and will be reviewed again.
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
