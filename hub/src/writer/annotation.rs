//! The annotation with the generation of an object that is applied. Programs that create objects wait for it.

use kube::api::Patch;
use portreeve_api::names::APPLIED_ANNOTATION;
use serde_json::json;

use super::conditions::{Write, params};
use super::request::{Outcome, api};
use super::stored::Stored;

// === impl Write ===

impl Write {
    /// Annotates an object with the generation that is applied, unless it has that annotation. A generation that isn't known
    /// leaves the annotation as it is.
    pub(super) async fn annotate(&self, mut stored: Stored) -> kube::Result<Outcome> {
        let verdict = &self.subject.verdict;
        let Some(generation) = self.status.applied.filter(|newest| stored.applied != Some(*newest)) else {
            return Ok(Outcome::Stands(stored));
        };
        // With the uid, the API server refuses the patch of another object with this name.
        let annotations = json!({APPLIED_ANNOTATION: generation.to_string()});
        let patch = json!({"metadata": {"uid": verdict.uid, "annotations": annotations}});
        let key = &verdict.key;
        let api = api(&self.client, key, &(self.row.resource)());
        match api.patch_metadata(&key.name, &params(), &Patch::Merge(&patch)).await {
            // The revision stays that of the conditions, which another client may have changed since.
            Ok(_) => {
                stored.applied = Some(generation);
                Ok(Outcome::Stands(stored))
            }
            // The object is gone, or was recreated. A watch event will follow.
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(Outcome::Passed),
            Err(kube::Error::Api(status)) if status.code == 403 => Ok(Outcome::Forbidden(self.row)),
            // The stored object breaks its definition's schema, so that nothing of it can be written.
            Err(kube::Error::Api(status)) if status.code == 422 => {
                let (namespace, name, error) = (&*key.namespace, &*key.name, status.message);
                tracing::warn!(namespace, name, error, "the object can't be annotated");
                Ok(Outcome::Stands(stored))
            }
            Err(error) => Err(error),
        }
    }
}
