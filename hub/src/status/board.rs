//! Decides when an object's conditions are written. The first write for a version contains all of them and happens at the
//! last answer of the object's proxies or after [`FIRST`], whichever is first. Later changes are spread over [`JITTER`].
//!
//! Writes are in flight concurrently, at most one for each object. Of many due objects, those whose proxies have answered
//! come first, and of the others only [`PENDING_AT_ONCE`] are in flight: most have their answer before their turn, and
//! need one write instead of two. Pure. Entry point: [`Board`].

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use k8s_openapi::jiff::Timestamp;
use portreeve_api::conditions;
use portreeve_api::kind::Kind;
use portreeve_api::refs::ObjectRef;
use xxhash_rust::xxh3::xxh3_64;

use super::contributions::Contributions;
use super::{ObjectStatus, PATIENCE};

/// How long the first write for a version waits for the proxies' answers. Shorter, and on a busy cluster most objects are written
/// twice, which delays all others.
pub const FIRST: Duration = Duration::from_secs(1);

/// The time over which simultaneous later changes of many objects are spread.
pub const JITTER: Duration = Duration::from_secs(1);

/// The least interval between two writes of an object that differ in the texts of messages only. A count may change many times
/// while thousands of agents connect.
const CALM: Duration = Duration::from_secs(3);

/// How long a failed write waits for its next attempt.
const AGAIN: Duration = Duration::from_secs(2);

/// How long a write for which a right is missing waits for its next attempt.
const FORBIDDEN: Duration = Duration::from_secs(60);

/// The interval between writes of a count that keeps changing while proxies have yet to answer.
const PROGRESS: Duration = Duration::from_secs(10);

/// Maximum number of writes in flight. The API server needs about 2 ms of processor time for each.
pub const AT_ONCE: usize = 16;

/// Maximum number of writes in flight that only tell that proxies have yet to answer.
pub const PENDING_AT_ONCE: usize = 2;

/// A write that only tells that proxies have yet to answer is deferred for this long at most while others are due.
const DEFERRED: Duration = Duration::from_secs(3);

/// The conditions to write, and when.
#[derive(Default)]
pub struct Board {
    entries: HashMap<ObjectRef, Entry>,
    /// What other objects contribute to statuses, including those of objects that are not known yet.
    contributions: Contributions,
    /// Due objects whose proxies have answered.
    answered: Queue,
    /// Due objects whose proxies have yet to answer.
    pending: Queue,
}

/// Due objects, and the number of writes in flight.
#[derive(Default)]
struct Queue {
    due: BTreeSet<(Instant, ObjectRef)>,
    flying: usize,
}

/// A write in flight.
#[derive(Clone, Copy)]
struct Flight {
    /// Whether its status is pending.
    pending: bool,
    /// Whether the intended status was set since its start.
    outdated: bool,
}

struct Entry {
    /// The intended status.
    intended: ObjectStatus,
    /// The status last written. `None` if it is not known.
    written: Option<ObjectStatus>,
    /// When that was.
    written_at: Option<Instant>,
    /// The generation of the object and the version of its Plan to which `since` applies.
    version: (i64, Option<u64>),
    /// When that version was first seen.
    since: Instant,
    /// When it is due, and whether its status was pending then. `None` while a write is in flight.
    due: Option<(Instant, bool)>,
    flight: Option<Flight>,
}

// === impl Board ===

impl Board {
    /// Returns how long this version of an object has been known. For a new version the time starts now.
    pub fn waited(&mut self, key: &ObjectRef, version: (i64, Option<u64>), now: Instant) -> Duration {
        let entry = self.entries.entry(key.clone()).or_insert_with(|| Entry::new(version, now));
        let is_edited = entry.version.0 != version.0;
        if entry.version != version {
            (entry.version, entry.since) = (version, now);
        }
        let waited = now.saturating_duration_since(entry.since);
        if is_edited && entry.due.is_some_and(|(_, pending)| pending) {
            // Proxies have their time for the new generation.
            self.set_due(key, None);
        }
        waited
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
        if let Some(flight) = &mut entry.flight {
            flight.outdated = true;
            return;
        }
        let due = entry.when(key, now);
        // A scheduled write is never postponed, but a complete answer may bring it forward.
        let due = match (entry.due, due) {
            (Some((old, _)), Some(new)) => Some(old.min(new)),
            (_, new) => new,
        };
        self.set_due(key, due);
    }

    /// Compares the written status with the conditions and the annotated generation that were seen in the API server, because
    /// another client may have overwritten them.
    pub fn observe(&mut self, key: &ObjectRef, seen: (&[Condition], Option<i64>), now: Instant) {
        let Some(entry) = self.entries.get(key) else { return };
        let Some(written) = &entry.written else { return };
        if entry.due.is_some() || entry.flight.is_some() || !differs(written, seen) {
            return;
        }
        let at = now + jitter(key);
        self.set_due(key, Some(at));
    }

    /// Records that the status was written, or was already in place.
    pub fn written(&mut self, key: &ObjectRef, status: ObjectStatus, now: Instant) {
        self.land(key);
        let Some(entry) = self.entries.get_mut(key) else { return };
        (entry.written, entry.written_at) = (Some(status), Some(now));
        let due = entry.when(key, now);
        self.set_due(key, due);
    }

    /// Records that a write was given up, because the object is gone or has changed. A watch event follows, or came during
    /// the write.
    pub fn passed(&mut self, key: &ObjectRef, now: Instant) {
        let outdated = self.land(key).is_some_and(|flight| flight.outdated);
        let Some(entry) = self.entries.get(key).filter(|_| outdated) else { return };
        let due = entry.when(key, now);
        self.set_due(key, due);
    }

