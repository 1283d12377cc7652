//! An object as it came from the API server, unread: a list with one object that can't be read must still be a list.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::Resource;
use kube::core::ObjectMeta;
use portreeve_api::door::{self, ParseError};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

/// An object of kind `K` of which only the metadata was read.
pub struct Raw<K> {
    /// Its metadata.
    pub metadata: ObjectMeta,
    rest: Map<String, Value>,
    kind: PhantomData<fn() -> K>,
}

// === impl Raw ===

impl<K: Resource<DynamicType = ()> + DeserializeOwned> Raw<K> {
    /// Reads it; see [`door::parse`].
    ///
    /// # Errors
    /// The field at fault.
    pub fn read(&self) -> Result<(K, Vec<String>), ParseError> {
        let mut all = self.rest.clone();
        all.insert("apiVersion".into(), K::api_version(&()).into());
        all.insert("kind".into(), K::kind(&()).into());
        let metadata = serde_json::to_value(&self.metadata);
        all.insert(
            "metadata".into(),
            metadata.map_err(|e| ParseError { path: "metadata".into(), message: e.to_string() })?,
        );
        door::parse(Value::Object(all))
    }

    /// The conditions in its status; those that can't be read count as absent.
    pub fn conditions(&self) -> Vec<Condition> {
        let found = self.rest.get("status").and_then(|s| s.get("conditions")).cloned();
        found.and_then(|c| serde_json::from_value(c).ok()).unwrap_or_default()
    }
}

impl<K> Clone for Raw<K> {
    fn clone(&self) -> Self {
        Self { metadata: self.metadata.clone(), rest: self.rest.clone(), kind: PhantomData }
    }
}

impl<K> fmt::Debug for Raw<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Raw")
            .field("namespace", &self.metadata.namespace)
            .field("name", &self.metadata.name)
            .finish()
    }
}

impl<'de, K> Deserialize<'de> for Raw<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Shell {
            #[serde(default)]
            metadata: ObjectMeta,
            #[serde(flatten)]
            rest: Map<String, Value>,
        }
        let Shell { metadata, rest } = Shell::deserialize(deserializer)?;
        Ok(Self { metadata, rest, kind: PhantomData })
    }
}

impl<K: Resource<DynamicType = ()>> Resource for Raw<K> {
    type DynamicType = ();
    type Scope = K::Scope;

    fn kind(dt: &()) -> Cow<'_, str> {
        K::kind(dt)
    }

    fn group(dt: &()) -> Cow<'_, str> {
        K::group(dt)
    }

    fn version(dt: &()) -> Cow<'_, str> {
        K::version(dt)
    }

    fn plural(dt: &()) -> Cow<'_, str> {
        K::plural(dt)
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}
