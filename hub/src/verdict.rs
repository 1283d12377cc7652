//! What the hub thinks of an object ([`Verdict`]): accepted or why not, and whether what it refers to is there.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use portreeve_api::conditions::Reason;
use portreeve_api::refs::ObjectRef;
use portreeve_xds::Name;

use crate::object::Rejection;

/// Whether an object's selectors find anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refs {
    /// All of them do.
    Resolved,
    /// This selection finds nothing anywhere: its cluster is served empty.
    Empty(Name),
    /// This selection finds nothing in its namespace, but these pods elsewhere.
    Elsewhere(Name, Vec<String>),
}

/// The verdict on one version of an object.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// The object.
    pub key: ObjectRef,
    /// Its uid.
    pub uid: String,
    /// The generation judged.
    pub generation: i64,
    /// None: accepted.
    pub rejection: Option<Rejection>,
    /// An earlier accepted version goes on being served.
    pub previous_in_force: bool,
    /// Remarks on an accepted object.
    pub warnings: Vec<(Reason, String)>,
    /// Whether what it refers to is there.
    pub refs: Refs,
}

// === impl Refs ===

impl Refs {
    /// The one that a person should hear of first.
    pub fn worse(self, other: Refs) -> Refs {
        match (&self, &other) {
            (Refs::Elsewhere(..), _) => self,
            (_, Refs::Elsewhere(..)) => other,
            (Refs::Empty(_), _) => self,
            _ => other,
        }
    }
}

// === impl Verdict ===

impl Verdict {
    /// An accepted object that refers to nothing that is missing.
    pub fn new(key: &ObjectRef, meta: &ObjectMeta) -> Self {
        Self {
            key: key.clone(),
            uid: meta.uid.clone().unwrap_or_default(),
            generation: meta.generation.unwrap_or(0),
            rejection: None,
            previous_in_force: false,
            warnings: Vec::new(),
            refs: Refs::Resolved,
        }
    }
}