    /// Records that a write failed.
    pub fn failed(&mut self, key: &ObjectRef, now: Instant) {
        self.land(key);
        self.set_due(key, Some(now + AGAIN));
    }

    /// Records that a right for a write is missing.
    pub fn forbidden(&mut self, key: &ObjectRef, now: Instant) {
        self.land(key);
        self.set_due(key, Some(now + FORBIDDEN + jitter(key)));
    }

    /// Everything that is known of a kind's objects is to be written again: nothing of it stands there.
    pub fn write_again(&mut self, kind: &Kind, now: Instant) {
        let of_kind = self.entries.iter_mut().filter(|(key, _)| key.kind == kind);
        let of_kind = of_kind.map(|(key, entry)| {
            entry.written = None;
            (key.clone(), entry.flight.is_some())
        });
        for (key, flies) in of_kind.collect::<Vec<_>>() {
            let at = now + jitter(&key);
            self.set_due(&key, Some(at).filter(|_| !flies));
        }
    }

    /// Removes an object. A write in flight must have been cancelled.
    pub fn forget(&mut self, key: &ObjectRef) {
        self.set_due(key, None);
        self.land(key);
        self.entries.remove(key);
    }

    /// Takes an object that is due and whose write may begin. The write must be recorded as written, passed, failed or
    /// forbidden.
    pub fn take(&mut self, now: Instant) -> Option<(ObjectRef, ObjectStatus)> {
        let (answered, pending) = (self.answered.next(AT_ONCE), self.pending.next(PENDING_AT_ONCE));
        let full = self.answered.flying + self.pending.flying >= AT_ONCE;
        let is_due = |next: &&(Instant, ObjectRef)| next.0 <= now && !full;
        let overdue = pending.filter(|next| is_due(next) && next.0 + DEFERRED <= now);
        let next = overdue.or(answered.filter(is_due)).or(pending.filter(is_due));
        let (_, key) = next.cloned()?;
        self.set_due(&key, None);
        let entry = self.entries.get_mut(&key)?;
        let (status, pending) = (entry.intended.clone(), entry.intended.pending);
        entry.flight = Some(Flight { pending, outdated: false });
        self.queue(pending).flying += 1;
        Some((key, status))
    }

    /// Returns when the next object is due whose write may begin.
    pub fn deadline(&self) -> Option<Instant> {
        if self.answered.flying + self.pending.flying >= AT_ONCE {
            return None;
        }
        let next = [self.answered.next(AT_ONCE), self.pending.next(PENDING_AT_ONCE)];
        next.into_iter().flatten().map(|(at, _)| *at).min()
    }

    fn land(&mut self, key: &ObjectRef) -> Option<Flight> {
        let flight = self.entries.get_mut(key)?.flight.take()?;
        self.queue(flight.pending).flying -= 1;
        Some(flight)
    }

    fn queue(&mut self, pending: bool) -> &mut Queue {
        if pending { &mut self.pending } else { &mut self.answered }
    }

    fn set_due(&mut self, key: &ObjectRef, due: Option<Instant>) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        let due = due.map(|at| (at, entry.intended.pending));
        if let Some((at, pending)) = std::mem::replace(&mut entry.due, due) {
            self.queue(pending).due.remove(&(at, key.clone()));
        }
        if let Some((at, pending)) = due {
            self.queue(pending).due.insert((at, key.clone()));
        }
    }
}

// === impl Queue ===

impl Queue {
    /// Returns the first due object, unless `most` writes are in flight.
    fn next(&self, most: usize) -> Option<&(Instant, ObjectRef)> {
        self.due.first().filter(|_| self.flying < most)
    }
}

// === impl Entry ===

impl Entry {
    fn new(version: (i64, Option<u64>), now: Instant) -> Self {
        let intended = ObjectStatus::default();
        Self { intended, written: None, written_at: None, version, since: now, due: None, flight: None }
    }

    /// Returns when the intended status is to be written.
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
            (false, false) => {
                let calm = self.written_at.filter(|_| same_but_for_texts(written, &self.intended));
                (now + jitter(key)).max(calm.map_or(now, |at| at + CALM))
            }
        })
    }
}

/// Returns whether the conditions or the annotation in the API server differ from the written ones.
fn differs(written: &ObjectStatus, (conditions, applied): (&[Condition], Option<i64>)) -> bool {
    let mut stands = conditions.to_vec();
    let set = |one: &conditions::Verdict| conditions::set(&mut stands, one.clone(), Timestamp::UNIX_EPOCH);
    let unannotated = written.applied.is_some() && applied != written.applied;
    written.conditions.iter().map(set).fold(unannotated, |any, one| any | one)
}

/// Returns whether only messages differ.
fn same_but_for_texts(one: &ObjectStatus, other: &ObjectStatus) -> bool {
    let silent = |status: &ObjectStatus| {
        let mut silent = status.clone();
        silent.conditions.iter_mut().for_each(|condition| condition.message.clear());
        silent
    };
    silent(one) == silent(other)
}

fn generation(status: &ObjectStatus) -> Option<i64> {
    status.conditions.iter().filter_map(|one| one.generation).max()
}

/// Returns a delay that is constant for each object and evenly distributed over all objects.
fn jitter(key: &ObjectRef) -> Duration {
    let hash = xxh3_64(key.to_string().as_bytes());
    JITTER.mul_f64((hash % 1000) as f64 / 1000.0)
}
