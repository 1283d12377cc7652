//! Adapts reports to an older NodeReport definition in the cluster, for example after `helm upgrade`, which
//! does not update definitions. Server-side apply rejects the whole object if its definition lacks one field.

use std::collections::BTreeSet;

use serde_json::Value;

/// The API server's error about such a field. The field's path precedes it.
const UNDECLARED: &str = ": field not declared in schema";

/// Returns the names of undefined fields in the API server's error, which may name only some of them. Empty
/// if the error has another cause.
pub(super) fn undeclared(refusal: &str) -> BTreeSet<String> {
    let mut parts: Vec<&str> = refusal.split(UNDECLARED).collect();
    // The text after the last path.
    parts.pop();
    let name = |path: &str| path.rsplit('.').next().map(str::to_owned);
    let is_name = |name: &String| !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric());
    parts.into_iter().filter_map(name).filter(is_name).collect()
}

/// Removes the fields with these names at any depth.
pub(super) fn leave_out(value: &mut Value, names: &BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            fields.retain(|name, _| !names.contains(name));
            fields.values_mut().for_each(|value| leave_out(value, names));
        }
        Value::Array(items) => items.iter_mut().for_each(|item| leave_out(item, names)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn names(all: &[&str]) -> BTreeSet<String> {
        all.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn fields_that_the_definition_lacks_are_read_from_the_refusal() {
        let refusal = "failed to create typed patch object (/n1; portreeve.dev/v1alpha1, Kind=NodeReport): errors:\n  \
                       .status.proxies[name=\"gw.a\"].started: field not declared in schema\n  \
                       .status.proxies[name=\"gw.a\"].rssBytes: field not declared in schema";
        assert_eq!(undeclared(refusal), names(&["started", "rssBytes"]));
        let one = "failed to create typed patch object: .status.other: field not declared in schema";
        assert_eq!(undeclared(one), names(&["other"]));
        for other in
            ["", "conflict", "field not declared in schema", ".status.a b: field not declared in schema"]
        {
            assert_eq!(undeclared(other), names(&[]), "{other}");
        }
    }

    #[test]
    fn only_those_fields_are_left_out() {
        let mut report =
            json!({"status": {"proxies": [{"name": "a", "started": 1}, {"rssBytes": 2, "pid": 3}]}});
        leave_out(&mut report, &names(&["started", "rssBytes"]));
        assert_eq!(report, json!({"status": {"proxies": [{"name": "a"}, {"pid": 3}]}}));
    }
}
