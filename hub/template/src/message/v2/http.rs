//! Rewrites HTTP connection managers and filters.

use serde_json::{Map, Value, json};

use super::edit::{list, put, refuse};
use crate::message::problem::{Problem, Refused};

pub fn manager(object: &mut Map<String, Value>) -> Result<(), Refused> {
    let Some(timeout) = object.remove("idle_timeout") else { return Ok(()) };
    let options = object.entry("common_http_protocol_options").or_insert_with(|| json!({}));
    let Some(options) = options.as_object_mut() else { return Ok(()) };
    let taken = options.contains_key("idle_timeout") || options.contains_key("idleTimeout");
    if taken {
        let problem = Problem::Both("common_http_protocol_options.idle_timeout");
        return Err(Refused { field: "idle_timeout", problem });
    }
    options.insert("idle_timeout".to_owned(), timeout);
    Ok(())
}

pub fn tracing(object: &mut Map<String, Value>) -> Result<(), Refused> {
    // Envoy takes a listener without a direction for one of ingress.
    match object.remove("operation_name") {
        None => {}
        Some(Value::String(name)) if name.eq_ignore_ascii_case("INGRESS") => {}
        Some(_) => {
            let reason = "set traffic_direction: OUTBOUND in the listener";
            return Err(Refused::rewrite("operation_name", reason));
        }
    }
    let Some(headers) = list(object, "request_headers_for_tags")? else { return Ok(()) };
    let tag = |header: Value| json!({"tag": header.clone(), "request_header": {"name": header}});
    let tags: Vec<Value> = headers.into_iter().map(tag).collect();
    put(object, "request_headers_for_tags", "custom_tags", Value::Array(tags))
}

pub fn ext_authz(object: &mut Map<String, Value>) -> Result<(), Refused> {
    refuse(object, "use_alpha", "the server must speak envoy.service.auth.v3")
}
