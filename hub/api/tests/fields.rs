//! `hub/api/README.md` lists the fields of every kind, generated from the definitions.
//! `UPDATE=1 cargo test -p portreeve-api --test fields` rewrites it.
#![allow(clippy::unwrap_used, reason = "a test ends where its files are missing")]

use std::fmt::Write;
use std::fs;
use std::path::Path;

use portreeve_api::crds;
use serde_json::Value;

const HEAD: &str = "# Fields of every kind\n\n\
    Generated from the definitions in `deploy/crds`: `UPDATE=1 cargo test -p portreeve-api --test fields`.\n\
    Fields in **bold** are required.\n";

/// Returns the type of a field with its limits, in words.
fn type_of(schema: &Value) -> String {
    let mut text = match (&schema["type"], &schema["items"]["type"], &schema["additionalProperties"]["type"])
    {
        (_, Value::String(of), _) => format!("list of {of}s"),
        (_, _, Value::String(of)) => format!("map of {of}s"),
        (Value::String(of), ..) => of.clone(),
        _ => "any".into(),
    };
    let words: Vec<String> =
        schema["enum"].as_array().into_iter().flatten().map(|v| plain(v).into()).collect();
    if !words.is_empty() {
        text = words.join(", ");
    }
    let limits = [
        ("minimum", "maximum", ""),
        ("minLength", "maxLength", " characters"),
        ("minItems", "maxItems", " items"),
        ("minProperties", "maxProperties", " entries"),
    ];
    for (least, most, counted) in limits {
        match (schema[least].as_f64(), schema[most].as_f64()) {
            (Some(least), Some(most)) => write!(text, "; {least} to {most}{counted}").unwrap(),
            (Some(least), None) => write!(text, "; at least {least}{counted}").unwrap(),
            (None, Some(most)) => write!(text, "; at most {most}{counted}").unwrap(),
            (None, None) => {}
        }
    }
    text
}

/// Returns the unit of a field, as its description names it; empty for a field without a unit.
fn unit_of(description: &str) -> &'static str {
    let named = |unit: &str| {
        description.to_lowercase().starts_with(&format!("{unit} "))
            || description.contains(&format!("in {unit}"))
    };
    ["milliseconds", "seconds", "bytes"].into_iter().find(|unit| named(unit)).unwrap_or_default()
}

/// Returns a text value without quotes.
fn plain(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// Writes a row for each field below a schema, in the schema's order.
fn rows(path: &str, schema: &Value, out: &mut String) {
    let required = |name: &str| {
        schema["required"].as_array().into_iter().flatten().any(|one| one.as_str() == Some(name))
    };
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let here = format!("{path}{name}");
        let title = if required(name) { format!("**`{here}`**") } else { format!("`{here}`") };
        let default = field.get("default").map_or_else(String::new, |value| format!("`{value}`"));
        let says = plain(&field["description"]).replace('\n', " ").replace('|', "\\|");
        writeln!(out, "| {title} | {} | {} | {default} | {says} |", type_of(field), unit_of(&says)).unwrap();
        let below = if field["items"].is_object() { &field["items"] } else { field };
        let mark = if field["items"].is_object() { "[]." } else { "." };
        rows(&format!("{here}{mark}"), below, out);
    }
}

fn generated() -> String {
    let mut text = HEAD.to_owned();
    for crd in crds::all() {
        let (names, version) = (&crd.spec.names, &crd.spec.versions[0]);
        let schema = serde_json::to_value(&version.schema).unwrap();
        let schema = &schema["openAPIV3Schema"];
        write!(text, "\n## {}\n\n", names.kind).unwrap();
        let scope = crd.spec.scope.to_lowercase();
        writeln!(text, "`{}/{}`, {scope}. {}\n", crd.spec.group, version.name, plain(&schema["description"]))
            .unwrap();
        text.push_str("| field | type | unit | default | meaning |\n|---|---|---|---|---|\n");
        for part in ["spec", "status"] {
            rows(&format!("{part}."), &schema["properties"][part], &mut text);
        }
    }
    text
}

#[test]
fn fields_are_those_of_the_definitions() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let generated = generated();
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&file, &generated).unwrap();
    }
    let written = fs::read_to_string(&file).unwrap_or_default();
    assert!(written == generated, "run with UPDATE=1 to rewrite hub/api/README.md");
}
