//! One id, from the counter that was read to the counter that is stored: [`draw`], [`Draw`], [`Stored`].

use std::fmt;

use super::kind::{Id, IdKind};

/// A counter as it was read from its parent.
#[derive(Clone, Copy, Debug)]
pub struct Reading<'a> {
    /// The parent's kind and name, for errors, for example `Account epic-a/a`.
    pub parent: &'a str,
    /// The parent's resourceVersion.
    pub version: &'a str,
    /// The counter. `None` and 0 mean that none is stored.
    pub counter: Option<u32>,
}

/// What the API server answered to the write of a counter: the parent as it is now.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a> {
    /// The parent's resourceVersion.
    pub version: &'a str,
    /// The counter.
    pub counter: Option<u32>,
}

/// An id whose counter isn't stored yet. It can't be cloned, and it doesn't yield its id.
#[derive(Debug)]
#[must_use = "the counter must be stored before the id is used"]
pub struct Draw<I> {
    parent: String,
    version: String,
    id: I,
}

/// An id whose counter is stored, so that no other allocator gets it.
#[derive(Debug)]
#[must_use = "an id that no object gets is a gap"]
pub struct Stored<I> {
    parent: String,
    id: I,
}

/// No id is left, because ids are never reused and never wrap (seed C.7).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsedUp {
    /// What the ids number.
    pub kind: IdKind,
    /// The parent's kind and name.
    pub parent: String,
    /// The stored counter, 0 if there is none.
    pub counter: u32,
    /// The object that has the last id, if the counter is lower.
    pub holder: Option<String>,
}

/// The API server's answer doesn't contain the counter that was written, so its id must not be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{parent}: {field} is not stored: {written} was written at resourceVersion {read}, the answer has {found} at {version}: \
     replace the /status subresource, and begin again with a new read",
    field = kind.field(), found = found.map_or_else(|| "none".to_owned(), |found| found.to_string())
)]
pub struct NotStored {
    /// What the id numbers.
    pub kind: IdKind,
    /// The parent's kind and name.
    pub parent: String,
    /// The counter that was written.
    pub written: u32,
    /// The resourceVersion that the write carried.
    pub read: String,
    /// The counter in the answer.
    pub found: Option<u32>,
    /// The resourceVersion in the answer.
    pub version: String,
}

/// A warning about an id that works here, but not with the original's pinger, which parses int16 (seed C.7).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HighId {
    /// What the id numbers.
    pub kind: IdKind,
    /// The parent's kind and name.
    pub parent: String,
    /// The id.
    pub id: u32,
    /// The last id that the pinger reads.
    pub last_readable: u32,
}

/// Draws the id after the highest of the counter and the ids that exist. The first id is 1.
///
/// `existing` has each object with an id below this parent, as (id, kind and name), and each mirror of the counter. An object
/// that is older than the counter may have an id above it, and then the counter continues there (row C34). The objects must be
/// read after the parent. Ids above [`IdKind::last`] are never handed out, so they don't count.
///
/// # Errors
/// Returns an error if no id is left.
pub fn draw<'a, I: Id>(
    reading: Reading<'_>,
    existing: impl IntoIterator<Item = (u32, &'a str)>,
) -> Result<Draw<I>, UsedUp> {
    let counter = reading.counter.unwrap_or_default();
    let known = existing.into_iter().filter(|(id, _)| *id <= I::KIND.last());
    let above = known.filter(|(id, _)| *id > counter).max();
    let highest = above.map_or(counter, |(id, _)| id);
    let next = highest.checked_add(1).and_then(I::from_number);
    let id = next.ok_or_else(|| UsedUp {
        kind: I::KIND,
        parent: reading.parent.to_owned(),
        counter,
        holder: above.map(|(_, object)| object.to_owned()),
    })?;
    Ok(Draw { parent: reading.parent.to_owned(), version: reading.version.to_owned(), id })
}

// === impl Draw ===

impl<I: Id> Draw<I> {
    /// Returns the counter to store in the parent's status.
    pub fn counter(&self) -> u32 {
        self.id.number()
    }

    /// Returns the resourceVersion that the write must carry.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Takes the API server's answer to the write. After a 409 or without an answer there is nothing to confirm: drop the
    /// draw.
    ///
    /// # Errors
    /// Returns an error if the answer has another counter, or the resourceVersion of the read: the write changed nothing, as
    /// when it went to the object instead of its status subresource (seed C.6 "Writing counters").
    pub fn confirm(self, answer: Answer<'_>) -> Result<Stored<I>, NotStored> {
        let written = self.id.number();
        if answer.counter == Some(written) && answer.version != self.version {
            return Ok(Stored { parent: self.parent, id: self.id });
        }
        Err(NotStored {
            kind: I::KIND,
            parent: self.parent,
            written,
            read: self.version,
            found: answer.counter,
            version: answer.version.to_owned(),
        })
    }
}

// === impl Stored ===

impl<I: Id> Stored<I> {
    /// Returns the id, for one object. Writing it again into the same object is fine.
    pub fn into_id(self) -> I {
        self.id
    }

    /// Returns the warning that is due for this id, if any.
    pub fn warning(&self) -> Option<HighId> {
        let last_readable = I::KIND.last_readable().filter(|last| self.id.number() > *last)?;
        Some(HighId { kind: I::KIND, parent: self.parent.clone(), id: self.id.number(), last_readable })
    }
}

// === impl UsedUp ===

impl fmt::Display for UsedUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, field, last) = (self.kind, self.kind.field(), self.kind.last());
        write!(f, "{}: no {kind} is left: ", self.parent)?;
        match &self.holder {
            Some(holder) => write!(
                f,
                "{holder} has {last}, the last one, and ids are never reused: recreate it without a {kind}"
            )?,
            None => write!(
                f,
                "{field} is {}, the last id is {last}, and ids are never reused: to hand out ids of deleted objects again, set \
                 {field} to the highest id in use",
                self.counter
            )?,
        }
        match self.kind {
            IdKind::Service => write!(f, ", or use another Account"),
            IdKind::Group | IdKind::Tunnel => Ok(()),
        }
    }
}

impl std::error::Error for UsedUp {}

// === impl HighId ===

impl fmt::Display for HighId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, parent, id, last_readable } = self;
        write!(
            f,
            "{parent}: {kind} {id} is above {last_readable}, the highest that PureLB's pinger reads: clients with that pinger \
             can't keep its tunnels open behind NAT: "
        )?;
        match kind {
            IdKind::Service => write!(f, "create new LoadBalancers in another Account"),
            IdKind::Group | IdKind::Tunnel => write!(f, "use the pinger of Portreeve's client agent"),
        }
    }
}
