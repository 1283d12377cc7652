//! An object from the API server that isn't parsed yet, so that one invalid object doesn't fail the whole list.

use std::borrow::Cow;
use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::Resource;
use kube::core::{ApiResource, DynamicResourceScope, ObjectMeta};
use portreeve_api::conditions::Reason;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use crate::object::{Object, Rejection};
use crate::row::Row;

/// An object of which only the metadata is parsed.
#[derive(Clone)]
pub struct Raw {
    /// Its metadata.
    pub metadata: ObjectMeta,
    rest: Map<String, Value>,
}

// === impl Raw ===

impl Raw {
    /// Parses the object as one of this kind. Returns a warning for each unknown field.
    ///
    /// # Errors
    /// Returns an error that names the field at fault.
    pub fn read(&self, row: &Row) -> Result<(Box<dyn Object>, Vec<String>), Rejection> {
        let invalid = |message| Rejection { reason: Reason::Invalid, message };
        let (mut all, resource) = (self.rest.clone(), (row.resource)());
        all.insert("apiVersion".into(), resource.api_version.into());
        all.insert("kind".into(), resource.kind.into());
        let metadata = serde_json::to_value(&self.metadata);
        all.insert("metadata".into(), metadata.map_err(|error| invalid(format!("metadata: {error}")))?);
        (row.read)(Value::Object(all)).map_err(|error| invalid(error.to_string()))
    }

    /// Returns the conditions in the object's status. Invalid ones are skipped.
    pub fn conditions(&self) -> Vec<Condition> {
        let found = self.rest.get("status").and_then(|s| s.get("conditions")).cloned();
        found.and_then(|c| serde_json::from_value(c).ok()).unwrap_or_default()
    }

    /// Returns the object's status.
    pub fn into_status(mut self) -> Map<String, Value> {
        match self.rest.remove("status") {
            Some(Value::Object(status)) => status,
            _ => Map::new(),
        }
    }

    /// Returns `status.children.applied` of the object: the generations of its children that are applied.
    pub fn children(&self) -> Map<String, Value> {
        let status = self.rest.get("status").and_then(|status| status.pointer("/children/applied"));
        status.and_then(Value::as_object).cloned().unwrap_or_default()
    }
}

impl fmt::Debug for Raw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Raw")
            .field("namespace", &self.metadata.namespace)
            .field("name", &self.metadata.name)
            .finish()
    }
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Shell {
            #[serde(default)]
            metadata: ObjectMeta,
            #[serde(flatten)]
            rest: Map<String, Value>,
        }
        let Shell { metadata, rest } = Shell::deserialize(deserializer)?;
        Ok(Self { metadata, rest })
    }
}

impl Resource for Raw {
    type DynamicType = ApiResource;
    type Scope = DynamicResourceScope;

    fn kind(of: &ApiResource) -> Cow<'_, str> {
        of.kind.as_str().into()
    }

    fn group(of: &ApiResource) -> Cow<'_, str> {
        of.group.as_str().into()
    }

    fn version(of: &ApiResource) -> Cow<'_, str> {
        of.version.as_str().into()
    }

    fn plural(of: &ApiResource) -> Cow<'_, str> {
        of.plural.as_str().into()
    }

    fn api_version(of: &ApiResource) -> Cow<'_, str> {
        of.api_version.as_str().into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}
