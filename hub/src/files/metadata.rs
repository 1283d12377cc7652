//! The API server's rules for metadata beyond those that [`portreeve_api::door`] knows. Entry point: [`check`].

use kube::core::ObjectMeta;

use super::document::Kind;

/// What is wrong, each with its field.
pub(super) fn check(kind: Kind, meta: &ObjectMeta) -> Vec<String> {
    let mut wrong = Vec::new();
    let name = meta.name.as_deref().unwrap_or_default();
    if kind == Kind::Service
        && (name.len() > 63 || name.contains('.') || name.starts_with(|c: char| c.is_ascii_digit()))
    {
        let rule = "must be of 63 characters at most, without a dot, and begin with a letter";
        wrong.push(format!("metadata.name: {rule}; is {name:?}"));
    }
    if let (false, Some(namespace)) = (kind.is_namespaced(), &meta.namespace) {
        wrong.push(format!("metadata.namespace: a {} has none, is {namespace:?}", kind.title()));
    }
    for (key, value) in meta.labels.iter().flatten() {
        if !is_label_key(key) {
            wrong.push(format!("metadata.labels: {key:?} is no key of a label"));
        }
        if !(value.is_empty() || is_name_part(value)) {
            wrong.push(format!("metadata.labels.{key}: {value:?} is no value of a label"));
        }
    }
    for key in meta.annotations.iter().flatten().map(|(key, _)| key).filter(|key| !is_label_key(key)) {
        wrong.push(format!("metadata.annotations: {key:?} is no key of an annotation"));
    }
    wrong
}

/// DNS labels with dots between them: 253 characters at most.
fn is_subdomain(text: &str) -> bool {
    let part = |part: &str| {
        !part.is_empty()
            && !part.starts_with('-')
            && !part.ends_with('-')
            && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    text.len() <= 253 && text.split('.').all(part)
}

/// A key of a label: a name, perhaps after a domain and a slash.
fn is_label_key(key: &str) -> bool {
    match key.split_once('/') {
        Some((domain, name)) => is_subdomain(&domain.to_ascii_lowercase()) && is_name_part(name),
        None => is_name_part(key),
    }
}

fn is_name_part(text: &str) -> bool {
    let edge = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphanumeric);
    let inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    let bytes = text.as_bytes();
    text.len() <= 63 && edge(bytes.first()) && edge(bytes.last()) && text.bytes().all(inner)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn judged(kind: Kind, name: &str, labels: &[(&str, &str)]) -> usize {
        let labels: BTreeMap<_, _> = labels.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        let meta = ObjectMeta { name: Some(name.into()), labels: Some(labels), ..ObjectMeta::default() };
        check(kind, &meta).len()
    }

    #[test]
    fn names_and_labels_follow_the_rules_of_the_api_server() {
        for (kind, name, fits) in [
            (Kind::Pod, "worker-1.a", true),
            (Kind::Service, "echo", true),
            (Kind::Service, "a.b", false),
            (Kind::Service, "1a", false),
            (Kind::Node, "10.0.0.1", true),
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
            assert_eq!(judged(Kind::Pod, "p", &[(key, value)]) == 0, fits, "{key}={value}");
        }
    }
}
