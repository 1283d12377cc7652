//! Secrets in manifests: the rules of the API server ([`wrong`]), and what is kept of them ([`named`]).

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Secret;
use portreeve_xds::Name;

use crate::lookup::{SecretBytes, SecretFacts};

/// Maximum length of a key, in characters.
const LONGEST_KEY: usize = 253;

/// Returns the broken rules, each with its field.
pub(super) fn wrong(secret: &Secret) -> Vec<String> {
    let keys = secret.data.iter().flat_map(|data| data.keys().map(|key| ("data", key)));
    let texts = secret.string_data.iter().flat_map(|data| data.keys().map(|key| ("stringData", key)));
    let wrong = keys.chain(texts).filter(|(_, key)| !is_key(key));
    wrong.map(|(field, key)| format!("{field}: {key:?} is not a valid key")).collect()
}

/// Returns a Secret's namespace and name, and its type and content. Of a key in both fields, the content in `stringData`
/// counts. Other metadata is not kept, because annotations may hold the content.
pub(super) fn named(secret: Secret) -> ((Name, Name), SecretFacts) {
    let namespace = secret.metadata.namespace.as_deref().unwrap_or("default");
    let at = (namespace.into(), secret.metadata.name.as_deref().unwrap_or_default().into());
    let data = secret.data.unwrap_or_default().into_iter().map(|(key, bytes)| (key, bytes.0));
    let texts = secret.string_data.unwrap_or_default().into_iter();
    let all: BTreeMap<String, Vec<u8>> =
        data.chain(texts.map(|(key, text)| (key, text.into_bytes()))).collect();
    let contents = all.into_iter().map(|(key, content)| (Name::from(key), SecretBytes::new(content)));
    (at, SecretFacts::new(secret.type_.as_deref().unwrap_or("Opaque"), contents.collect()))
}

fn is_key(text: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    !text.is_empty()
        && text.len() <= LONGEST_KEY
        && text.chars().all(fits)
        && text != "."
        && !text.starts_with("..")
}
