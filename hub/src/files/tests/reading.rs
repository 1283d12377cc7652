//! Tables of bytes and their parsed content. `tests/tests/scenarios/manifests.rs` compares similar files with the real
//! kubectl.

use serde_json::{Value, json};

use super::super::document::{Refusal, parse};
use super::super::text::values;

/// Returns the `spec` of every document.
fn specs(bytes: &[u8]) -> Result<Vec<Value>, String> {
    Ok(values(bytes)?.documents.into_iter().map(|mut document| document["spec"].take()).collect())
}

fn utf16(text: &str, encode: fn(u16) -> [u8; 2]) -> Vec<u8> {
    format!("\u{feff}{text}").encode_utf16().flat_map(encode).collect()
}

#[test]
fn documents_are_taken_apart_as_by_kubectl() {
    let one = || vec![json!({"a": "x"})];
    let two = || vec![json!({"a": "x"}), json!({"a": "z"})];
    for (text, wanted) in [
        ("spec: {a: x}\n", one()),
        ("\u{feff}spec: {a: x}\n", one()),
        ("spec: {a: x}\r\n---\r\nspec: {a: z}\r\n", two()),
        ("--- # first\nspec: {a: x}\n---\t# second\nspec: {a: z}", two()),
        ("---\n---\nspec: {a: x}\n---\n# nothing\n---\n", one()),
        ("spec: {a: x}\n---\n\u{feff}spec: {a: z}\n", two()),
        ("spec: {a: x}\n...\n---\nspec: {a: z}\n", two()),
        ("spec:\n  a: |-\n    x\n    ---\n", vec![json!({"a": "x\n---"})]),
        ("# nothing\n---\n# at all\n", vec![]),
        ("", vec![]),
        ("{\"spec\": {\"a\": \"x\"}}\n{\"spec\": {\"a\": \"z\"}}", two()),
        ("{\"spec\": {\"a\": \"x\"}}\n---\n{\"spec\": {\"a\": \"z\"}}", two()),
        ("{\n\t\"spec\":\t{\"a\": \"x\"}\n}", one()),
        ("\u{feff}{\"spec\": {\"a\": \"x\"}}", one()),
        ("{spec: {a: x,}, # a comment\n}", one()),
    ] {
        assert_eq!(specs(text.as_bytes()).as_ref(), Ok(&wanted), "{text:?}");
    }
    let comments = "# a line\n".repeat(500) + "spec: {a: x}\n";
    assert_eq!(specs(comments.as_bytes()), Ok(one()));
    for encode in [u16::to_le_bytes, u16::to_be_bytes] {
        assert_eq!(specs(&utf16("spec: {a: x}\n---\nspec: {a: z}\n", encode)), Ok(two()));
    }
    // Latin-1 in a comment is accepted.
    assert_eq!(specs(b"# f\xfcr\nspec: {a: x}\n"), Ok(one()));
}

#[test]
fn values_are_those_of_kubectl() {
    for (text, wanted) in [
        // `scalar` tests all forms.
        (
            "spec: [yes, 'yes', \"no\", off, 010, '010', 1_000, 1e3, 2.0, ~, ]",
            json!([true, "yes", "no", false, 8, "010", 1000, 1000, 2, null]),
        ),
        (
            "spec: {yes: a, 1: b, 0x10: c, 1.5: d, 1e3: e}",
            json!({"true": "a", "1": "b", "16": "c", "1.5": "d", "1000": "e"}),
        ),
        ("spec: {a: x, a: z}", json!({"a": "z"})),
        ("x: &a {a: x, b: z}\nspec: {<<: *a, b: w}", json!({"a": "x", "b": "w"})),
        ("x: &a {a: x, b: z}\nspec: {b: w, <<: *a}", json!({"a": "x", "b": "z"})),
        ("x: &a {a: x, b: z}\nspec: {<<: [*a, {b: q, d: r}]}", json!({"a": "x", "b": "z", "d": "r"})),
        ("spec: {\"<<\": x}", json!({"<<": "x"})),
        ("x: &a 1\ny: &a 2\nspec: *a", json!(2)),
        ("spec: {a: !!str 010, b: !!int '5', c: !own 7}", json!({"a": "010", "b": 5, "c": "7"})),
        ("spec:\n  a:\tx\t\n  b: [\t1,\t2]\n", json!({"a": "x", "b": [1, 2]})),
        ("spec:\n  ? a\n  ? b\n", json!({"a": null, "b": null})),
        (
            "spec: {a: http://x, b: 'it''s', c: \"\\u00e9\\x41\"}",
            json!({"a": "http://x", "b": "it's", "c": "éA"}),
        ),
        ("spec: {a: x#y, b: -z}", json!({"a": "x#y", "b": "-z"})),
        ("{\"spec\": {\"a\": 1, \"a\": 2.0}}", json!({"a": 2})),
        ("{\"spec\": \"\\ud83d\\ude00\"}", json!("😀")),
    ] {
        assert_eq!(specs(text.as_bytes()), Ok(vec![wanted]), "{text:?}");
    }
}

