//! Where a session's labels are. A JSONSocket listener puts the header of its client under `/JSONSocket`, so there labels
//! have another path than elsewhere.

use serde_json::Value;

/// The path of labels.
const LABELS: &str = "/labels";

/// Returns the path of the session's labels.
pub(super) fn labels(json_socket: bool) -> &'static str {
    if json_socket { "/JSONSocket/labels" } else { LABELS }
}

/// Returns the path that a session of a JSONSocket listener has for this one, if it is a label's.
pub(super) fn path(path: &str) -> String {
    let rest = path.strip_prefix(LABELS).filter(|rest| rest.is_empty() || rest.starts_with('/'));
    rest.map_or_else(|| path.to_owned(), |rest| format!("{}{rest}", labels(true)))
}

/// Changes the paths of labels in a JSON predicate.
pub(super) fn predicate(value: &mut Value) {
    match value {
        Value::Array(all) => all.iter_mut().for_each(predicate),
        Value::Object(fields) => {
            for (key, value) in fields.iter_mut() {
                match (key.as_str(), &mut *value) {
                    ("path", Value::String(text)) => *text = path(text),
                    ("apply", nested) => predicate(nested),
                    _ => {}
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_paths_of_labels_change() {
        for (given, expected) in [
            ("/labels", "/JSONSocket/labels"),
            ("/labels/a", "/JSONSocket/labels/a"),
            ("/labelled", "/labelled"),
            ("/JSONSocket/labels/a", "/JSONSocket/labels/a"),
            ("/IP/src_addr", "/IP/src_addr"),
        ] {
            assert_eq!(path(given), expected);
        }
        let mut tree = json!({"op": "and", "apply": [
            {"op": "test", "path": "/labels/a", "value": {"path": "/labels/a"}},
            {"op": "not", "apply": [{"op": "defined", "path": "/labels"}]},
        ]});
        predicate(&mut tree);
        assert_eq!(
            tree,
            json!({"op": "and", "apply": [
                {"op": "test", "path": "/JSONSocket/labels/a", "value": {"path": "/labels/a"}},
                {"op": "not", "apply": [{"op": "defined", "path": "/JSONSocket/labels"}]},
            ]})
        );
    }
}
