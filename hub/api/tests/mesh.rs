//! Real objects of API B are accepted as they are. The files in `mesh` have the fields and the spellings of the manifests of
//! l7mp's documentation, of a media plane, and of the objects that two media controllers write for each call.
#![allow(clippy::unwrap_used, reason = "a test ends where its files are missing")]

use std::fs;
use std::path::Path;

use portreeve_api::Violation;
use portreeve_api::b::rule::Rule;
use portreeve_api::b::target::Target;
use portreeve_api::b::virtual_service::VirtualService;
use serde::Deserialize;
use serde_json::Value;

fn objects(file: &str) -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/mesh").join(file);
    let text = fs::read_to_string(path).unwrap();
    serde_yaml::Deserializer::from_str(&text).map(|document| Value::deserialize(document).unwrap()).collect()
}

/// Reads an object. Returns its kind, the warnings, the violations, and the reasons why it has no form.
fn judge(value: Value) -> (&'static str, Vec<String>, Vec<Violation>, Vec<Violation>) {
    match value["kind"].as_str().unwrap() {
        "VirtualService" => {
            let (object, warnings) = VirtualService::parse(value).unwrap();
            ("VirtualService", warnings, object.validate(), object.form().err().unwrap_or_default())
        }
        "Target" => {
            let (object, warnings) = Target::parse(value).unwrap();
            ("Target", warnings, object.validate(), object.form().err().unwrap_or_default())
        }
        "Rule" => {
            let (object, warnings) = Rule::parse(value).unwrap();
            ("Rule", warnings, object.validate(), object.form().err().unwrap_or_default())
        }
        other => panic!("kind {other}"),
    }
}

#[test]
fn every_real_object_is_accepted_and_has_a_form() {
    // VirtualServices, Targets and Rules.
    for (file, expected) in [
        ("media-plane.yaml", [16, 24, 0]),
        ("envoy-and-rtpengine.yaml", [6, 6, 0]),
        ("calls.yaml", [8, 4, 8]),
        ("tutorials.yaml", [6, 5, 0]),
    ] {
        let mut counts = [0; 3];
        for value in objects(file) {
            let title = format!("{file}: {}", value["metadata"]);
            let (kind, warnings, violations, reasons) = judge(value);
            assert_eq!((warnings, violations, reasons), (vec![], vec![], vec![]), "{title}");
            counts[["VirtualService", "Target", "Rule"].iter().position(|one| *one == kind).unwrap()] += 1;
        }
        assert_eq!(counts, expected, "{file}");
    }
}
