//! `portreeve up` and `kubectl apply` read the same files alike: encodings, documents, values, rejections. The real
//! kubectl uses a real API server in dry-run mode.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use portreeve_hub::files::Folder;
use portreeve_tests::assets;
use portreeve_tests::town;
use serde_json::{Value, json};

/// Returns the objects of a file in a short form; `None` if the file is rejected, at least in part.
type Taken = Option<BTreeSet<String>>;

const NODE: &str = "apiVersion: v1\nkind: Node\nmetadata:\n  name: here\n  labels:\n";

fn call(field: &str, value: &str) -> String {
    let text = "apiVersion: servicemesh.l7mp.io/v1\nkind: VirtualService\nmetadata: {name: call}\nspec:\n  selector: SELECTOR\n  \
                listeners:\n  - name: LISTENER\n    udp:\n      port: PORT\n      cluster: {name: c, service_discovery: eds, \
                hash_key: KEY, endpoints: [{name: w, host: {selector: {app: w}}, port: 9}]}\n";
    let given = text.replace(field, value);
    let rest = [("SELECTOR", "{app: gw}"), ("LISTENER", "l"), ("PORT", "2000"), ("KEY", "k")];
    rest.iter().fold(given, |text, (field, value)| text.replace(field, value))
}

fn utf16(text: &str, encode: fn(u16) -> [u8; 2]) -> Vec<u8> {
    format!("\u{feff}{text}").encode_utf16().flat_map(encode).collect()
}

/// Files whose whole text matters.
fn texts() -> Vec<Vec<u8>> {
    let a = format!("{NODE}    a: x\n");
    let b = a.replace("name: here", "name: there");
    let json = |name: &str| json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": {"a": "x"}}});
    let (ja, jb) = (json("here"), json("there"));
    let items = format!("items:\n- {ja}\n- {jb}\n");
    let texts = [
        a.clone(),
        format!("\u{feff}{a}"),
        format!("{a}---\n{b}"),
        format!("--- # one\n{a}--- # two\n{b}---\n"),
        format!("---\n---\n# nothing\n---\n{a}"),
        format!("{a}---\n\u{feff}{b}"),
        format!("{a}...\n---\n{b}"),
        format!("{a}---\n{b}").replace('\n', "\r\n"),
        format!("--- {ja}\n"),
        format!("%YAML 1.1\n---\n{a}"),
        "# nothing\n---\n".into(),
        ja.to_string(),
        format!("{ja}\n{jb}"),
        format!("{ja}\n---\n{jb}"),
        format!("\u{feff}{ja}"),
        format!("{:#}", ja).replace("  ", "\t"),
        ja.to_string().replace("\"x\"}", "\"x\",}"),
        format!("[{ja}]"),
        format!("apiVersion: v1\nkind: List\n{items}"),
        format!("apiVersion: v1\nkind: NodeList\n{items}"),
        a.replace("kind: Node\n", "kind: Gadget\n"),
        a.replace("  name: here\n", ""),
        a.replace("name: here", "name: n"),
        a.replace("name: here", "name: 7"),
        a.replace("name: here", "name: Here"),
        format!("{a}# \u{1b}[2J\n"),
        format!("{a}\u{9b}: x\n"),
        "- x\n".into(),
        "x\n".into(),
        "kind: [\n".into(),
        format!("{a}  x: \"y\n"),
    ];
    let mut all: Vec<Vec<u8>> = texts.into_iter().map(String::into_bytes).collect();
    all.push(utf16(&format!("{a}---\n{b}"), u16::to_le_bytes));
    all.push(utf16(&a, u16::to_be_bytes));
    all.push([a.as_bytes(), b"# f\xfcr\n"].concat());
    all
}

/// Values for the labels of a node.
const LABELS: [&str; 30] = [
    "    a: 'yes'\n",
    "    a: yes\n",
    "    a: on\n",
    "    a: y\n",
    "    a: 1\n",
    "    a: '1'\n",
    "    a: 1.5\n",
    "    a: 010\n",
    "    a: 0o17\n",
    "    a: 1_000\n",
    "    a: _1\n",
    "    a: 2001-01-01\n",
    "    a: ~\n",
    "    a:\n",
    "    a: tRue\n",
    "    a: !!str 010\n",
    "    a: !own 10\n",
    "    yes: a\n",
    "    1: a\n",
    "    0x10: a\n",
    "    ~: a\n",
    "    a: x\n    a: z\n",
    "    <<: {a: x, b: z}\n    b: w\n",
    "    b: w\n    <<: {a: x, b: z}\n",
    "    <<: [{a: x}, {a: w, b: z}]\n",
    "    <<: x\n",
    "    a: &a x\n    b: *a\n",
    "    a: *a\n",
    "\ta: x\n",
    "    a: x y\n",
];

