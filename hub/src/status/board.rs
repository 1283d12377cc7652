//! Decides when an object's conditions are written. The first write contains all of them and happens at the last answer of
//! the object's proxies or after [`FIRST`], whichever is first. Later changes are spread over [`JITTER`]. Pure. Entry
//! point: [`Board`].

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

use k8s_openapi::jiff::Timestamp;
use portreeve_api::conditions;
use portreeve_api::kind::Kind;
use portreeve_api::refs::ObjectRef;
use xxhash_rust::xxh3::xxh3_64;

use super::contributions::Contributions;
use super::{ObjectStatus, PATIENCE};
use crate::change::Seen;

/// How long the first write for a version waits for the proxies' answers. Shorter, and on a busy cluster most objects are written
/// twice, which delays all others.
pub const FIRST: Duration = Duration::from_secs(1);

/// The time over which simultaneous later changes of many objects are spread.
pub const JITTER: Duration = Duration::from_secs(1);

/// How long a failed write waits for its next attempt.
const AGAIN: Duration = Duration::from_secs(2);

/// How long a write for which a right is missing waits for its next attempt.
const FORBIDDEN: Duration = Duration::from_secs(60);

/// The interval between writes of a count that keeps changing while proxies have yet to answer.
const PROGRESS: Duration = Duration::from_secs(10);

/// The conditions to write, and when.
#[derive(Default)]
pub struct Board {
    entries: HashMap<ObjectRef, Entry>,
    /// What other objects contribute to statuses, including those of objects that are not known yet.
    contributions: Contributions,
    due: BTreeSet<(Instant, ObjectRef)>,
}

struct Entry {
    /// The intended status.
    intended: ObjectStatus,
    /// The status last written. `None` if it is not known.
    written: Option<ObjectStatus>,
    /// The generation of the object and the version of its Plan to which `since` applies.
    version: (i64, Option<u64>),
    /// When that version was first seen.
    since: Instant,
    due: Option<Instant>,
}

// === impl Board ===

impl Board {
    /// Returns how long this version of an object has been known. For a new version the time starts now.
    pub fn waited(&mut self, key: &ObjectRef, version: (i64, Option<u64>), now: Instant) -> Duration {
        let fresh =
            || Entry { intended: ObjectStatus::default(), written: None, version, since: now, due: None };
        let entry = self.entries.entry(key.clone()).or_insert_with(fresh);
        if entry.version != version {
            (entry.version, entry.since) = (version, now);
        }
        now.saturating_duration_since(entry.since)
    }

    /// Sets the intended status. [`Board::waited`] must have been called before for this object.
    pub fn set(&mut self, key: &ObjectRef, status: ObjectStatus, now: Instant) {
        self.put(key, ObjectStatus { parts: self.contributions.of(key), ..status }, now);
    }

    /// Replaces everything that the object `by` contributes to statuses: for each object the conditions.
    pub fn contribute(
        &mut self,
        by: &ObjectRef,
        parts: BTreeMap<ObjectRef, Vec<conditions::Verdict>>,
        now: Instant,
    ) {
        for about in self.contributions.set(by, parts) {
            self.compose(&about, now);
        }
    }

    /// Updates the parts of a status that other objects contribute.
    fn compose(&mut self, about: &ObjectRef, now: Instant) {
        let Some(entry) = self.entries.get(about) else { return };
        let status = ObjectStatus { parts: self.contributions.of(about), ..entry.intended.clone() };
        self.put(about, status, now);
    }

    fn put(&mut self, key: &ObjectRef, status: ObjectStatus, now: Instant) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        entry.intended = status;
        let due = entry.when(key, now);
        // A scheduled write is never postponed, but a complete answer may bring it forward.
        let due = match (entry.due, due) {
            (Some(old), Some(new)) => Some(old.min(new)),
            (_, new) => new,
        };
        self.set_due(key, due);
    }

    /// Compares the written status with what was seen in the API server, because another client may have overwritten it.
    pub fn observe(&mut self, key: &ObjectRef, seen: &Seen, now: Instant) {
        let Some(entry) = self.entries.get(key) else { return };
        let Some(written) = &entry.written else { return };
        if entry.due.is_some() || !differs(written, seen) {
            return;
        }
        let at = now + jitter(key);
        self.set_due(key, Some(at));
    }

    /// Records that the status was written, or was already in place.
    pub fn written(&mut self, key: &ObjectRef, status: ObjectStatus, now: Instant) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        entry.written = Some(status);
        let due = entry.when(key, now);
        self.set_due(key, due);
    }

    /// Records that a write failed.
    pub fn failed(&mut self, key: &ObjectRef, now: Instant) {
        self.set_due(key, Some(now + AGAIN));
    }

    /// Records that a right for a write is missing.
    pub fn forbidden(&mut self, key: &ObjectRef, now: Instant) {
        self.set_due(key, Some(now + FORBIDDEN + jitter(key)));
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

    /// Removes an object.
    pub fn forget(&mut self, key: &ObjectRef) {
        self.set_due(key, None);
        self.entries.remove(key);
    }

    /// Takes the objects that are due, at most `most`.
    pub fn take(&mut self, most: usize, now: Instant) -> Vec<(ObjectRef, ObjectStatus)> {
        let mut taken = Vec::new();
        while taken.len() < most
            && let Some((_, key)) = self.due.first().filter(|(at, _)| *at <= now).cloned()
        {
            self.set_due(&key, None);
            taken.extend(self.entries.get(&key).map(|entry| (key, entry.intended.clone())));
        }
        taken
    }

    /// Returns when the next object is due.
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
        let first = if self.intended.pending { (self.since + FIRST).max(now) } else { now };
        let Some(written) = &self.written else { return Some(first) };
        if *written == self.intended {
            return None;
        }
        if generation(written) != generation(&self.intended) {
            return Some(first);
        }
        Some(match (written.pending, self.intended.pending) {
            // All proxies have answered now.
            (true, false) => now,
            (true, true) => now + PROGRESS,
            // An endpoint is changing or a proxy has reconnected. This is usually over within `PATIENCE`.
            (false, true) => now + PATIENCE,
            (false, false) => now + jitter(key),
        })
    }
}

/// Returns whether the conditions or the annotation in the API server differ from the written ones.
fn differs(written: &ObjectStatus, seen: &Seen) -> bool {
    let mut stands = seen.conditions.clone();
    let set = |one: &conditions::Verdict| conditions::set(&mut stands, one.clone(), Timestamp::UNIX_EPOCH);
    let unannotated = written.applied.is_some() && seen.applied != written.applied;
    written.conditions.iter().map(set).fold(unannotated, |any, one| any | one)
}

fn generation(status: &ObjectStatus) -> Option<i64> {
    status.conditions.iter().filter_map(|one| one.generation).max()
}

/// Returns a delay that is constant for each object and evenly distributed over all objects.
fn jitter(key: &ObjectRef) -> Duration {
    let hash = xxh3_64(key.to_string().as_bytes());
    JITTER.mul_f64((hash % 1000) as f64 / 1000.0)
}
