//! What crates must not depend on, and what pure folders of other crates must not import.

use std::path::Path;
use std::process::Command;

use super::{is_test, production_lines, root, rust_files};

/// Clients of Kubernetes.
const CLIENTS: [&str; 2] = ["kube-client", "kube-runtime"];
/// What pure crates must not have: a runtime, a server, a client of Kubernetes.
const IMPURE: [&str; 6] = ["tokio", "tonic", "hyper", "tower", CLIENTS[0], CLIENTS[1]];

/// Crates, and what they must not depend on, however far.
const WITHOUT: [(&str, &[&str]); 7] = [
    ("portreeve-api", &IMPURE),
    ("portreeve-agent-core", &IMPURE),
    ("portreeve-allocate", &IMPURE),
    ("portreeve-epic", &IMPURE),
    ("portreeve-gue", &IMPURE),
    ("portreeve-template", &IMPURE),
    ("portreeve-keeper", &CLIENTS),
];

/// Pure folders of crates that are not pure, and the crates that they must not import.
const FOLDERS: [&str; 2] = ["hub/src/resolve", "hub/src/index"];
const NOT_IMPORTED: [&str; 4] = ["kube", "clap", "tokio", "tonic"];

/// Pure crates' sources, and what their production code must not name: the clock, files, sockets, processes, threads.
const PURE: [&str; 6] = [
    "agent/core/src",
    "agent/envoy/src",
    "agent/gue/src",
    "hub/allocate/src",
    "hub/epic/src",
    "hub/template/src",
];
const OUTSIDE: [&str; 9] = [
    "Instant::now",
    "SystemTime::now",
    "Timestamp::now",
    "std::fs",
    "std::process",
    "std::thread",
    "std::env",
    "UdpSocket::",
    "TcpStream::",
];

/// The production lines of a pure crate that reach outside of the process.
fn reaching_out(text: &str) -> Vec<&str> {
    let reaches =
        |line: &str| !line.trim_start().starts_with("//") && OUTSIDE.iter().any(|word| line.contains(word));
    text.lines().take(production_lines(text)).filter(|line| reaches(line)).collect()
}

/// Calls `judge` with each production file in these folders, and collects what it finds, with the file's name.
fn in_folders(folders: &[&str], judge: impl Fn(&str) -> Vec<&str>) -> Vec<String> {
    let (root, mut seen, mut wrong) = (root(), 0, Vec::new());
    for path in rust_files(&root).into_iter().filter(|path| path.is_file() && !is_test(path)) {
        let name = path.strip_prefix(&root).unwrap_or(&path);
        if folders.iter().any(|folder| name.starts_with(folder)) {
            seen += 1;
            let text =
                std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            wrong.extend(judge(&text).into_iter().map(|line| format!("{}: {line}", name.display())));
        }
    }
    assert!(seen > 10, "only {seen} files found");
    wrong
}

/// The crates of a dependency tree that are among `unwanted`.
fn found(tree: &str, unwanted: &[&str]) -> Vec<String> {
    let names = tree.lines().filter_map(|line| line.split_whitespace().next());
    names.filter(|name| unwanted.contains(name)).map(str::to_owned).collect()
}

/// The production lines that begin a path with an impure crate.
fn importing(text: &str) -> Vec<&str> {
    let imports = |line: &str| {
        let words = line.split(|c: char| !c.is_alphanumeric() && c != '_' && c != ':');
        let paths = words.map(|word| word.trim_start_matches("::"));
        !line.trim_start().starts_with("//")
            && paths
                .into_iter()
                .any(|path| NOT_IMPORTED.contains(&path.split("::").next().unwrap_or_default()))
    };
    text.lines().take(production_lines(text)).filter(|line| imports(line)).collect()
}

#[test]
fn pure_folders_import_neither_a_client_nor_flags_nor_a_runtime() {
    assert_eq!(in_folders(&FOLDERS, importing), [""; 0]);
}

#[test]
fn pure_crates_have_neither_clock_nor_files_nor_sockets() {
    assert_eq!(in_folders(&PURE, reaching_out), [""; 0]);
    assert_eq!(reaching_out("let now = Instant::now();\n").len(), 1);
    assert_eq!(reaching_out("/// As `Instant::now`.\n#[cfg(test)]\nmod tests {\nuse std::fs;\n}"), [""; 0]);
}

#[test]
fn imports_of_impure_crates_are_found() {
    for line in ["use kube::Api;", "use kube;", "#[derive(Debug, clap::ValueEnum)]", "    ::tokio::spawn(f);"]
    {
        assert_eq!(importing(line), [line]);
    }
    for line in
        ["use crate::kube_like;", "/// As kube::Api does.", "Pod::from_kube(pod)", "use crate::kube::Pod;"]
    {
        assert_eq!(importing(line), [""; 0]);
    }
    assert_eq!(importing("#[cfg(test)]\nmod tests {\nuse kube::Api;\n}"), [""; 0]);
}

#[test]
fn pure_crates_have_no_runtime_or_server_and_keepers_no_client_of_kubernetes() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for (name, unwanted) in WITHOUT {
        let arguments = ["tree", "--locked", "--offline", "-p", name, "-e", "normal", "--prefix", "none"];
        let listed = Command::new(env!("CARGO")).current_dir(&root).args(arguments).output().unwrap();
        let tree = String::from_utf8_lossy(&listed.stdout);
        assert!(
            listed.status.success() && tree.starts_with(name),
            "{}",
            String::from_utf8_lossy(&listed.stderr)
        );
        assert_eq!(found(&tree, unwanted), [""; 0], "{name} depends on them");
    }
}

#[test]
fn unwanted_crates_are_found_in_a_tree() {
    let tree = "portreeve-api v0.1.0 (/x)\nkube-core v5.0.0\ntokio v1.54.1 (*)\ntokio-util v0.7.20\n";
    assert_eq!(found(tree, &IMPURE), ["tokio"]);
}
