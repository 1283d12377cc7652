//! Which files may name a kind of a foreign API: its type, its resolver and the rows of the registries.

use std::path::Path;

use super::{is_test, production_lines, root, rust_files};

/// Kinds of foreign APIs, each with the folder or file names where it may be named.
const KINDS: [(&str, &[&str]); 1] =
    [("VirtualService", &["hub/api/src/a/", "hub/src/resolve/a", "hub/api/src/b/", "hub/src/resolve/b/"])];
/// The registries, which list all kinds.
const REGISTRIES: [&str; 2] = ["hub/api/src/kinds.rs", "hub/src/kinds.rs"];
/// Crates that go by the registries.
const CORE: [&str; 2] = ["hub/", "agent/"];

/// The production lines of a file that name a kind which is none of its business.
fn named(path: &str, text: &str) -> Vec<String> {
    let in_core = CORE.iter().any(|folder| path.starts_with(folder));
    let in_tests = path.split('/').any(|part| part == "tests") || is_test(Path::new(path));
    if !in_core || in_tests || REGISTRIES.contains(&path) {
        return Vec::new();
    }
    let foreign = KINDS.iter().filter(|(_, places)| !places.iter().any(|place| path.starts_with(place)));
    let lines: Vec<(usize, &str)> = text.lines().take(production_lines(text)).enumerate().collect();
    let found = foreign.flat_map(|(kind, _)| {
        let naming = lines.iter().filter(move |(_, line)| line.contains(kind));
        naming.map(move |(at, line)| format!("{path}:{}: names {kind}: {}", at + 1, line.trim()))
    });
    found.collect()
}

#[test]
fn kinds_of_foreign_apis_are_named_by_their_own_files_alone() {
    let root = root();
    let mut wrong = Vec::new();
    for path in rust_files(&root).into_iter().filter(|path| path.is_file()) {
        let name = path.strip_prefix(&root).unwrap().to_string_lossy().into_owned();
        wrong.extend(named(&name, &std::fs::read_to_string(&path).unwrap()));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn kind_that_is_named_elsewhere_is_found() {
    let line = "/// A VirtualService.\nstruct A;\n";
    let tests = format!("struct A;\n#[cfg(test)]\nmod tests {{\n{line}}}\n");
    for (path, text, count) in [
        ("hub/src/writer.rs", line, 1),
        ("agent/src/run.rs", line, 1),
        ("hub/api/src/kind.rs", line, 1),
        ("hub/api/src/a/virtual_service.rs", line, 0),
        ("hub/src/resolve/a/service_ports.rs", line, 0),
        ("hub/src/resolve/a.rs", line, 0),
        ("hub/src/resolve/own.rs", line, 1),
        ("hub/src/kinds.rs", line, 0),
        ("hub/src/index/tests/mod.rs", line, 0),
        ("hub/tests/files.rs", line, 0),
        ("hub/src/writer.rs", &*tests, 0),
        ("tests/src/town.rs", line, 0),
    ] {
        assert_eq!(named(path, text).len(), count, "{path}: {text}");
    }
}
