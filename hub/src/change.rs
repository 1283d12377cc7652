//! A change of custom resources on its way through the hub: the event of a watch ([`News`]) and its effect ([`Record`]).
//! Everything that follows changes (convergence, traces, the writer) takes only the record.

use std::collections::BTreeSet;
use std::time::Instant;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta};
use portreeve_api::kind::Kind;
use portreeve_api::refs::ObjectRef;

use crate::object::{Object, Rejection};
use crate::owners::{Children, Owner};

/// An event of a watch of custom resources.
#[derive(Debug)]
pub enum News {
    /// An object was created or changed.
    Put {
        /// The object.
        object: Box<Arrival>,
        /// When the watch delivered the event.
        at: Instant,
    },
    /// An object was deleted.
    Gone {
        /// The object's reference.
        key: ObjectRef,
        /// The revision of its deletion.
        revision: u64,
    },
    /// The complete list of a kind, in the watched namespace or in all. Every other known object of the kind is gone.
    Listed {
        /// The kind.
        kind: &'static Kind,
        /// All objects of the kind.
        objects: Vec<Arrival>,
    },
}

/// An object as delivered by the API server.
#[derive(Debug)]
pub struct Arrival {
    /// The object's reference.
    pub key: ObjectRef,
    /// Its metadata.
    pub meta: ObjectMeta,
    /// The parsed object, or the reason why it can't be read.
    pub read: Result<Box<dyn Object>, Rejection>,
    /// The conditions in its status.
    pub conditions: Vec<Condition>,
    /// The entries of its children in its status.
    pub children: Children,
    /// Its revision.
    pub revision: u64,
    /// Whether the object is being deleted.
    pub fate: Fate,
}

/// What an object was seen with that the hub writes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Seen {
    /// The conditions in its status.
    pub conditions: Vec<Condition>,
    /// The generation in its annotation.
    pub applied: Option<i64>,
    /// The owners that it asks to be told when it is applied.
    pub owners: BTreeSet<Owner>,
    /// Its uid.
    pub uid: String,
    /// The entries of its children in its status.
    pub children: Children,
    /// Its generation.
    pub generation: i64,
    /// Its revision. 0: not known.
    pub revision: u64,
}

/// Whether an object is being deleted. Any object but a proxy is withdrawn once its deletion begins, whatever its
/// finalizers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The object is not being deleted.
    Stays,
    /// Its deletion has begun.
    Leaves,
    /// Its deletion has begun and waits for the finalizer that this hub removes.
    Departs(Departing),
}

/// A deleted object that waits for the removal of its finalizer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Departing {
    /// All its finalizers.
    pub finalizers: Vec<String>,
    /// The resource version that had these finalizers. Finalizers are removed from this version only.
    pub revision: Option<String>,
}

/// The effect of one change.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Record {
    /// When the watch delivered the change. `None` if it was part of a list, because its time is then unknown.
    pub at: Option<Instant>,
    /// Objects that were created, changed or seen again.
    pub put: Vec<Version>,
    /// Objects that are no longer served: deleted, missing in a complete list, or being deleted.
    pub gone: Vec<ObjectRef>,
    /// Objects among `gone` that the API server has no more.
    pub ended: Vec<ObjectRef>,
    /// Objects among `gone` that wait for their finalizer.
    pub departing: Vec<ObjectRef>,
    /// Objects whose Plan was added, changed or withdrawn.
    pub plans: BTreeSet<ObjectRef>,
}

/// The observed version of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// The object.
    pub key: ObjectRef,
    /// Its generation.
    pub generation: i64,
    /// The generation observed before. `None` if the object is new or replaces a different object of the same name.
    pub since: Option<i64>,
}

// === impl Version ===

impl Version {
    /// Returns whether the generation differs from the one observed before. A change of the status alone keeps the
    /// generation.
    pub fn is_new(&self) -> bool {
        self.since != Some(self.generation)
    }
}
