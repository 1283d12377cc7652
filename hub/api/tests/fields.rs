//! `hub/api/README.md` lists the fields of every kind as the definitions have them.
//! `UPDATE=1 cargo test -p portreeve-api --test fields` rewrites it.
#![allow(clippy::unwrap_used, reason = "a test ends where its files are missing")]

use std::fmt::Write;
use std::fs;
use std::path::Path;

use portreeve_api::crds;
use serde_json::Value;

const HEAD: &str = "# Fields of every kind\n\n\
    Generated from the definitions in `deploy/crds`: `UPDATE=1 cargo test -p portreeve-api --test fields`.\n\
    A field in **bold** must be given.\n";

/// The type of a field with its bounds, in words.
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
    let bounds = [
        ("minimum", "at least"),
        ("maximum", "at most"),
        ("minLength", "characters at least"),
        ("maxLength", "characters at most"),
        ("maxItems", "items at most"),
        ("maxProperties", "entries at most"),
    ];
    for (key, words) in bounds {
        if let Some(bound) = schema[key].as_f64() {
            write!(text, "; {words} {bound}").unwrap();
        }
    }
    text
}

/// A value as a person writes it.
fn plain(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// A row for each field below a schema, in the schema's order.
fn rows(path: &str, schema: &Value, out: &mut String) {
    let required = |name: &str| {
        schema["required"].as_array().into_iter().flatten().any(|one| one.as_str() == Some(name))
    };
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let here = format!("{path}{name}");
        let title = if required(name) { format!("**`{here}`**") } else { format!("`{here}`") };
        let default = field.get("default").map_or_else(String::new, |value| format!("`{value}`"));
        let says = plain(&field["description"]).replace('\n', " ").replace('|', "\\|");
        writeln!(out, "| {title} | {} | {default} | {says} |", type_of(field)).unwrap();
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
        text.push_str("| field | type | default | meaning |\n|---|---|---|---|\n");
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
