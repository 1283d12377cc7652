//! Applies YAML to the API server: server-side apply of every document of a text.

use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use kube::core::GroupVersionKind;
use kube::discovery::{self, ApiResource, Scope};
use kube::runtime::wait::{await_condition, conditions};
use kube::{Client, ResourceExt};
use serde::Deserialize;

/// The field manager.
const MANAGER: &str = "portreeve-tests";

/// Applies every document of `yaml` by server-side apply, and returns the stored objects. Namespaced objects without a
/// namespace go to `default`.
///
/// # Errors
/// Returns an error if the text is not YAML of objects, a kind is unknown, or the server rejects an object. Then the
/// message names the object.
pub async fn apply(client: &Client, yaml: &str) -> Result<Vec<DynamicObject>> {
    let mut stored = Vec::new();
    for object in objects(yaml)? {
        stored.push(put(client, &object, &params()).await?);
    }
    Ok(stored)
}

/// Like [`apply`], but the server rejects unknown fields.
///
/// # Errors
/// See [`apply`].
pub async fn apply_strictly(client: &Client, yaml: &str) -> Result<Vec<DynamicObject>> {
    let mut stored = Vec::new();
    for object in objects(yaml)? {
        stored.push(put(client, &object, &params().validation_strict()).await?);
    }
    Ok(stored)
}

/// Applies the `status` of every document of `yaml` to the status subresource. The objects must exist.
///
/// # Errors
/// See [`apply`].
pub async fn apply_status(client: &Client, yaml: &str) -> Result<Vec<DynamicObject>> {
    let mut stored = Vec::new();
    for object in objects(yaml)? {
        let api = api_of(client, &object).await?;
        let answer = api.patch_status(&object.name_any(), &params(), &Patch::Apply(&object)).await;
        stored.push(answer.with_context(|| format!("applying the status of {}", title(&object)))?);
    }
    Ok(stored)
}

/// Deletes every object that `yaml` names, without a grace period. Missing objects are no error.
///
/// # Errors
/// See [`apply`].
pub async fn delete(client: &Client, yaml: &str) -> Result<()> {
    for object in objects(yaml)? {
        let api = api_of(client, &object).await?;
        let now = kube::api::DeleteParams { grace_period_seconds: Some(0), ..Default::default() };
        match api.delete(&object.name_any(), &now).await {
            Ok(_) => {}
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            Err(error) => return Err(error).with_context(|| format!("deleting {}", title(&object))),
        }
    }
    Ok(())
}

/// Waits until the CRDs among `objects` are established.
///
/// # Errors
/// Returns an error after `bound` that names a CRD which isn't.
pub async fn established(client: &Client, objects: &[DynamicObject], bound: Duration) -> Result<()> {
    let api = Api::<CustomResourceDefinition>::all(client.clone());
    for object in objects.iter().filter(|object| is_crd(object)) {
        let name = object.name_any();
        let waiting = await_condition(api.clone(), &name, conditions::is_crd_established());
        let in_time = tokio::time::timeout(bound, waiting).await;
        in_time.with_context(|| format!("{} is not established after {bound:?}", title(object)))??;
    }
    Ok(())
}

/// Returns whether the object is a CRD.
fn is_crd(object: &DynamicObject) -> bool {
    object.types.as_ref().is_some_and(|types| types.kind == "CustomResourceDefinition")
}

/// Returns the documents of a text, without empty ones.
fn objects(yaml: &str) -> Result<Vec<DynamicObject>> {
    let mut found = Vec::new();
    for document in serde_yaml::Deserializer::from_str(yaml) {
        let value = serde_yaml::Value::deserialize(document).context("the manifest is not YAML")?;
        if !value.is_null() {
            found.push(serde_yaml::from_value(value).context("a document of the manifest is not an object")?);
        }
    }
    Ok(found)
}

/// Applies one object.
async fn put(client: &Client, object: &DynamicObject, params: &PatchParams) -> Result<DynamicObject> {
    let api = api_of(client, object).await?;
    let answer = api.patch(&object.name_any(), params, &Patch::Apply(object)).await;
    answer.with_context(|| format!("applying {}", title(object)))
}

fn params() -> PatchParams {
    PatchParams::apply(MANAGER).force()
}

/// Returns the API of the object's kind, in the object's namespace.
async fn api_of(client: &Client, object: &DynamicObject) -> Result<Api<DynamicObject>> {
    let (resource, scope) = kind_of(client, object).await?;
    Ok(match scope {
        Scope::Cluster => Api::all_with(client.clone(), &resource),
        Scope::Namespaced => {
            let namespace = object.namespace().unwrap_or_else(|| "default".to_owned());
            Api::namespaced_with(client.clone(), &namespace, &resource)
        }
    })
}

/// Asks the server for the resource of the object's kind.
async fn kind_of(client: &Client, object: &DynamicObject) -> Result<(ApiResource, Scope)> {
    let types = object.types.as_ref().context("an object of the manifest has no kind")?;
    let kind = GroupVersionKind::try_from(types)?;
    let (resource, capabilities) = discovery::pinned_kind(client, &kind)
        .await
        .with_context(|| format!("the server knows no {} {}", types.api_version, types.kind))?;
    Ok((resource, capabilities.scope))
}

/// Returns kind and name, for messages.
fn title(object: &DynamicObject) -> String {
    let kind = object.types.as_ref().map_or("object", |types| types.kind.as_str());
    format!("{kind} {}/{}", object.namespace().unwrap_or_default(), object.name_any())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_documents_are_no_objects() {
        let found =
            objects("---\n# nothing\n---\napiVersion: v1\nkind: Pod\nmetadata: {name: p}\n---\n").unwrap();
        assert_eq!(found.iter().map(title).collect::<Vec<_>>(), ["Pod /p"]);
    }

    #[test]
    fn a_document_that_is_no_object_is_refused() {
        assert!(objects("- 1\n- 2\n").unwrap_err().to_string().contains("not an object"));
    }
}
