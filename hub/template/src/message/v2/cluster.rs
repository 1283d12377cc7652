//! Rewrites clusters and their assignments.

use serde_json::{Map, Value, json};

use super::edit::{boolean, list, put, refuse, rename};
use crate::message::extension;
use crate::message::problem::Refused;

pub fn cluster(object: &mut Map<String, Value>) -> Result<(), Refused> {
    refuse(object, "extension_protocol_options", "use typed_extension_protocol_options")?;
    rename(object, "drain_connections_on_host_removal", "ignore_health_on_host_removal")?;
    if let Some(context) = object.remove("tls_context") {
        put(object, "tls_context", "transport_socket", extension::tls_socket(context, true))?;
    }
    if object.get("lb_policy").and_then(Value::as_str) == Some("ORIGINAL_DST_LB") {
        object.insert("lb_policy".to_owned(), json!("CLUSTER_PROVIDED"));
    }
    let Some(hosts) = list(object, "hosts")? else { return Ok(()) };
    let endpoints = hosts.into_iter().map(|address| json!({"endpoint": {"address": address}}));
    let endpoints: Vec<Value> = endpoints.collect();
    let name = object.get("name").cloned().unwrap_or_default();
    let assignment = json!({"cluster_name": name, "endpoints": [{"lb_endpoints": endpoints}]});
    put(object, "hosts", "load_assignment", assignment)
}

pub fn http_health_check(object: &mut Map<String, Value>) -> Result<(), Refused> {
    if boolean(object, "use_http2")? == Some(true) {
        put(object, "use_http2", "codec_client_type", json!("HTTP2"))?;
    }
    match object.remove("service_name") {
        Some(name) => put(object, "service_name", "service_name_matcher", json!({"prefix": name})),
        None => Ok(()),
    }
}

pub fn policy(object: &mut Map<String, Value>) -> Result<(), Refused> {
    match boolean(object, "disable_overprovisioning")? {
        Some(true) => Err(Refused::rewrite("disable_overprovisioning", "use overprovisioning_factor")),
        _ => Ok(()),
    }
}
