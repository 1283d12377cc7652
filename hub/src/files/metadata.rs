//! The API server's rules for metadata that [`portreeve_api::door`] doesn't check. Entry point: [`check`].

use kube::core::ObjectMeta;
use portreeve_api::identifiers::{is_label_key, is_label_value};

use super::manifest_kind::ManifestKind;

/// Returns the broken rules, each with its field.
pub(super) fn check(kind: ManifestKind, meta: &ObjectMeta) -> Vec<String> {
    let mut wrong = Vec::new();
    let name = meta.name.as_deref().unwrap_or_default();
    if kind == ManifestKind::Service
        && (name.len() > 63 || name.contains('.') || name.starts_with(|c: char| c.is_ascii_digit()))
    {
        let rule = "must have at most 63 characters, hold no dot, and begin with a letter";
        wrong.push(format!("metadata.name: {rule}; is {name:?}"));
    }
    if let (false, Some(namespace)) = (kind.is_namespaced(), &meta.namespace) {
        wrong.push(format!("metadata.namespace: a {} must not have one, is {namespace:?}", kind.title()));
    }
    for (key, value) in meta.labels.iter().flatten() {
        if !is_key(key) {
            wrong.push(format!("metadata.labels: {key:?} is not a valid label key"));
        }
        if !is_label_value(value) {
            wrong.push(format!("metadata.labels.{key}: {value:?} is not a valid label value"));
        }
    }
    for key in meta.annotations.iter().flatten().map(|(key, _)| key).filter(|key| !is_key(key)) {
        wrong.push(format!("metadata.annotations: {key:?} is not a valid annotation key"));
    }
    wrong
}

/// Returns whether a text is a key of a label or an annotation. Its domain may have capital letters.
fn is_key(text: &str) -> bool {
    is_label_key(&text.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn judged(kind: ManifestKind, name: &str, labels: &[(&str, &str)]) -> usize {
        let labels: BTreeMap<_, _> = labels.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        let meta = ObjectMeta { name: Some(name.into()), labels: Some(labels), ..ObjectMeta::default() };
        check(kind, &meta).len()
    }

    #[test]
    fn names_and_labels_follow_the_rules_of_the_api_server() {
        for (kind, name, fits) in [
            (ManifestKind::Pod, "worker-1.a", true),
            (ManifestKind::Service, "echo", true),
            (ManifestKind::Service, "a.b", false),
            (ManifestKind::Service, "1a", false),
            (ManifestKind::Node, "10.0.0.1", true),
        ] {
            assert_eq!(judged(kind, name, &[]) == 0, fits, "{name}");
        }
        for (key, value, fits) in [
            ("app", "", true),
            ("app.kubernetes.io/name", "A_1.b", true),
            ("app", "a b", false),
            ("app", "-a", false),
            ("a/b/c", "x", false),
            ("", "x", false),
        ] {
            assert_eq!(judged(ManifestKind::Pod, "p", &[(key, value)]) == 0, fits, "{key}={value}");
        }
    }
}
