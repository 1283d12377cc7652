//! An object as the API server has it: what the writer's patches are compared with ([`Stored`]), and what is known of each
//! object from its watch and from this hub's own writes ([`Known`]), so that a write needs no read.

use std::collections::HashMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use portreeve_api::refs::ObjectRef;
use serde_json::{Map, Value};

use crate::change::Seen;
use crate::raw::Raw;
use crate::status::{Fields, annotated};
use crate::verdict::Verdict;

/// What is known of an object in the API server.
#[derive(Clone, Debug, PartialEq)]
pub struct Stored {
    /// Its resource version.
    pub revision: u64,
    /// Its conditions.
    pub conditions: Vec<Condition>,
    /// The generation in its annotation.
    pub applied: Option<i64>,
    /// The other fields of its status. `None`: they aren't known.
    fields: Option<Map<String, Value>>,
    uid: String,
    generation: i64,
}

/// The newest known version of each object.
#[derive(Default)]
pub struct Known(HashMap<ObjectRef, Stored>);

// === impl Stored ===

impl Stored {
    /// The object as the API server returned it. `None` if its resource version can't be compared with others.
    pub fn of(object: Raw) -> Option<Self> {
        let meta = &object.metadata;
        let (uid, generation) = (meta.uid.clone().unwrap_or_default(), meta.generation.unwrap_or(0));
        let (revision, applied) = (meta.resource_version.as_ref()?.parse().ok()?, annotated(meta));
        let conditions = object.conditions();
        let mut fields = object.into_status();
        fields.remove("conditions");
        Some(Self { revision, conditions, applied, fields: Some(fields), uid, generation })
    }

    /// The object as its watch delivered it.
    fn seen(seen: &Seen) -> Self {
        Self {
            revision: seen.revision,
            conditions: seen.conditions.clone(),
            applied: seen.applied,
            fields: None,
            uid: seen.uid.clone(),
            generation: seen.generation,
        }
    }

    /// Returns whether it is the judged version.
    pub fn is(&self, verdict: &Verdict) -> bool {
        self.uid == verdict.uid && self.generation == verdict.generation
    }

    /// Returns whether the status has these fields. `None` if that isn't known.
    pub fn has(&self, fields: &Fields) -> Option<bool> {
        if fields.is_empty() {
            return Some(true);
        }
        let stands = self.fields.as_ref()?;
        Some(fields.iter().all(|(name, value)| stands.get(*name).unwrap_or(&Value::Null) == value))
    }
}

// === impl Known ===

impl Known {
    /// Returns what is known of the judged version of an object.
    pub fn get(&self, verdict: &Verdict) -> Option<&Stored> {
        self.0.get(&verdict.key).filter(|stored| stored.is(verdict))
    }

    /// Records an object as its watch delivered it. A version that is known already keeps its fields.
    pub fn see(&mut self, key: &ObjectRef, seen: &Seen) {
        if self.0.get(key).is_none_or(|known| known.revision < seen.revision) {
            self.0.insert(key.clone(), Stored::seen(seen));
        }
    }

    /// Records an object as a write left it. Returns the newer version that its watch delivered meanwhile, if any.
    pub fn wrote(&mut self, key: &ObjectRef, stored: Stored) -> Option<&Stored> {
        if self.0.get(key).is_none_or(|known| known.revision <= stored.revision) {
            self.0.insert(key.clone(), stored);
            return None;
        }
        self.0.get(key)
    }

    /// Forgets an object.
    pub fn forget(&mut self, key: &ObjectRef) {
        self.0.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use kube::core::ObjectMeta;
    use portreeve_api::a::virtual_service::KIND;
    use serde_json::json;

    use super::*;

    fn mk_stored(revision: &str, status: Value) -> Option<Stored> {
        let metadata = json!({"uid": "u", "generation": 3, "resourceVersion": revision});
        Stored::of(serde_json::from_value(json!({"metadata": metadata, "status": status})).unwrap())
    }

    fn mk_seen(revision: u64, generation: i64) -> Seen {
        Seen { uid: "u".into(), generation, revision, ..Seen::default() }
    }

    #[test]
    fn fields_are_compared_if_they_are_known() {
        let wanted = Fields::from([("nodes", json!(2)), ("ready", Value::Null)]);
        for (status, expected) in [
            (json!({"nodes": 2}), true),
            (json!({"nodes": 2, "conditions": [], "other": 1}), true),
            (json!({"nodes": 1}), false),
            (json!({"nodes": 2, "ready": 1}), false),
            (json!({}), false),
        ] {
            assert_eq!(mk_stored("7", status.clone()).unwrap().has(&wanted), Some(expected), "{status}");
        }
        let seen = Stored::seen(&mk_seen(7, 3));
        assert_eq!((seen.has(&wanted), seen.has(&Fields::new())), (None, Some(true)));
        assert_eq!(mk_stored("a", json!({})), None, "nothing says which version is newer");
    }

    #[test]
    fn newest_version_is_known_whatever_the_order_of_answers_and_events() {
        let key = ObjectRef::namespaced(&KIND, "ns", "o");
        let meta = ObjectMeta { uid: Some("u".into()), generation: Some(3), ..ObjectMeta::default() };
        let verdict = Verdict::new(&key, &meta);
        let written = || mk_stored("7", json!({"nodes": 2})).unwrap();
        let mut known = Known::default();
        known.see(&key, &mk_seen(5, 3));
        assert_eq!(known.wrote(&key, written()), None);
        known.see(&key, &mk_seen(6, 3));
        known.see(&key, &mk_seen(7, 3));
        assert_eq!(known.get(&verdict), Some(&written()), "an older event, and the one of the write itself");
        known.see(&key, &mk_seen(8, 4));
        assert_eq!(known.get(&verdict), None, "another generation");
        assert_eq!(known.wrote(&key, written()).map(|newer| newer.revision), Some(8));
        known.forget(&key);
        assert_eq!(known.get(&verdict), None);
    }
}
