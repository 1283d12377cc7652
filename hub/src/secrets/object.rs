//! A Secret as the API server sends it ([`SecretObject`]).
//!
//! kube logs objects that it can't parse, whole, and the API's own type prints its content in Debug. So this type parses
//! any content and prints none.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::core::v1::Secret;
use kube::Resource;
use kube::core::{NamespaceResourceScope, ObjectMeta};
use portreeve_xds::Name;
use serde::{Deserialize, Deserializer};
use zeroize::Zeroizing;

use crate::lookup::{SecretBytes, SecretFacts};

/// A Secret. Of its metadata, only what a watch needs and the annotations are kept, but never the annotation
/// `last-applied-configuration`, which holds the content.
#[derive(Clone)]
pub struct SecretObject {
    metadata: ObjectMeta,
    facts: SecretFacts,
}

/// The annotation of kubectl with the whole object.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

// === impl SecretObject ===

impl SecretObject {
    /// Returns the type, the keys and their content.
    pub fn into_facts(self) -> SecretFacts {
        self.facts
    }
}

impl fmt::Debug for SecretObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecretObject")
            .field("namespace", &self.metadata.namespace)
            .field("name", &self.metadata.name)
            .finish()
    }
}

impl<'de> Deserialize<'de> for SecretObject {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Whole {
            #[serde(default)]
            metadata: ObjectMeta,
            #[serde(default, rename = "type")]
            type_: Option<String>,
            #[serde(default)]
            data: Option<BTreeMap<String, Option<String>>>,
        }
        let Whole { metadata, type_, data } = Whole::deserialize(deserializer)?;
        let mut annotations = metadata.annotations.unwrap_or_default();
        annotations.remove(LAST_APPLIED);
        let metadata = ObjectMeta {
            annotations: Some(annotations).filter(|annotations| !annotations.is_empty()),
            name: metadata.name,
            namespace: metadata.namespace,
            resource_version: metadata.resource_version,
            ..ObjectMeta::default()
        };
        let content = |text: Option<String>| decoded(&Zeroizing::new(text.unwrap_or_default()));
        let contents =
            data.unwrap_or_default().into_iter().map(|(key, text)| (Name::from(key), content(text)));
        Ok(Self {
            metadata,
            facts: SecretFacts::new(type_.as_deref().unwrap_or("Opaque"), contents.collect()),
        })
    }
}

/// Decodes base64. The API server stores nothing else, so other text is kept as it is: an error would be logged with the
/// content.
fn decoded(text: &str) -> SecretBytes {
    SecretBytes::new(STANDARD.decode(text).unwrap_or_else(|_| text.as_bytes().to_vec()))
}

impl Resource for SecretObject {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind(of: &()) -> Cow<'_, str> {
        Secret::kind(of)
    }

    fn group(of: &()) -> Cow<'_, str> {
        Secret::group(of)
    }

    fn version(of: &()) -> Cow<'_, str> {
        Secret::version(of)
    }

    fn plural(of: &()) -> Cow<'_, str> {
        Secret::plural(of)
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_is_read_and_neither_printed_nor_kept_in_annotations() {
        let text = r#"{"kind": "Secret", "type": "kubernetes.io/tls", "immutable": true,
            "metadata": {"name": "s", "namespace": "ns", "resourceVersion": "7",
                         "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "aGlkZGVu"}},
            "data": {"tls.key": "aGlkZGVu", "empty": null, "odd": "no base64"}}"#;
        let object: SecretObject = serde_json::from_str(text).unwrap();
        let printed = format!("{object:?} {:?}", object.facts);
        assert!(!printed.contains("hidden") && !printed.contains("aGlkZGVu"), "{printed}");
        assert_eq!(object.metadata.annotations, None);
        let facts = object.into_facts();
        assert_eq!(facts.type_, "kubernetes.io/tls");
        let expected = [("empty", &b""[..]), ("odd", b"no base64"), ("tls.key", b"hidden")]
            .map(|(key, content)| (Name::from(key), SecretBytes::new(content.to_vec())));
        assert_eq!(facts, SecretFacts::new("kubernetes.io/tls", expected.into()));
    }

    #[test]
    fn bookmark_without_content_is_read() {
        let object: SecretObject = serde_json::from_str(r#"{"metadata": {"resourceVersion": "8"}}"#).unwrap();
        assert_eq!(object.metadata.resource_version.as_deref(), Some("8"));
    }
}
