//! Which of two objects is older: [`age`].

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use portreeve_api::refs::ObjectRef;

/// Orders objects by age, and by name if they were created in the same second.
pub fn age(key: &ObjectRef, meta: &ObjectMeta) -> (Option<i64>, ObjectRef) {
    (meta.creation_timestamp.as_ref().map(|created| created.0.as_second()), key.clone())
}
