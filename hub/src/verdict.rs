//! The hub's verdict on an object ([`Verdict`]): whether it is accepted, and whether its references resolve.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use portreeve_api::conditions::Reason;
use portreeve_api::refs::ObjectRef;
use portreeve_xds::Name;

use crate::object::Rejection;

/// Whether an object's selectors match any pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refs {
    /// All selectors match pods.
    Resolved,
    /// This selection, described for messages, matches no pod anywhere: its cluster has no endpoints.
    Empty(String),
    /// This selection of the peers that may connect matches no pod anywhere: nobody may connect.
    Nobody(String),
    /// This selection matches no pod in its namespace, but these in others.
    Elsewhere(String, Vec<String>),
}

/// The verdict on one version of an object.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// The object.
    pub key: ObjectRef,
    /// Its uid.
    pub uid: String,
    /// The generation that was judged.
    pub generation: i64,
    /// The reason for the rejection; `None` if the object is accepted.
    pub rejection: Option<Rejection>,
    /// Whether an earlier accepted version stays in use.
    pub previous_in_force: bool,
    /// Warnings on an accepted object.
    pub warnings: Vec<(Reason, String)>,
    /// References of an accepted object that lead to nothing, each with the problem. Such an object is not served.
    pub missing: Vec<String>,
    /// Whether its references resolve.
    pub refs: Refs,
    /// The sources that can't be read and that have, had or may have pods of its groups.
    pub losses: Vec<Loss>,
}

/// A source, which is another Kubernetes cluster, that can't be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    /// Its name.
    pub source: Name,
    /// The number of pods that the object's group has from it, or had before the withdrawal. `None` if the source was not
    /// read since the hub's start.
    pub pods: Option<usize>,
    /// Since when it can't be read, in milliseconds since the Unix epoch.
    pub since_ms: i64,
    /// Until when its pods stay members, in milliseconds since the Unix epoch.
    pub until_ms: i64,
    /// Whether its pods were withdrawn.
    pub withdrawn: bool,
    /// Why it can't be read.
    pub why: String,
}

// === impl Refs ===

impl Refs {
    /// Returns the more important one for the user.
    pub fn worse(self, other: Refs) -> Refs {
        match (&self, &other) {
            (Refs::Elsewhere(..), _) => self,
            (_, Refs::Elsewhere(..)) => other,
            (Refs::Nobody(_), _) => self,
            (_, Refs::Nobody(_)) => other,
            (Refs::Empty(_), _) => self,
            _ => other,
        }
    }
}

// === impl Verdict ===

impl Verdict {
    /// Creates the verdict on an accepted object without missing references.
    pub fn new(key: &ObjectRef, meta: &ObjectMeta) -> Self {
        Self {
            key: key.clone(),
            uid: meta.uid.clone().unwrap_or_default(),
            generation: meta.generation.unwrap_or(0),
            rejection: None,
            previous_in_force: false,
            warnings: Vec::new(),
            missing: Vec::new(),
            refs: Refs::Resolved,
            losses: Vec::new(),
        }
    }
}
