//! An object from the API server that isn't parsed yet, so that one invalid object doesn't fail the whole list.

use std::borrow::Cow;
use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::Resource;
use kube::core::{ApiResource, DynamicResourceScope, ObjectMeta};
use portreeve_api::conditions::Reason;
use portreeve_api::slim_meta::SlimMeta;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use crate::object::{Object, Rejection};
use crate::row::Row;

/// An object of which only the metadata is parsed.
#[derive(Clone, Default)]
pub struct Raw {
    /// Its metadata, without managed fields.
    pub metadata: ObjectMeta,
    rest: Map<String, Value>,
}

/// Collects an object's fields.
struct Fields;

// === impl Raw ===

impl Raw {
    /// Parses the object as one of this kind. Returns a warning for each unknown field.
    ///
    /// # Errors
    /// Returns an error that names the field at fault.
    pub fn read(self, row: &Row) -> Result<(Box<dyn Object>, Vec<String>), Rejection> {
        let invalid = |message| Rejection { reason: Reason::Invalid, message };
        let (mut all, resource) = (self.rest, (row.resource)());
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
        deserializer.deserialize_map(Fields)
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

// === impl Fields ===

impl<'de> Visitor<'de> for Fields {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Raw, A::Error> {
        let mut raw = Raw::default();
        while let Some(name) = fields.next_key::<String>()? {
            match name.as_str() {
                "metadata" => raw.metadata = fields.next_value::<SlimMeta>()?.into(),
                _ => drop(raw.rest.insert(name, fields.next_value()?)),
            }
        }
        Ok(raw)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn object_is_read_without_its_managed_fields() {
        let text = r#"{"apiVersion": "v1", "metadata": {"name": "a", "managedFields": [{"fieldsV1": {"f:spec": {}}}],
            "generation": 2}, "spec": {"a": [1]}, "status": {"conditions": [], "children": {"applied": {"b": 1}}}}"#;
        let raw: Raw = serde_json::from_str(text).unwrap();
        let expected = ObjectMeta { name: Some("a".into()), generation: Some(2), ..ObjectMeta::default() };
        assert_eq!(raw.metadata, expected);
        assert_eq!(
            (raw.rest.get("spec"), raw.children().get("b")),
            (Some(&json!({"a": [1]})), Some(&json!(1)))
        );
        assert!(serde_json::from_value::<Raw>(json!([])).is_err());
    }
}
