//! Object metadata without `managedFields`, which are often its larger part and which nobody here reads. Entry points:
//! [`deserialize`] and [`SlimMeta`].

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference, Time};
use serde::{Deserialize, Deserializer};

/// The fields of [`ObjectMeta`] except `managedFields` and `selfLink`, which the API server doesn't set.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SlimMeta {
    annotations: Option<BTreeMap<String, String>>,
    creation_timestamp: Option<Time>,
    deletion_grace_period_seconds: Option<i64>,
    deletion_timestamp: Option<Time>,
    finalizers: Option<Vec<String>>,
    generate_name: Option<String>,
    generation: Option<i64>,
    labels: Option<BTreeMap<String, String>>,
    name: Option<String>,
    namespace: Option<String>,
    owner_references: Option<Vec<OwnerReference>>,
    resource_version: Option<String>,
    uid: Option<String>,
}

/// Reads the metadata of an object. `null` counts as empty. For `#[serde(deserialize_with)]`.
///
/// # Errors
/// Returns an error if a field has the wrong type.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ObjectMeta, D::Error> {
    Ok(Option::<SlimMeta>::deserialize(deserializer)?.unwrap_or_default().into())
}

// === impl SlimMeta ===

impl From<SlimMeta> for ObjectMeta {
    fn from(slim: SlimMeta) -> Self {
        Self {
            annotations: slim.annotations,
            creation_timestamp: slim.creation_timestamp,
            deletion_grace_period_seconds: slim.deletion_grace_period_seconds,
            deletion_timestamp: slim.deletion_timestamp,
            finalizers: slim.finalizers,
            generate_name: slim.generate_name,
            generation: slim.generation,
            labels: slim.labels,
            managed_fields: None,
            name: slim.name,
            namespace: slim.namespace,
            owner_references: slim.owner_references,
            resource_version: slim.resource_version,
            self_link: None,
            uid: slim.uid,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn everything_but_the_managed_fields_is_kept() {
        let full = json!({
            "annotations": {"a": "1"}, "creationTimestamp": "2026-01-01T00:00:00Z",
            "deletionGracePeriodSeconds": 30, "deletionTimestamp": "2026-01-01T01:00:00Z", "finalizers": ["f"],
            "generateName": "w-", "generation": 3, "labels": {"app": "w"}, "name": "w-1", "namespace": "ns",
            "ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": "n", "uid": "nu", "controller": true}],
            "resourceVersion": "7", "uid": "u",
        });
        let mut given = full.clone();
        given["managedFields"] = json!([{"manager": "kubelet", "fieldsV1": {"f:status": {}}}]);
        given["selfLink"] = "/api/v1/pods/w-1".into();
        let read = deserialize(given).unwrap();
        assert_eq!(serde_json::to_value(&read).unwrap(), full);
        assert_eq!(deserialize(json!(null)).unwrap(), ObjectMeta::default());
        assert!(deserialize(json!({"name": 1})).is_err());
    }
}
