//! Which objects stay in use when files break, vanish and come back.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use tempfile::TempDir;

use super::super::{Folder, Reading};

/// Longer than the time that a file must be unmodified, in milliseconds.
const QUIET: i64 = 400;

/// Longer than the time that a file must be missing, in milliseconds.
const GONE: i64 = 1200;

struct Rig {
    dir: TempDir,
    folder: Folder,
    now_ms: i64,
}

fn node(name: &str) -> String {
    format!("apiVersion: v1\nkind: Node\nmetadata: {{name: {name}, labels: {{a: b}}}}\n")
}

fn pod(name: &str, label: &str) -> String {
    format!("apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, labels: {{app: {label}}}}}\n")
}

fn proxy(concurrency: &str) -> String {
    format!(
        "apiVersion: portreeve.dev/v1alpha1\nkind: NodeProxy\nmetadata: {{name: gw}}\nspec: {{envoy: {{concurrency: {concurrency}}}}}\n"
    )
}

fn call(port: &str) -> String {
    format!(
        "apiVersion: servicemesh.l7mp.io/v1\nkind: VirtualService\nmetadata: {{name: call}}\nspec:\n  selector: {{app: gw}}\n  \
         listeners:\n  - name: l\n    udp:\n      port: {port}\n      cluster: {{name: c, service_discovery: eds, \
         endpoints: [{{name: w, host: {{selector: {{app: w}}}}, port: 9}}]}}\n"
    )
}

// === impl Rig ===

impl Rig {
    /// Creates a folder with these files and reads it once.
    fn new(files: &[(&str, &str)]) -> Self {
        let dir = TempDir::new().unwrap();
        fs::create_dir(dir.path().join("f")).unwrap();
        let mut rig = Self { folder: Folder::new(dir.path().join("f")), dir, now_ms: 1_000_000 };
        files.iter().for_each(|(name, text)| rig.write(name, text));
        rig.read();
        rig
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join("f").join(name)
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        fs::write(self.path(name), text).unwrap();
    }

    fn read(&mut self) -> Reading {
        self.folder.read(self.now_ms)
    }

    /// Reads repeatedly for this time, until everything has settled.
    fn after(&mut self, ms: i64) -> Reading {
        self.read();
        self.now_ms += ms;
        self.read()
    }

    /// Returns the names of the objects: nodes, then pods with their label, then proxies with their threads, then
    /// ports.
    fn names(reading: &Reading) -> Vec<String> {
        let objects = &reading.objects;
        let nodes = objects.nodes.iter().map(|(name, _)| name.to_string());
        let pods = objects.pods.iter().map(|p| {
            format!("{}={}", p.metadata.name.as_deref().unwrap(), p.metadata.labels.as_ref().unwrap()["app"])
        });
        let custom = |of: &str, pointer: &str| {
            let of_kind = objects.customs.iter().filter(|object| object.kind().name == of);
            let found =
                of_kind.map(|object| object.to_value().unwrap().pointer(pointer).unwrap().to_string());
            found.collect::<Vec<_>>()
        };
        let proxies = custom("NodeProxy", "/spec/envoy/concurrency").into_iter().map(|c| format!("gw{c}"));
        let ports = custom("VirtualService", "/spec/listeners/0/udp/port");
        nodes.chain(pods).chain(proxies).chain(ports).collect()
    }

    fn told(reading: &Reading) -> String {
        let lines = reading.complaints.iter().map(|c| format!("{}: {}", c.file.display(), c.text));
        lines.collect::<Vec<_>>().join("\n")
    }
}

