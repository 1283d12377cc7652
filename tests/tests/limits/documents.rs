//! The documents: the README's maximum length, and that every path and link in a document exists.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Maximum number of lines of the README.
const MOST: usize = 150;
const ALL: [&str; 7] = [
    "README.md",
    "agent/README.md",
    "deploy/README.md",
    "hub/README.md",
    "hub/api/README.md",
    "images/README.md",
    "tests/README.md",
];
/// The folders with which paths in documents begin.
const FOLDERS: [&str; 5] = ["agent/", "deploy/", "hub/", "images/", "tests/"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Returns the texts between these marks on each line.
fn between(text: &str, open: &str, close: &str) -> Vec<String> {
    let of_line = |line: &str| {
        let parts: Vec<String> =
            line.split(open).skip(1).filter_map(|p| Some(p.split_once(close)?.0.into())).collect();
        parts
    };
    text.lines().flat_map(of_line).collect()
}

/// Returns the words in backticks that are paths of the repository.
fn paths(text: &str) -> Vec<String> {
    let quoted = text.lines().flat_map(|line| line.split('`').skip(1).step_by(2));
    let plain = |word: &&str| word.chars().all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c));
    quoted
        .filter(|word| FOLDERS.iter().any(|folder| word.starts_with(folder)))
        .filter(plain)
        .map(str::to_owned)
        .collect()
}

/// Returns the anchors of a document's headings, as GitHub generates them.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = text.lines().filter(|line| line.starts_with('#'));
    let anchor = |line: &str| {
        let words = line.trim_start_matches('#').trim().to_lowercase().replace(' ', "-");
        words.chars().filter(|c| c.is_alphanumeric() || *c == '-').collect()
    };
    headings.map(anchor).collect()
}

/// Returns the paths and links of a document that don't exist.
fn missing(root: &Path, document: &str, text: &str) -> Vec<String> {
    let folder = root.join(document);
    let folder = folder.parent().unwrap_or(root);
    let links = between(text, "](", ")").into_iter().filter(|link| !link.contains("://"));
    let broken = links.filter(|link| {
        let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
        let target = if file.is_empty() { root.join(document) } else { folder.join(file) };
        let known = anchor.is_empty()
            || fs::read_to_string(&target).is_ok_and(|text| anchors(&text).contains(anchor));
        !target.exists() || !known
    });
    let lost = paths(text).into_iter().filter(|path| !root.join(path).exists());
    broken.chain(lost).map(|what| format!("{document}: {what}")).collect()
}

#[test]
fn first_document_is_short_and_all_documents_name_what_is_there() {
    let root = root();
    let mut wrong = Vec::new();
    for document in ALL {
        let text = fs::read_to_string(root.join(document)).unwrap();
        wrong.extend(missing(&root, document, &text));
    }
    assert!(wrong.is_empty(), "not there:\n{}", wrong.join("\n"));
    let lines = fs::read_to_string(root.join("README.md")).unwrap().lines().count();
    assert!(lines <= MOST, "README.md has {lines} lines, {MOST} are allowed");
}

#[test]
fn names_of_what_is_gone_are_found() {
    let text = "[a](gone.md) [b](README.md#no-such) [c](#nor-this) `hub/gone.rs` `hub/src/lib.rs` `hub/*.rs`";
    let found = missing(&root(), "README.md", text);
    let expected = ["gone.md", "README.md#no-such", "#nor-this", "hub/gone.rs"];
    assert_eq!(found, expected.map(|what| format!("README.md: {what}")));
}
