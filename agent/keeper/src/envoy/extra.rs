//! Additions of a NodeProxy to its Envoy's bootstrap: the user's own fields, and a limit of the heap. Entry points:
//! [`parse`], [`merge`] and [`limit_heap`].

use serde_json::{Map, Value, json};

use portreeve_api::own::node_proxy::AGENTS_OWN;

const FIXED_HEAP: &str =
    "type.googleapis.com/envoy.extensions.resource_monitors.fixed_heap.v3.FixedHeapConfig";
const HEAP: &str = "envoy.resource_monitors.fixed_heap";

/// Envoy's overload actions, each with the part of the heap above which it is active.
const ACTIONS: [(&str, f64); 3] = [
    ("envoy.overload_actions.shrink_heap", 0.95),
    ("envoy.overload_actions.stop_accepting_connections", 0.98),
    ("envoy.overload_actions.stop_accepting_requests", 0.98),
];

/// The reason why an addition can't be merged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExtraError {
    /// The text is not a JSON object.
    #[error("the extra bootstrap is no JSON object: {0}")]
    Syntax(String),
    /// A field that only the agent may set.
    #[error("the extra bootstrap must not give {0}: that is the agent's")]
    Agents(String),
}

/// Parses the addition.
///
/// # Errors
/// Returns [`ExtraError`] if it isn't an object, or sets a field that only the agent may set.
pub fn parse(text: &str) -> Result<Map<String, Value>, ExtraError> {
    let extra: Map<String, Value> =
        serde_json::from_str(text).map_err(|error| ExtraError::Syntax(error.to_string()))?;
    match AGENTS_OWN.iter().find(|name| extra.contains_key(**name)) {
        Some(name) => Err(ExtraError::Agents((*name).to_owned())),
        None => Ok(extra),
    }
}

/// Merges `extra` into `base` like Envoy merges a second configuration: objects are merged, lists joined, other values
/// replaced. Envoy's JSON allows two spellings of each name. The bootstrap uses snake_case, so names in `extra` are
/// converted to it.
pub fn merge(base: &mut Map<String, Value>, extra: Map<String, Value>) {
    for (name, value) in extra {
        let plain = snake_case(&name);
        let name = if base.contains_key(&plain) { plain } else { name };
        match (base.get_mut(&name), value) {
            (Some(Value::Object(base)), Value::Object(extra)) => merge(base, extra),
            (Some(Value::Array(base)), Value::Array(extra)) => base.extend(extra),
            (_, value) => {
                base.insert(name, value);
            }
        }
    }
}

/// Converts `staticResources` to `static_resources`.
fn snake_case(name: &str) -> String {
    let mut plain = String::with_capacity(name.len() + 4);
    for c in name.chars() {
        if c.is_ascii_uppercase() {
            plain.push('_');
        }
        plain.push(c.to_ascii_lowercase());
    }
    plain
}

/// Adds overload actions that keep Envoy's heap below this number of bytes: near the limit, it releases memory to the
/// system and accepts no new TCP connections and HTTP requests. Envoy has no such action for UDP sessions.
pub fn limit_heap(base: &mut Map<String, Value>, bytes: u64) {
    let action = |(name, part): (&str, f64)| json!({"name": name, "triggers": [{"name": HEAP, "threshold": {"value": part}}]});
    let heap = json!({"@type": FIXED_HEAP, "max_heap_size_bytes": bytes});
    base.insert(
        "overload_manager".into(),
        json!({
            "refresh_interval": "0.25s",
            "resource_monitors": [{"name": HEAP, "typed_config": heap}],
            "actions": ACTIONS.map(action),
        }),
    );
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, Value, json};

    use super::{merge, parse};

    fn object(value: Value) -> Map<String, Value> {
        value.as_object().cloned().unwrap()
    }

    #[test]
    fn objects_are_merged_lists_joined_and_other_values_replaced() {
        let mut base = object(json!({"a": {"b": [1], "c": 2}, "d": 3}));
        merge(&mut base, object(json!({"a": {"b": [4], "c": 5, "e": {}}, "d": 6, "f": [7]})));
        assert_eq!(Value::from(base), json!({"a": {"b": [1, 4], "c": 5, "e": {}}, "d": 6, "f": [7]}));
    }

    #[test]
    fn both_ways_to_write_a_name_are_the_same_field() {
        let mut base = object(json!({"static_resources": {"clusters": [1]}}));
        merge(&mut base, object(json!({"staticResources": {"clusters": [2]}, "statsFlushInterval": "1s"})));
        let expected = json!({"static_resources": {"clusters": [1, 2]}, "statsFlushInterval": "1s"});
        assert_eq!(Value::from(base), expected);
    }

    #[test]
    fn what_is_the_agents_and_what_is_no_object_is_refused() {
        for (text, expected) in [
            (r#"{"node": {}}"#, "the extra bootstrap must not give node: that is the agent's"),
            (r#"{"admin": {}}"#, "the extra bootstrap must not give admin: that is the agent's"),
            (
                r#"{"dynamicResources": {}}"#,
                "the extra bootstrap must not give dynamicResources: that is the agent's",
            ),
        ] {
            assert_eq!(parse(text).unwrap_err().to_string(), expected);
        }
        for text in ["", "[]", "7", "{"] {
            assert!(
                parse(text).unwrap_err().to_string().starts_with("the extra bootstrap is no JSON object"),
                "{text}"
            );
        }
        assert_eq!(parse(r#"{"stats_flush_interval": "10s"}"#).unwrap().len(), 1);
    }
}