#[test]
fn broken_edit_of_an_object_keeps_its_last_good_version_and_disturbs_no_other() {
    for (good, broken, named) in [
        (call("2000"), call("70000"), "VirtualService call: spec.listeners[0].udp.port"),
        (call("2000"), call("'x'"), "VirtualService call: spec.listeners[0].udp.port"),
        (
            call("2000"),
            call("2000").replace("{name: call}", "{name: call, labels: {a: 1}}"),
            "metadata.labels.a",
        ),
        (call("2000"), call("2000").replace("name: l\n", "nam: l\n"), "spec.listeners[0].name"),
        (proxy("2"), proxy("0"), "NodeProxy gw: spec.envoy.concurrency"),
        (proxy("2"), proxy("many"), "NodeProxy gw: spec.envoy.concurrency"),
        (pod("w", "a"), pod("w", "1"), "Pod w: metadata.labels.app"),
        (pod("w", "a"), pod("w", "a") + "status: {podIP: 1.2.3}\n", "Pod w: status.podIP"),
        (node("n1"), node("n1").replace("a: b", "a: 1"), "Node n1: metadata.labels.a"),
        // The object can't be identified any more.
        (
            call("2000"),
            call("2000").replace("kind: VirtualService", "kind: VirtualServce"),
            "VirtualService default/call",
        ),
        (
            call("2000"),
            call("2000").replace("servicemesh.l7mp.io/v1", "servicemesh.l7mp.io/v2"),
            "VirtualService default/call",
        ),
        (call("2000"), call("2000").replace("{name: call}", "{}"), "VirtualService default/call"),
        (call("2000"), call("2000").replace("{name: call}", "{name: 7}"), "VirtualService default/call"),
        (call("2000"), "- x\n".to_owned(), "VirtualService default/call"),
        (call("2000"), "x\n".to_owned(), "VirtualService default/call"),
    ] {
        let other = pod("other", "one");
        let mut rig = Rig::new(&[("a.yaml", &format!("{good}---\n{other}"))]);
        let before = Rig::names(&rig.read());
        rig.write("a.yaml", format!("{broken}---\n{}", pod("other", "two")));
        let reading = rig.after(QUIET);
        let after: Vec<_> = before.iter().map(|name| name.replace("other=one", "other=two")).collect();
        assert_eq!(Rig::names(&reading), after, "{broken}");
        let told = Rig::told(&reading);
        assert!(
            told.contains("a.yaml: ") && told.contains(named) && told.contains("stays in force"),
            "{broken}: {told}"
        );
        // Also while it stays broken.
        assert_eq!(Rig::names(&rig.after(60_000)), after, "{broken}");
        rig.write("a.yaml", other);
        assert_eq!(Rig::names(&rig.after(QUIET)), ["other=one"], "{broken}");
    }
}

#[test]
fn file_that_is_being_written_takes_nothing_away() {
    let mut rig = Rig::new(&[("call.yaml", &call("2000"))]);
    let new = call("2001") + "---\n" + &node("n1");
    // A slow command writes the file: empty first, then piece by piece.
    for end in [0, 30, 80, new.len() - 60] {
        rig.write("call.yaml", &new[..end]);
        let reading = rig.after(100);
        assert!(reading.restless, "{end}");
        assert_eq!(Rig::names(&reading), ["2000"], "{end}");
    }
    rig.write("call.yaml", "");
    for _ in 0..3 {
        let reading = rig.after(60_000);
        assert_eq!(Rig::names(&reading), ["2000"]);
        assert!(Rig::told(&reading).contains("call.yaml: it is empty"), "{}", Rig::told(&reading));
    }
    rig.write("call.yaml", &new);
    assert_eq!(Rig::names(&rig.after(QUIET)), ["n1", "2001"]);
}

#[test]
fn file_that_is_no_yaml_keeps_all_of_its_objects() {
    let mut rig = Rig::new(&[("a.yaml", &(node("n1") + "---\n" + &call("2000"))), ("b.yaml", &proxy("1"))]);
    rig.write("a.yaml", node("n2") + "---\nkind: [\n");
    rig.write("b.yaml", proxy("2"));
    let reading = rig.after(QUIET);
    assert_eq!(Rig::names(&reading), ["n1", "gw2", "2000"]);
    let told = Rig::told(&reading);
    assert!(told.contains("a.yaml: line ") && told.contains("last good content stays in force"), "{told}");
}

#[test]
fn objects_go_with_an_edit_or_with_their_file() {
    let mut rig = Rig::new(&[
        ("a.yaml", &(node("n1") + "---\n" + &node("n2"))),
        ("b.yml", &call("2000")),
        ("c.txt", &node("n9")),
    ]);
    rig.write("a.yaml", node("n2"));
    assert_eq!(Rig::names(&rig.after(QUIET)), ["n2", "2000"]);
    fs::remove_file(rig.path("b.yml")).unwrap();
    assert_eq!(Rig::names(&rig.after(QUIET)), ["n2", "2000"], "it may be about to be replaced");
    assert_eq!(Rig::names(&rig.after(GONE)), ["n2"]);
    rig.write("a.yaml", "# none any more\n");
    assert!(Rig::names(&rig.after(QUIET)).is_empty());
}

