//! The edits that rewrites are made of.

use serde_json::{Map, Value, json};

use crate::message::problem::{Problem, Refused};

/// Messages of v3 whose server must speak v3 too. API v2 has no such field in them.
const VERSIONED: [&str; 5] = [
    "envoy.config.ratelimit.v3.RateLimitServiceConfig",
    "envoy.extensions.access_loggers.grpc.v3.CommonGrpcAccessLogConfig",
    "envoy.extensions.filters.http.ext_authz.v3.ExtAuthz",
    "envoy.extensions.filters.network.ext_authz.v3.ExtAuthz",
    "envoy.config.core.v3.ApiConfigSource",
];

/// The fields that name a version of the API.
const FIELDS: [&str; 2] = ["transport_api_version", "resource_api_version"];

/// Sets versions of the API to V3, the only one that today's Envoys speak.
pub fn versions(message: &str, object: &mut Map<String, Value>) {
    for field in FIELDS {
        if let Some(version) = object.get_mut(field) {
            *version = json!("V3");
        }
    }
    if VERSIONED.contains(&message) {
        object.insert(FIELDS[0].to_owned(), json!("V3"));
    }
}

/// Inserts the field that replaces another one.
pub fn put(
    object: &mut Map<String, Value>,
    from: &'static str,
    field: &'static str,
    value: Value,
) -> Result<(), Refused> {
    match object.insert(field.to_owned(), value) {
        None => Ok(()),
        Some(_) => Err(Refused { field: from, problem: Problem::Both(field) }),
    }
}

/// Renames a field.
pub fn rename(object: &mut Map<String, Value>, from: &'static str, to: &'static str) -> Result<(), Refused> {
    match object.remove(from) {
        Some(value) => put(object, from, to, value),
        None => Ok(()),
    }
}

/// Refuses a field.
pub fn refuse(object: &Map<String, Value>, field: &'static str, reason: &str) -> Result<(), Refused> {
    match object.contains_key(field) {
        true => Err(Refused::rewrite(field, reason)),
        false => Ok(()),
    }
}

/// Removes a boolean field. Returns `None` if it is missing.
pub fn boolean(object: &mut Map<String, Value>, field: &'static str) -> Result<Option<bool>, Refused> {
    match object.remove(field) {
        None => Ok(None),
        Some(Value::Bool(value)) => Ok(Some(value)),
        Some(_) => Err(Refused::rewrite(field, "it must be true or false")),
    }
}

/// Removes a list.
pub fn list(object: &mut Map<String, Value>, field: &'static str) -> Result<Option<Vec<Value>>, Refused> {
    match object.remove(field) {
        None => Ok(None),
        Some(Value::Array(values)) => Ok(Some(values)),
        Some(_) => Err(Refused::rewrite(field, "it must be a list")),
    }
}
