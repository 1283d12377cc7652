//! An object as the API server has it: what the writer's patches are compared with ([`Stored`]).

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use serde_json::{Map, Value};

use crate::raw::Raw;
use crate::status::{Fields, annotated};
use crate::verdict::Verdict;

/// What is known of an object in the API server.
pub struct Stored {
    /// Its resource version.
    pub revision: String,
    /// Its conditions.
    pub conditions: Vec<Condition>,
    /// Its status.
    status: Map<String, Value>,
    /// The generation in its annotation.
    pub applied: Option<i64>,
}

// === impl Stored ===

impl Stored {
    /// An object without conditions and annotation.
    pub fn untouched(revision: &str) -> Self {
        Self { revision: revision.to_owned(), conditions: Vec::new(), status: Map::new(), applied: None }
    }

    /// The object as the API server returned it. `None` if it isn't the judged version.
    pub fn of(object: Raw, verdict: &Verdict) -> Option<Self> {
        let meta = &object.metadata;
        let same =
            meta.uid.as_deref() == Some(&verdict.uid) && meta.generation.unwrap_or(0) == verdict.generation;
        let (revision, applied) = (meta.resource_version.clone().unwrap_or_default(), annotated(meta));
        same.then(|| Self {
            revision,
            conditions: object.conditions(),
            status: object.into_status(),
            applied,
        })
    }

    /// Returns whether the status has these fields.
    pub fn has(&self, fields: &Fields) -> bool {
        fields.iter().all(|(name, value)| self.status.get(*name).unwrap_or(&Value::Null) == value)
    }
}