#[test]
fn file_that_can_not_be_read_keeps_its_objects() {
    let mut rig = Rig::new(&[("a.yaml", &node("n1")), ("b.yaml", &call("2000"))]);
    fs::remove_file(rig.path("b.yaml")).unwrap();
    symlink(rig.path("nowhere"), rig.path("b.yaml")).unwrap();
    rig.after(QUIET);
    let reading = rig.after(60_000);
    assert_eq!(Rig::names(&reading), ["n1", "2000"]);
    assert!(Rig::told(&reading).contains("b.yaml: it can't be read"), "{}", Rig::told(&reading));
    rig.write("nowhere", call("2001"));
    assert_eq!(Rig::names(&rig.after(QUIET)), ["n1", "2001"]);
}

#[test]
fn folder_that_vanishes_changes_nothing_and_may_come_back_empty_for_a_while() {
    let mut rig = Rig::new(&[("a.yaml", &node("n1")), ("b.yaml", &call("2000"))]);
    let (here, away) = (rig.path(""), rig.dir.path().join("away"));
    fs::rename(&here, &away).unwrap();
    rig.read();
    let reading = rig.after(60_000);
    assert_eq!(Rig::names(&reading), ["n1", "2000"]);
    assert!(Rig::told(&reading).contains("stays in force"), "{}", Rig::told(&reading));
    // A file replaces the folder.
    fs::write(here.to_str().unwrap().trim_end_matches('/'), "").unwrap();
    assert_eq!(Rig::names(&rig.after(60_000)), ["n1", "2000"]);
    fs::remove_file(here.to_str().unwrap().trim_end_matches('/')).unwrap();
    fs::create_dir(&here).unwrap();
    assert_eq!(Rig::names(&rig.after(3000)), ["n1", "2000"]);
    fs::copy(away.join("b.yaml"), rig.path("b.yaml")).unwrap();
    fs::copy(away.join("a.yaml"), rig.path("a.yaml")).unwrap();
    let reading = rig.after(60_000);
    assert_eq!(
        (Rig::names(&reading), Rig::told(&reading)),
        (vec!["n1".to_owned(), "2000".into()], String::new())
    );
    fs::remove_file(rig.path("a.yaml")).unwrap();
    fs::remove_file(rig.path("b.yaml")).unwrap();
    assert!(Rig::names(&rig.after(60_000)).is_empty());
}

#[test]
fn link_that_is_swapped_is_an_edit() {
    // The layout of a mounted ConfigMap.
    let mut rig = Rig::new(&[]);
    for (version, port) in [("v1", "2000"), ("v2", "2001")] {
        fs::create_dir(rig.path(version)).unwrap();
        rig.write(&format!("{version}/call.yaml"), call(port));
    }
    symlink("v1", rig.path("..data")).unwrap();
    symlink("..data/call.yaml", rig.path("call.yaml")).unwrap();
    assert_eq!(Rig::names(&rig.after(QUIET)), ["2000"]);
    symlink("v2", rig.path("..new")).unwrap();
    fs::rename(rig.path("..new"), rig.path("..data")).unwrap();
    assert_eq!(Rig::names(&rig.after(QUIET)), ["2001"]);
}

#[test]
fn object_of_two_files_is_the_last_ones_and_that_is_told() {
    let mut rig = Rig::new(&[("b.yaml", &call("2002")), ("a.yaml", &call("2001"))]);
    let reading = rig.read();
    assert_eq!(Rig::names(&reading), ["2002"]);
    assert!(
        Rig::told(&reading).contains("a.yaml: VirtualService default/call is in "),
        "{}",
        Rig::told(&reading)
    );
    rig.write("b.yaml", call("0"));
    let reading = rig.after(QUIET);
    assert_eq!(Rig::names(&reading), ["2001"], "the other one is good");
    // The object moves to another file, and is broken there.
    rig.write("b.yaml", "# moved\n");
    rig.write("a.yaml", "# moved\n");
    rig.write("c.yaml", call("0"));
    assert_eq!(Rig::names(&rig.after(QUIET)), ["2001"]);
}

#[test]
fn at_the_start_what_is_wrong_is_told_and_the_rest_is_served() {
    let mut rig = Rig::new(&[
        ("a.yaml", "kind: [\n"),
        ("b.yaml", &(proxy("0") + "---\n" + &node("n1"))),
        ("c.yaml", ""),
    ]);
    let reading = rig.read();
    assert_eq!(Rig::names(&reading), ["n1"]);
    let told = Rig::told(&reading);
    for word in [
        "a.yaml: line ",
        "nothing of it is in force",
        "b.yaml: NodeProxy gw: spec.envoy.concurrency",
        "c.yaml: it is empty",
    ] {
        assert!(told.contains(word), "{word}: {told}");
    }
    assert!(reading.complaints.iter().all(|c| c.broken), "{told}");
}
