//! Results of password checks, for one minute: [`Cache`]. bcrypt is slow on purpose, and a node agent sends its password
//! with each request.

use std::fmt;
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use crate::auth::Credentials;
use crate::deadlines::Deadlines;

/// How long a result is kept. A removed user can be let in for as long if the caller's version doesn't change.
pub const KEPT: Duration = Duration::from_secs(60);

/// A check: a version of a file, a user and a password. It holds only a salted SHA-256 of them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Check([u8; 32]);

/// Results of checks. Right and wrong passwords have separate room, so guesses don't push right passwords out.
#[derive(Clone)]
pub struct Cache {
    salt: [u8; 16],
    most: usize,
    right: Deadlines<Check>,
    wrong: Deadlines<Check>,
}

// === impl Cache ===

impl Cache {
    /// Creates a cache for `most` right and `most` wrong passwords; a 0 counts as 1. `salt` is 16 random bytes that nobody
    /// else knows.
    pub fn new(salt: [u8; 16], most: usize) -> Self {
        Self { salt, most: most.max(1), right: Deadlines::new(), wrong: Deadlines::new() }
    }

    /// Returns the key of a check. `version` is another one whenever the users change, for example the Secret's namespace,
    /// name and resourceVersion.
    pub fn check(&self, version: &str, credentials: &Credentials) -> Check {
        let mut hash = Sha256::new_with_prefix(self.salt);
        // Texts and their lengths, so that no two checks are the same bytes.
        for text in [version, credentials.user(), credentials.password()] {
            hash.update(u64::try_from(text.len()).unwrap_or(u64::MAX).to_be_bytes());
            hash.update(text);
        }
        Check(hash.finalize().into())
    }

    /// Returns whether the password was right; `None` if it wasn't checked in the last minute. `now` is the time since any
    /// fixed moment, and must not go back.
    pub fn get(&self, check: &Check, now: Duration) -> Option<bool> {
        let fresh = |results: &Deadlines<Check>| results.get(check).is_some_and(|end| end > now);
        match fresh(&self.right) {
            true => Some(true),
            false => fresh(&self.wrong).then_some(false),
        }
    }

    /// Keeps a result for a minute. If there is no room, the oldest result of the same kind goes.
    pub fn put(&mut self, check: Check, right: bool, now: Duration) {
        let most = self.most;
        let results = if right { &mut self.right } else { &mut self.wrong };
        while results.get(&check).is_none() && results.len() >= most {
            results.remove_first();
        }
        results.set(check, now.saturating_add(KEPT));
    }

    /// Removes the results that are older than a minute.
    pub fn sweep(&mut self, now: Duration) {
        for results in [&mut self.right, &mut self.wrong] {
            while results.first().is_some_and(|end| end <= now) {
                results.remove_first();
            }
        }
    }

    /// Returns the number of right and of wrong passwords that are kept.
    pub fn counts(&self) -> (usize, usize) {
        (self.right.len(), self.wrong.len())
    }
}

impl fmt::Debug for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Check(..)")
    }
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache").field("counts", &self.counts()).finish_non_exhaustive()
    }
}