fn fields() -> Vec<String> {
    let ports = ["2000", "'2000'", "2000.0", "2e3", "2000.5", "0x7D0", "03720", "2_000", "70000", "~", "yes"];
    let keys = ["k", "'1'", "1", "yes", "1e3", "a: b", "null"];
    let ports = ports.iter().map(|port| call("PORT", port));
    let keys = keys.iter().map(|key| call("KEY", key));
    let selectors =
        ["{app: 1}", "{}", "[app]", "{app: gw, app: gx}"].iter().map(|given| call("SELECTOR", given));
    let unnamed = [call("LISTENER", "''"), call("LISTENER", "off")];
    ports.chain(keys).chain(selectors).chain(unnamed).collect()
}

/// Returns an object in a short form: the parts that the tables vary.
fn brief(object: &Value) -> String {
    // Without labels, the map is empty or missing.
    let empty = |value: &Value| value.as_object().is_some_and(serde_json::Map::is_empty);
    let part =
        |pointer: &str| object.pointer(pointer).filter(|value| !empty(value)).cloned().unwrap_or_default();
    let cluster = "/spec/listeners/0/udp/cluster/hash_key";
    let parts = [
        "/kind",
        "/metadata/name",
        "/metadata/labels",
        "/spec/selector",
        "/spec/listeners/0/udp/port",
        cluster,
    ];
    parts.map(|pointer| part(pointer).to_string()).join(" ")
}

fn ours(file: &Path) -> Result<(Taken, String)> {
    let reading = Folder::new(file).read(0);
    let told: Vec<String> = reading.complaints.iter().map(|c| c.text.clone()).collect();
    let mut taken = BTreeSet::new();
    for (name, labels) in &reading.objects.nodes {
        taken.insert(brief(&json!({"kind": "Node", "metadata": {"name": &**name, "labels": labels}})));
    }
    for object in reading.objects.customs.iter().filter(|object| object.kind().name == "VirtualService") {
        taken.insert(brief(&object.to_value()?));
    }
    // kubectl fails for a kind that the server doesn't know; a folder may contain objects of other programs.
    let refused = reading.complaints.iter().any(|c| c.broken || c.text.contains("is not supported"));
    Ok(((!refused).then_some(taken), told.join("; ")))
}

fn theirs(kubectl: &Path, config: &Path, file: &Path) -> Result<(Taken, String)> {
    let mut command = Command::new(kubectl);
    command.arg("--kubeconfig").arg(config).args(["apply", "--dry-run=server", "-o", "json", "-f"]).arg(file);
    let done = command.output().context("running kubectl")?;
    let told = String::from_utf8_lossy(&done.stderr).trim().to_owned();
    // For kubectl, an empty file is an error of the command line, not of the file.
    if told.contains("no objects passed to apply") {
        return Ok((Some(BTreeSet::new()), told));
    }
    if !done.status.success() {
        return Ok((None, told));
    }
    let answer: Value = serde_json::from_slice(&done.stdout)?;
    let items = answer["items"].as_array().cloned().unwrap_or_else(|| vec![answer]);
    Ok((Some(items.iter().map(brief).collect()), told))
}

#[tokio::test]
async fn files_are_read_and_refused_as_kubectl_and_the_api_server_do() -> Result<()> {
    let plane = town::api_server().await?;
    let (kubectl, config) = (assets::kubectl()?, plane.kubeconfig_outside()?);
    let dir = tempfile::tempdir()?;
    let labels = LABELS.iter().map(|labels| format!("{NODE}{labels}"));
    let inputs: Vec<Vec<u8>> =
        texts().into_iter().chain(labels.chain(fields()).map(String::into_bytes)).collect();
    let (mut differ, mut refused) = (Vec::new(), 0);
    for (number, bytes) in inputs.iter().enumerate() {
        let file = dir.path().join(format!("{number}.yaml"));
        fs::write(&file, bytes)?;
        let (ours, theirs) = (ours(&file)?, theirs(&kubectl, &config, &file)?);
        refused += usize::from(theirs.0.is_none());
        if ours.0 != theirs.0 {
            differ.push(format!(
                "{:?}\n  ours: {ours:?}\n  kubectl: {theirs:?}",
                String::from_utf8_lossy(bytes)
            ));
        }
    }
    println!(
        "{} files, of which kubectl refuses {refused}; read differently: {}",
        inputs.len(),
        differ.len()
    );
    ensure!(differ.is_empty(), "{}", differ.join("\n"));
    Ok(())
}
