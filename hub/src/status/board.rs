//! When an object's conditions are written: once, with all of them, at the last answer of its proxies or after
//! [`FIRST`], whichever is first; later changes are spread over [`JITTER`]. Pure. Entry point: [`Board`].

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use k8s_openapi::jiff::Timestamp;
use portreeve_api::conditions;
use portreeve_api::kind::Kind;
use portreeve_api::refs::ObjectRef;
use xxhash_rust::xxh3::xxh3_64;

use super::contributions::Contributions;
use super::{PATIENCE, Said};

/// How long the first word on a version waits for the proxies.
pub const FIRST: Duration = Duration::from_millis(300);

/// Later changes of many objects at a time are spread over this.
pub const JITTER: Duration = Duration::from_secs(1);

/// How long what failed waits for its next attempt.
const AGAIN: Duration = Duration::from_secs(2);

/// How long a count that goes on changing while proxies have yet to answer waits for its next write.
const PROGRESS: Duration = Duration::from_secs(10);

/// What is to be written, and when.
#[derive(Default)]
pub struct Board {
    entries: HashMap<ObjectRef, Entry>,
    /// What other objects contribute to statuses, also of objects that are not known yet.
    contributions: Contributions,
    due: BTreeSet<(Instant, ObjectRef)>,
}

struct Entry {
    /// What is to stand there.
    said: Said,
    /// What stands there, as far as it is known.
    written: Option<Said>,
    /// The version of the object and of its Plan that `since` is about.
    version: (i64, Option<u64>),
    /// When that version came up.
    since: Instant,
    due: Option<Instant>,
}

// === impl Board ===

impl Board {
    /// How long this version of an object has been known; a version that is new begins now.
    pub fn waited(&mut self, key: &ObjectRef, version: (i64, Option<u64>), now: Instant) -> Duration {
        let fresh = || Entry { said: Said::default(), written: None, version, since: now, due: None };
        let entry = self.entries.entry(key.clone()).or_insert_with(fresh);
        if entry.version != version {
            (entry.version, entry.since) = (version, now);
        }
        now.saturating_duration_since(entry.since)
    }

    /// What is to stand there, [`Board::waited`] being asked before.
    pub fn say(&mut self, key: &ObjectRef, said: Said, now: Instant) {
        self.put(key, Said { parts: self.contributions.of(key), ..said }, now);
    }

    /// What the object `by` contributes to the status of `about`, in place of what it contributed to it before.
    pub fn contribute(
        &mut self,
        about: &ObjectRef,
        by: &ObjectRef,
        part: Vec<conditions::Verdict>,
        now: Instant,
    ) {
        self.contributions.set(about, by, part);
        self.compose(about, now);
    }

    /// The object `by` contributes to no status any more.
    pub fn withdraw(&mut self, by: &ObjectRef, now: Instant) {
        for about in self.contributions.remove(by) {
            self.compose(&about, now);
        }
    }

    /// Renews the parts of a status that others contribute.
    fn compose(&mut self, about: &ObjectRef, now: Instant) {
        let Some(entry) = self.entries.get(about) else { return };
        let said = Said { parts: self.contributions.of(about), ..entry.said.clone() };
        self.put(about, said, now);
    }

    fn put(&mut self, key: &ObjectRef, said: Said, now: Instant) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        entry.said = said;
        let due = entry.when(key, now);
        // What waits already keeps its place, but for an answer that is complete.
        let due = match (entry.due, due) {
            (Some(old), Some(new)) => Some(old.min(new)),
            (_, new) => new,
        };
        self.set_due(key, due);
    }

    /// What stands there, by the API server's own word: somebody may have overwritten it.
    pub fn observe(&mut self, key: &ObjectRef, stands: &[Condition], now: Instant) {
        let Some(entry) = self.entries.get(key) else { return };
        let Some(written) = &entry.written else { return };
        if entry.due.is_some() || !differs(written, stands) {
            return;
        }
        let at = now + jitter(key);
        self.set_due(key, Some(at));
    }

    /// It was written, or stood there already.
    pub fn written(&mut self, key: &ObjectRef, said: Said, now: Instant) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        entry.written = Some(said);
        let due = entry.when(key, now);
        self.set_due(key, due);
    }

    /// It could not be written.
    pub fn failed(&mut self, key: &ObjectRef, now: Instant) {
        self.set_due(key, Some(now + AGAIN));
    }

    /// Everything that is known of a kind's objects is to be written again: nothing of it stands there.
    pub fn write_again(&mut self, kind: &Kind, now: Instant) {
        let of_kind: Vec<ObjectRef> = self.entries.keys().filter(|key| key.kind == kind).cloned().collect();
        for key in of_kind {
            if let Some(entry) = self.entries.get_mut(&key) {
                entry.written = None;
            }
            let at = now + jitter(&key);
            self.set_due(&key, Some(at));
        }
    }

    /// The object is gone.
    pub fn forget(&mut self, key: &ObjectRef) {
        self.set_due(key, None);
        self.entries.remove(key);
    }

    /// Takes what is due, at most as many as that.
    pub fn take(&mut self, most: usize, now: Instant) -> Vec<(ObjectRef, Said)> {
        let mut taken = Vec::new();
        while taken.len() < most
            && let Some((_, key)) = self.due.first().filter(|(at, _)| *at <= now).cloned()
        {
            self.set_due(&key, None);
            taken.extend(self.entries.get(&key).map(|entry| (key, entry.said.clone())));
        }
        taken
    }

    /// When something is due next.
    pub fn deadline(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    fn set_due(&mut self, key: &ObjectRef, due: Option<Instant>) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        if let Some(old) = std::mem::replace(&mut entry.due, due) {
            self.due.remove(&(old, key.clone()));
        }
        if let Some(new) = due {
            self.due.insert((new, key.clone()));
        }
    }
}

// === impl Entry ===

impl Entry {
    fn when(&self, key: &ObjectRef, now: Instant) -> Option<Instant> {
        let first = if self.said.pending { (self.since + FIRST).max(now) } else { now };
        let Some(written) = &self.written else { return Some(first) };
        if *written == self.said {
            return None;
        }
        if generation(written) != generation(&self.said) {
            return Some(first);
        }
        Some(match (written.pending, self.said.pending) {
            // The answer that was waited for.
            (true, false) => now,
            (true, true) => now + PROGRESS,
            // An endpoint's change is under way, or a proxy came back: mostly over before anybody could read of it.
            (false, true) => now + PATIENCE,
            (false, false) => now + jitter(key),
        })
    }
}

/// Whether what stands there is not what was written.
fn differs(written: &Said, stands: &[Condition]) -> bool {
    let mut stands = stands.to_vec();
    let set = |one: &conditions::Verdict| conditions::set(&mut stands, one.clone(), Timestamp::UNIX_EPOCH);
    written.conditions.iter().map(set).fold(false, |any, one| any | one)
}

fn generation(said: &Said) -> Option<i64> {
    said.conditions.iter().filter_map(|one| one.generation).max()
}

/// Always the same for one object, and evenly spread over all.
fn jitter(key: &ObjectRef) -> Duration {
    let hash = xxh3_64(key.to_string().as_bytes());
    JITTER.mul_f64((hash % 1000) as f64 / 1000.0)
}
