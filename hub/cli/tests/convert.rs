//! `portreeve convert` with the objects of l7mp's documents.
#![allow(clippy::unwrap_used, reason = "a test ends where it can't start what it tests")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use portreeve_api::b::convert::convert;
use serde::Deserialize;
use serde_json::{Value, json};

fn fixture(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/convert").join(file)
}

fn run(files: &[&Path]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_portreeve")).arg("convert").args(files).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn objects(output: &Output) -> Vec<Value> {
    let text = text(&output.stdout);
    serde_yaml::Deserializer::from_str(&text).map(|document| Value::deserialize(document).unwrap()).collect()
}

/// Converts a file whole. Returns its objects, which are valid, and what was changed.
fn whole(file: &str) -> (Vec<Value>, String) {
    let output = run(&[&fixture(file)]);
    let notes = text(&output.stderr);
    assert!(output.status.success(), "{notes}");
    let objects = objects(&output);
    for object in &objects {
        let again = convert(object.clone()).unwrap();
        assert_eq!((&again.object, again.changes, again.warnings), (object, vec![], vec![]));
    }
    (objects, notes)
}

fn named<'a>(objects: &'a [Value], name: &str) -> &'a Value {
    &objects.iter().find(|object| object["metadata"]["name"] == name).unwrap()["spec"]
}

#[test]
fn both_examples_of_the_document_are_converted_whole() {
    let (objects, notes) = whole("document.yaml");
    assert_eq!(objects.len(), 10);
    assert!(objects.iter().all(|object| object["apiVersion"] == "l7mp.io/v1"));
    assert!(objects.iter().all(|object| object["metadata"].get("selector").is_none()));
    let user = named(&objects, "gateway-user-a-vsvc");
    let connect = json!({"address": "192.168.0.1", "port": 8001});
    assert_eq!(user["udp"], json!({"port": 8001, "connect": connect}));
    assert_eq!(user["selector"], json!({"serviceName": "gateway-svc"}));
    assert_eq!(named(&objects, "transcoder-vsvc")["rules"].as_array().map(Vec::len), Some(1));
    // One version each, nine selectors, two ports and one list.
    assert_eq!(notes.lines().count(), 10 + 9 + 2 + 1, "{notes}");
    let line = r#"document 9 (VirtualService gateway-user-a-vsvc): spec.udp.port: the text "8001," is the number 8001 now"#;
    assert!(notes.contains(line), "{notes}");
}

#[test]
fn later_edition_of_the_document_is_converted_whole() {
    let (objects, notes) = whole("later-edition.yaml");
    assert_eq!(objects.len(), 10);
    assert_eq!(named(&objects, "transcoder-vsvc")["websocket"], json!({"port": 8888}));
    assert_eq!(named(&objects, "worker-vsvc")["jsonsocket"], json!({"transport": {"UDP": {"port": 19000}}}));
    let target = &named(&objects, "transcoder-target")["cluster"]["spec"];
    assert_eq!(*target, json!({"JSONSocket": {"transport": {"UDP": {"port": 19001}}}}));
    let sync = &named(&objects, "sync-target")["cluster"]["spec"];
    assert_eq!(*sync, json!({"Sync": {"query": "/labels/session_id"}}));
    assert_eq!(named(&objects, "gateway-user-a-vsvc")["options"], json!({"removeOrphanSessions": true}));
    assert!(!notes.contains("(Route gateway-route)"), "nothing of it was changed: {notes}");
}

#[test]
fn real_objects_of_the_deployed_definitions_pass_through() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../api/tests/mesh");
    let files = ["calls.yaml", "envoy-and-rtpengine.yaml", "media-plane.yaml", "tutorials.yaml"];
    for file in files.map(|file| folder.join(file)) {
        let output = run(&[&file]);
        assert_eq!(
            (output.status.success(), text(&output.stderr)),
            (true, String::new()),
            "{}",
            file.display()
        );
        let given = std::fs::read_to_string(&file).unwrap();
        let given = serde_yaml::Deserializer::from_str(&given).map(|one| Value::deserialize(one).unwrap());
        assert_eq!(objects(&output), given.collect::<Vec<_>>());
    }
}

#[test]
fn file_with_an_object_that_cannot_be_converted_yields_nothing_but_the_reason() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("mixed.yaml");
    let (good, bad) =
        ("kind: Route\napiVersion: l7mp.io/v1\nmetadata: {name: r}\nspec: {destination: d}\n", "port: http");
    let service = "apiVersion: v1\nkind: Service\nmetadata: {name: s}\n";
    let broken = format!(
        "kind: VirtualService\napiVersion: l7mp.io/v1\nmetadata: {{name: v}}\nspec: {{selector: {{matchLabels: {{a: b}}}}, listener: \
         {{protocol: UDP, {bad}}}}}\n"
    );
    std::fs::write(&file, [good, service, &broken].join("---\n")).unwrap();
    let output = run(&[&file]);
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(1), String::new()));
    let (said, name) = (text(&output.stderr), file.display());
    for line in [
        format!(
            "{name}: document 2 (Service s): left out, because only objects of l7mp.io are converted, not Service of v1"
        ),
        format!(
            "{name}: document 3 (VirtualService v): spec.listener.port: must be a whole number, for example 8001, is \"http\""
        ),
        "error: nothing is printed: one field can't be converted".to_owned(),
    ] {
        assert!(said.lines().any(|one| one == line), "{line}\n{said}");
    }

    std::fs::write(&file, [good, service].join("---\n")).unwrap();
    let output = run(&[&file, &fixture("document.yaml")]);
    assert!(output.status.success());
    assert_eq!(objects(&output).len(), 11);
}
