//! Rewrites routes.

use serde_json::{Map, Value, json};

use super::edit::{boolean, list, put, refuse, rename};
use super::matcher::re2;
use crate::message::problem::{Problem, Refused};

pub fn action(object: &mut Map<String, Value>) -> Result<(), Refused> {
    rename(object, "host_rewrite", "host_rewrite_literal")?;
    rename(object, "auto_host_rewrite_header", "host_rewrite_header")?;
    match object.remove("request_mirror_policy") {
        Some(policy) => put(object, "request_mirror_policy", "request_mirror_policies", json!([policy])),
        None => Ok(()),
    }
}

/// Removes a total that is the sum of the weights, which is v3's default. Envoy warns of any total.
pub fn weighted(object: &mut Map<String, Value>) -> Result<(), Refused> {
    let weight = |cluster: &Value| cluster.get("weight").and_then(Value::as_u64).unwrap_or_default();
    let clusters = object.get("clusters").and_then(Value::as_array);
    let sum: Option<u64> = clusters.map(|clusters| clusters.iter().map(weight).sum());
    if sum.is_some() && object.get("total_weight").and_then(Value::as_u64) == sum {
        object.remove("total_weight");
    }
    Ok(())
}

pub fn mirror(object: &mut Map<String, Value>) -> Result<(), Refused> {
    refuse(object, "runtime_key", "use runtime_fraction")
}

pub fn per_filter(object: &mut Map<String, Value>) -> Result<(), Refused> {
    refuse(object, "per_filter_config", "use typed_per_filter_config with an @type for each filter")
}

pub fn cors(object: &mut Map<String, Value>) -> Result<(), Refused> {
    let exact = list(object, "allow_origin")?.unwrap_or_default();
    let regex = list(object, "allow_origin_regex")?.unwrap_or_default();
    // In v2, the origin * allows all.
    let one = |origin: Value| match origin == "*" {
        true => json!({"safe_regex": {"regex": ".*"}}),
        false => json!({"exact": origin}),
    };
    let mut matchers: Vec<Value> = exact.into_iter().map(one).collect();
    for regex in regex {
        matchers.push(json!({"safe_regex": re2("allow_origin_regex", regex)?}));
    }
    if !matchers.is_empty() {
        put(object, "allow_origin", "allow_origin_string_match", Value::Array(matchers))?;
    }
    match boolean(object, "enabled")? {
        Some(false) if object.contains_key("filter_enabled") => {
            Err(Refused { field: "enabled", problem: Problem::Both("filter_enabled") })
        }
        Some(false) => put(object, "enabled", "filter_enabled", json!({"default_value": {"numerator": 0}})),
        _ => Ok(()),
    }
}