#[test]
fn what_kubectl_refuses_names_its_line() {
    for (text, line) in [
        ("a: b\n\tc: d\n", 2),
        ("a: b\nc: \"d\n", 2),
        ("a: {b: c\n", 1),
        ("a: b: c\n", 1),
        ("a: @b\n", 1),
        ("a: *b\n", 1),
        ("a: &b [*b]\n", 1),
        ("a: 1\n---\nb: 1\n---\nc: [\n", 5),
        ("--- {a: b}\n", 1),
        ("a: b\n...\nc: d\n", 3),
        ("a: b\nc: \u{1b}[2J\n", 2),
        ("a: {<<: x}\n", 1),
        ("a: {~: x}\n", 1),
        ("a: {[b]: x}\n", 1),
        ("a: .inf\n", 1),
        ("a: !!int x\n", 1),
        ("a: &x 1\n---\na: *x\n", 3),
    ] {
        let fault = values(text.as_bytes()).expect_err(text);
        let found: Option<usize> =
            fault.strip_prefix("line ").and_then(|f| f.split(':').next()?.parse().ok());
        // A problem at the end of a value may be reported at its beginning or at the end of the text.
        assert!(found.is_some_and(|f| f.abs_diff(line) <= 1), "{text:?}: {fault}");
    }
}

#[test]
fn aliases_and_depth_are_bounded() {
    let mut laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for i in 1..12 {
        let alias = format!("*a{}, ", i - 1).repeat(9);
        laughs += &format!("a{i}: &a{i} [{alias}]\n");
    }
    assert!(values(laughs.as_bytes()).unwrap_err().contains("aliases"), "laughs");
    for deep in ["[".repeat(100_000), "- ".repeat(100_000), "{a: ".repeat(100_000), "{\"a\":".repeat(100_000)]
    {
        assert!(values(deep.as_bytes()).is_err(), "{}", &deep[..4]);
    }
    let used = "a: &a {b: c}\n".to_owned() + &"---\na: &a {b: c}\nd: [*a, *a]\n".repeat(1000);
    assert!(values(used.as_bytes()).is_ok());
}

#[test]
fn keys_that_stand_twice_are_told_with_their_lines() {
    let read = values(b"a: 1\nb: {<<: {c: 1}, c: 2}\na: 2\n").unwrap();
    assert_eq!(read.warnings, ["line 3: the key \"a\" is repeated; the last value is used"]);
}

