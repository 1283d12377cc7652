//! Rewrites listeners.

use serde_json::{Map, Value, json};

use super::edit::{list, put};
use crate::message::extension;
use crate::message::problem::Refused;

pub fn filter_chain(object: &mut Map<String, Value>) -> Result<(), Refused> {
    match object.remove("tls_context") {
        Some(context) => {
            put(object, "tls_context", "transport_socket", extension::tls_socket(context, false))
        }
        None => Ok(()),
    }
}

pub fn validation(object: &mut Map<String, Value>) -> Result<(), Refused> {
    let Some(names) = list(object, "verify_subject_alt_name")? else { return Ok(()) };
    let names: Vec<Value> = names.into_iter().map(|name| json!({"exact": name})).collect();
    put(object, "verify_subject_alt_name", "match_subject_alt_names", Value::Array(names))
}
