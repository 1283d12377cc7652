//! Rewrites matchers of paths, headers, parameters and texts.

use serde_json::{Map, Value, json};

use super::edit::{boolean, list, put};
use crate::message::problem::{Problem, Refused};

/// What the expressions of API v2 may have, and RE2 doesn't.
const NOT_RE2: [&str; 6] = ["(?=", "(?!", "(?<=", "(?<!", "(?>", "\\1"];

/// Header matches of v2, and the fields of v3's `string_match`.
const HEADERS: [(&str, &str); 6] = [
    ("exact_match", "exact"),
    ("prefix_match", "prefix"),
    ("suffix_match", "suffix"),
    ("contains_match", "contains"),
    ("safe_regex_match", "safe_regex"),
    ("regex_match", "safe_regex"),
];

pub fn path(object: &mut Map<String, Value>) -> Result<(), Refused> {
    regex(object, "regex", "safe_regex")
}

pub fn text(object: &mut Map<String, Value>) -> Result<(), Refused> {
    regex(object, "regex", "safe_regex")
}

pub fn header(object: &mut Map<String, Value>) -> Result<(), Refused> {
    for (from, to) in HEADERS {
        let Some(value) = object.remove(from) else { continue };
        let value = if from == "regex_match" { re2(from, value)? } else { value };
        put(object, from, "string_match", json!({to: value}))?;
    }
    Ok(())
}

/// Without a value, a matcher of v2 matches any value of the parameter.
pub fn query(object: &mut Map<String, Value>) -> Result<(), Refused> {
    let is_regex = boolean(object, "regex")?.unwrap_or_default();
    match object.remove("value") {
        Some(value) if is_regex => {
            put(object, "value", "string_match", json!({"safe_regex": re2("value", value)?}))
        }
        Some(value) if value != "" => put(object, "value", "string_match", json!({"exact": value})),
        _ if object.contains_key("string_match") || object.contains_key("present_match") => Ok(()),
        _ => put(object, "value", "present_match", json!(true)),
    }
}

pub fn virtual_cluster(object: &mut Map<String, Value>) -> Result<(), Refused> {
    let (pattern, method) = (object.remove("pattern"), object.remove("method"));
    if pattern.is_none() && method.is_none() {
        return Ok(());
    }
    if list(object, "headers")?.is_some() {
        return Err(Refused { field: "pattern", problem: Problem::Both("headers") });
    }
    let mut headers = Vec::new();
    if let Some(pattern) = pattern {
        headers.push(json!({"name": ":path", "string_match": {"safe_regex": re2("pattern", pattern)?}}));
    }
    if let Some(method) = method {
        headers.push(json!({"name": ":method", "string_match": {"exact": method}}));
    }
    put(object, "pattern", "headers", Value::Array(headers))
}

fn regex(object: &mut Map<String, Value>, from: &'static str, to: &'static str) -> Result<(), Refused> {
    match object.remove(from) {
        Some(value) => put(object, from, to, re2(from, value)?),
        None => Ok(()),
    }
}

/// Returns a matcher of RE2, which v3 has alone. v2 had std::regex: its expressions are the same but for a few.
pub fn re2(field: &'static str, value: Value) -> Result<Value, Refused> {
    let unknown = |text: &str| NOT_RE2.iter().find(|part| text.contains(**part));
    match value.as_str().and_then(unknown) {
        Some(part) => Err(Refused::rewrite(field, format!("RE2 has no {part} in expressions"))),
        None => Ok(json!({"regex": value})),
    }
}
