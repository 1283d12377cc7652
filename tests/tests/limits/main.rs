//! The limits of the house style, as it counts them: how long files and functions may be, how deep blocks are nested, how
//! many arguments a function has, how a file may be called, what must not be left in it, that no files or folders of a
//! crate import each other in a circle, what pure code depends on, and who may name a kind of object or of proxy.

mod circles;
mod crates;
mod documents;
mod functions;
mod imports;
mod kinds;
mod modules;
mod proxies;

use std::path::{Path, PathBuf};
use std::process::Command;

use modules::Sources;

/// Maximum number of lines of a file before its tests.
const PRODUCTION: usize = 400;
/// Maximum number of lines of a test file.
const TESTS: usize = 500;
/// File names that say nothing about the content.
const NAMELESS: [&str; 5] = ["util.rs", "common.rs", "helpers.rs", "shared.rs", "manager.rs"];
/// Texts that must not be left in a file. Each is split, so that this file may contain it.
const UNFINISHED: [(&str, &str); 3] = [("todo!", "("), ("unimplemented!", "("), ("#[", "ignore")];

/// Returns the number of lines before the test module at the end.
fn production_lines(text: &str) -> usize {
    let lines: Vec<&str> = text.lines().collect();
    let ends =
        |pair: &[&str]| pair[0] == "#[cfg(test)]" && pair[1].starts_with("mod ") && !pair[1].ends_with(';');
    lines.windows(2).position(ends).unwrap_or(lines.len())
}

/// Returns whether a file contains only tests.
fn is_test(path: &Path) -> bool {
    let named = path.file_name().is_some_and(|name| name == "tests.rs");
    named || path.parent().is_some_and(|parent| parent.ends_with("tests"))
}

/// Returns what is wrong with a file.
fn faults(path: &Path, text: &str) -> Vec<String> {
    let (lines, limit) = match is_test(path) {
        true => (text.lines().count(), TESTS),
        false => (production_lines(text), PRODUCTION),
    };
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let too_long = (lines > limit).then(|| format!("{lines} lines, {limit} are allowed"));
    let nameless = NAMELESS.contains(&name.as_ref()).then(|| "is named for nothing that it owns".to_owned());
    let unfinished = UNFINISHED.iter().map(|(head, tail)| format!("{head}{tail}"));
    let unfinished = unfinished.filter(|mark| text.contains(mark)).map(|mark| format!("holds {mark}"));
    let found = too_long.into_iter().chain(nameless).chain(unfinished);
    found.map(|fault| format!("{}: {fault}", path.display())).collect()
}

/// Returns the tracked Rust files, or all outside `target` if there is no repository.
fn rust_files(root: &Path) -> Vec<PathBuf> {
    // A file may be tracked and deleted, or new and not tracked yet.
    let arguments = ["ls-files", "--cached", "--others", "--exclude-standard", "*.rs"];
    match Command::new("git").current_dir(root).args(arguments).output() {
        Ok(listed) if listed.status.success() => {
            String::from_utf8_lossy(&listed.stdout).lines().map(|line| root.join(line)).collect()
        }
        _ => walk(root),
    }
}

/// Returns every Rust file under a directory, without hidden and generated ones.
fn walk(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        let hidden = name.to_string_lossy().starts_with('.') || name == "target";
        if path.is_dir() && !hidden {
            found.extend(walk(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

/// Returns whether a file is the root of a library or a program.
fn is_crate_root(path: &Path) -> bool {
    ["src/lib.rs", "src/main.rs"].iter().any(|root| path.ends_with(root))
}

/// The workspace.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap_or_default()
}

#[test]
fn every_file_keeps_the_limits() {
    let mut wrong = Vec::new();
    let mut seen = 0;
    for path in rust_files(&root()).into_iter().filter(|path| path.is_file()) {
        seen += 1;
        let text = std::fs::read_to_string(&path).unwrap();
        wrong.extend(faults(&path, &text));
        wrong.extend(
            functions::faults(&path, &text).unwrap_or_else(|error| panic!("{}: {error}", path.display())),
        );
    }
    assert!(seen > 10, "only {seen} files found under {}", root().display());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn files_and_folders_of_a_crate_import_each_other_in_one_direction() {
    let root = root();
    let files = rust_files(&root).into_iter().filter(|path| path.is_file());
    let read = |path: PathBuf| {
        let name = path.strip_prefix(&root).unwrap().to_owned();
        (name, std::fs::read_to_string(&path).unwrap())
    };
    let sources: Sources = files.map(read).collect();
    let crates: Vec<&Path> =
        sources.keys().map(PathBuf::as_path).filter(|path| is_crate_root(path)).collect();
    assert!(crates.len() > 5, "only {crates:?} found");
    let found = crates.iter().flat_map(|root| circles::circles(root, &sources).unwrap());
    let wrong: Vec<_> = found.map(|circle| circles::fault(&circle)).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn resource_types_of_one_kind_of_proxy_are_named_in_its_places_alone() {
    let root = root();
    let mut wrong = Vec::new();
    for path in rust_files(&root).into_iter().filter(|path| path.is_file()) {
        let name = path.strip_prefix(&root).unwrap();
        wrong.extend(proxies::faults(name, &std::fs::read_to_string(&path).unwrap()));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn files_are_found_without_a_repository() {
    let walked = walk(&root());
    assert!(walked.contains(&root().join("tests/tests/limits/main.rs")), "{walked:?}");
    assert!(!walked.iter().any(|path| path.starts_with(root().join("target"))));
}

#[test]
fn a_long_file_is_found() {
    let line = "let x = 1;\n";
    let tests = "#[cfg(test)]\nmod tests {}\n".to_owned() + &line.repeat(300);
    let wrong = |path: &str, text: &str| !faults(Path::new(path), text).is_empty();
    assert!(wrong("hub/src/big.rs", &line.repeat(401)));
    assert!(!wrong("hub/src/big.rs", &line.repeat(400)));
    assert!(!wrong("hub/src/big.rs", &(line.repeat(400) + &tests)), "tests do not count");
    let field = "    #[cfg(test)]\n    x: usize,\n#[cfg(test)]\nmod tests;\n".to_owned() + &line.repeat(397);
    assert!(wrong("hub/src/big.rs", &field), "the end of what counts is a module of tests, nothing else");
    assert!(wrong("hub/src/big/tests.rs", &line.repeat(501)));
    assert!(!wrong("hub/tests/big.rs", &line.repeat(500)));
    assert!(wrong("tests/src/big.rs", &line.repeat(401)), "the harness is production code");
}

#[test]
fn an_unfinished_or_nameless_file_is_found() {
    for (head, tail) in UNFINISHED {
        assert_eq!(
            faults(Path::new("a.rs"), &format!("{head}{tail}")),
            [format!("a.rs: holds {head}{tail}")]
        );
    }
    assert_eq!(
        faults(Path::new("hub/src/util.rs"), ""),
        ["hub/src/util.rs: is named for nothing that it owns"]
    );
}
