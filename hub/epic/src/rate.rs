//! A token bucket for each user, or for each peer before it authenticates: [`Limiter`].

use std::sync::Arc;
use std::time::Duration;

use crate::deadlines::Deadlines;

/// Maximum length of a name in bytes. Longer names with the same beginning share a bucket.
const MAX_WHO: usize = 512;

/// Token buckets by names. A bucket is kept as the time when it is full again.
#[derive(Clone, Debug)]
pub struct Limiter {
    /// The time in which a token comes back.
    token: Duration,
    /// The time in which an empty bucket is full again.
    whole: Duration,
    most: usize,
    full_at: Deadlines<Arc<str>>,
}

// === impl Limiter ===

impl Limiter {
    /// Creates a limiter. A bucket holds `burst` tokens and gets `per_second` new ones each second; at most `most` buckets
    /// are kept. A 0 counts as 1.
    pub fn new(per_second: u32, burst: u32, most: usize) -> Self {
        let token = (Duration::from_secs(1) / per_second.max(1)).max(Duration::from_nanos(1));
        Self { token, whole: token * burst.max(1), most: most.max(1), full_at: Deadlines::new() }
    }

    /// Takes a token from a bucket. `now` is the time since any fixed moment, and must not go back.
    ///
    /// Full buckets are dropped to make room for a new one. If there is none, the newcomer is refused, so peers under many
    /// names can't take the tokens of those that came before them.
    ///
    /// # Errors
    /// Returns the time to wait for the next token, or for room.
    pub fn take(&mut self, who: &str, now: Duration) -> Result<(), Duration> {
        let who = &who[..who.floor_char_boundary(MAX_WHO)];
        let full_at = match self.full_at.get(who) {
            Some(time) => time.max(now),
            None => {
                self.make_room(now)?;
                now
            }
        };
        let full_at = full_at.saturating_add(self.token);
        let most = now.saturating_add(self.whole);
        if full_at > most {
            return Err(full_at - most);
        }
        self.full_at.set(who.into(), full_at);
        Ok(())
    }

    fn make_room(&mut self, now: Duration) -> Result<(), Duration> {
        while self.full_at.len() >= self.most {
            match self.full_at.first() {
                Some(full_at) if full_at > now => return Err(full_at - now),
                _ => self.full_at.remove_first(),
            }
        }
        Ok(())
    }

    /// Returns the number of buckets that are kept.
    pub fn len(&self) -> usize {
        self.full_at.len()
    }

    /// Returns whether no bucket is kept.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
