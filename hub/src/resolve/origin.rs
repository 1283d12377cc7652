//! The origin of a Plan: the object that it is made from.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use portreeve_api::kind::Kind;
use portreeve_api::model::Origin;

/// Returns the origin of the Plan of a namespaced object.
pub(super) fn of(kind: &Kind, meta: &ObjectMeta) -> Origin {
    Origin {
        api: kind.api.to_string(),
        kind: kind.name.into(),
        namespace: meta.namespace.clone().unwrap_or_else(|| "default".into()),
        name: meta.name.clone().unwrap_or_default(),
        uid: meta.uid.clone().unwrap_or_default(),
        created_ms: meta.creation_timestamp.as_ref().map(|t| t.0.as_millisecond()),
    }
}
