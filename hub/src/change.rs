//! A change of custom resources on its way through the hub: what a watch brought ([`News`]), and what came of it
//! ([`Record`]). Whatever follows changes (convergence, traces, the writer) takes a record and asks for nothing else.

use std::collections::BTreeSet;
use std::time::Instant;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta};
use portreeve_api::kind::Kind;
use portreeve_api::refs::ObjectRef;

use crate::object::{Object, Rejection};

/// What a watch of custom resources brought.
#[derive(Debug)]
pub enum News {
    /// An object was created or changed.
    Put {
        /// The object.
        object: Box<Arrival>,
        /// When the watch brought it.
        at: Instant,
    },
    /// An object was deleted.
    Gone {
        /// Which one.
        key: ObjectRef,
        /// The revision of its deletion.
        revision: u64,
    },
    /// The complete list of a kind, in the namespace that is watched or in all: every other object of the kind is gone.
    Listed {
        /// The kind.
        kind: &'static Kind,
        /// All its objects.
        objects: Vec<Arrival>,
    },
}

/// An object as the API server has it.
#[derive(Debug)]
pub struct Arrival {
    /// Which one.
    pub key: ObjectRef,
    /// Its metadata.
    pub meta: ObjectMeta,
    /// The object, or why it can't be read.
    pub read: Result<Box<dyn Object>, Rejection>,
    /// The conditions in its status.
    pub conditions: Vec<Condition>,
    /// Its revision.
    pub revision: u64,
    /// Whether it stays.
    pub fate: Fate,
}

/// Whether an object stays. An object that is no proxy is withdrawn once its deletion begins, whatever finalizers wait for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It stays.
    Stays,
    /// Its deletion began.
    Leaves,
    /// Its deletion began, and waits for the finalizer that this hub takes off.
    Departs(Departing),
}

/// A deleted object that waits for its finalizer to be taken off.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Departing {
    /// All its finalizers.
    pub finalizers: Vec<String>,
    /// The version of the object that carried them. Finalizers are taken off this version alone.
    pub revision: Option<String>,
}

/// What one change did.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Record {
    /// When the watch brought it; `None`: it was part of a list, and nobody knows when it began.
    pub at: Option<Instant>,
    /// Objects that came, changed, or were seen again.
    pub put: Vec<Version>,
    /// Objects that are not served any more: deleted, missing in a complete list, or about to be deleted.
    pub gone: Vec<ObjectRef>,
    /// Those of them that wait for their finalizer.
    pub departing: Vec<ObjectRef>,
    /// Objects whose Plan came, changed or was withdrawn.
    pub plans: BTreeSet<ObjectRef>,
}

/// The version in which an object was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// The object.
    pub key: ObjectRef,
    /// Its generation.
    pub generation: i64,
    /// The generation in which it was seen last; `None`: it is new, or another object of that name was there.
    pub since: Option<i64>,
}

// === impl Version ===

impl Version {
    /// Whether it differs from the one that was seen last. A change of the status alone leaves the generation as it is.
    pub fn is_new(&self) -> bool {
        self.since != Some(self.generation)
    }
}