#[test]
fn each_object_is_judged_by_itself() {
    let head = |kind: &str| match kind {
        "NodeProxy" => "apiVersion: portreeve.dev/v1alpha1\nkind: NodeProxy\n",
        "Pod" => "apiVersion: v1\nkind: Pod\n",
        "Secret" => "apiVersion: v1\nkind: Secret\n",
        "Service" => "apiVersion: v1\nkind: Service\n",
        _ => "apiVersion: v1\nkind: Node\n",
    };
    for (kind, body, wrong) in [
        ("Pod", "metadata: {name: p, labels: {app: a}}", None),
        ("Pod", "metadata: {name: p, labels: {app: 1}}", Some("metadata.labels.app: ")),
        ("Pod", "metadata: {name: p, labels: {app: yes}}", Some("metadata.labels.app: ")),
        ("Pod", "metadata: {name: p, labels: {app: ~}}", None),
        ("Pod", "metadata: {name: p, labels: {app: a b}}", Some("metadata.labels.app: ")),
        ("Pod", "metadata: {name: n}", Some("metadata.name: ")),
        ("Pod", "metadata: {name: P}", Some("metadata.name: ")),
        ("Pod", "metadata: {name: p}\nstatus: {podIP: 10.0.0}", Some("status.podIP: ")),
        ("Pod", "metadata: {name: p}\nspec: {hostNetwork: maybe}", Some("spec.hostNetwork: ")),
        ("Pod", "metadata: {name: p}\nspec: {containers: [{name: c, resources: {limits: {cpu: 1}}}]}", None),
        ("Secret", "metadata: {name: s}\ndata: {tls.key: aGk=}\nstringData: {a_b: x}\ntype: a/b", None),
        ("Secret", "metadata: {name: s}\ndata: {tls.key: '?'}", Some("data")),
        ("Secret", "metadata: {name: s}\nstringData: {a/b: x}", Some("stringData: \"a/b\"")),
        ("Service", "metadata: {name: s}\nspec: {ports: [{port: 53, targetPort: dns}]}", None),
        ("Service", "metadata: {name: s}\nspec: {ports: [{port: 0}]}", Some("spec.ports[0].port: ")),
        ("Service", "metadata: {name: s}\nspec: {ports: [{port: '53'}]}", Some("spec.ports[0].port: ")),
        (
            "Service",
            "metadata: {name: s}\nspec: {ports: [{port: 53, targetPort: 70000}]}",
            Some("spec.ports[0].targetPort: "),
        ),
        ("NodeProxy", "metadata: {name: g}\nspec: {envoy: {concurrency: 1.0}}", None),
        (
            "NodeProxy",
            "metadata: {name: g}\nspec: {envoy: {concurrency: 0}}",
            Some("spec.envoy.concurrency: "),
        ),
        ("NodeProxy", "metadata: {name: g, namespace: x}\nspec: {}", Some("metadata.namespace: ")),
        ("Node", "metadata: {name: here, labels: {a: on}}", Some("metadata.labels.a: ")),
    ] {
        let other = "apiVersion: v1\nkind: Node\nmetadata: {name: other}\n";
        let text = format!("{}{body}\n---\n{other}", head(kind));
        let parsed = parse(text.as_bytes()).unwrap();
        assert!(parsed.documents[1].read.is_ok(), "{text}");
        match (&parsed.documents[0].read, wrong) {
            (Ok(_), None) => {}
            (Err(Refusal::Broken(found)), Some(path)) => assert!(found.contains(path), "{text}: {found}"),
            (found, _) => panic!("{text}: {:?}", found.as_ref().map(|(id, _)| id)),
        }
    }
}

#[test]
fn lists_are_their_items() {
    for text in [
        "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Node, metadata: {name: a}}\n- {apiVersion: v1, kind: Node, metadata: {name: b}}\n",
        "apiVersion: v1\nkind: NodeList\nitems:\n- {metadata: {name: a}}\n- {apiVersion: v1, kind: Node, metadata: {name: b}}\n",
    ] {
        let parsed = parse(text.as_bytes()).unwrap();
        let names: Vec<_> =
            parsed.documents.iter().filter_map(|d| d.read.as_ref().ok()).map(|(id, _)| &*id.name).collect();
        assert_eq!(names, ["a", "b"], "{text}");
    }
}

#[test]
fn cut_at_any_byte_a_file_is_refused_or_read_without_panic() {
    let text = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/examples/quickstart/call.yaml"))
        .unwrap();
    for end in 0..text.len() {
        // Any result is fine: a truncated file is still being written, which is detected elsewhere.
        let _ = parse(&text[..end]).map(|parsed| parsed.documents.len());
    }
    assert!(parse(&text).unwrap().documents.iter().all(|document| document.read.is_ok()));
}
