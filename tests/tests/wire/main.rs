//! The protocols between hubs, agents and keepers of different versions: fields are only added. `fields-<version>.txt`
//! has the fields of an earlier version; `UPDATE=1` writes those of this version.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

/// The definitions, relative to the project's root.
const FILES: [&str; 3] =
    ["hub/api/proto/plan.proto", "hub/api/proto/report.proto", "agent/keeper/proto/keeper.proto"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn golden(version: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/wire/fields-{version}.txt"))
}

/// Returns each field and value of a definition with its number and type: `Plan.listeners = 3 repeated Listener`.
fn fields(proto: &str) -> BTreeSet<String> {
    let (mut found, mut within) = (BTreeSet::new(), Vec::new());
    for line in proto.lines().map(|line| line.split("//").next().unwrap_or_default().trim()) {
        let words: Vec<&str> = line.trim_end_matches([';', '{', ' ']).split_whitespace().collect();
        match words.as_slice() {
            ["message" | "enum" | "service", name] => within.push((*name).to_owned()),
            // Its fields are those of the message that it is in.
            ["oneof", _] => within.push(String::new()),
            ["rpc", ..] => {
                found.insert(format!("{} {}", path(&within), words.join(" ")));
            }
            [kind @ .., name, "=", number] if !within.is_empty() => {
                found.insert(
                    format!("{}.{name} = {number} {}", path(&within), kind.join(" ")).trim_end().to_owned(),
                );
            }
            ["}"] => drop(within.pop()),
            _ => {}
        }
    }
    found
}

fn path(within: &[String]) -> String {
    within.iter().filter(|name| !name.is_empty()).map(String::as_str).collect::<Vec<_>>().join(".")
}

fn all() -> Result<BTreeSet<String>> {
    let mut all = BTreeSet::new();
    for file in FILES {
        let text = fs::read_to_string(root().join(file)).with_context(|| file.to_owned())?;
        let name = Path::new(file).file_name().and_then(|name| name.to_str()).unwrap_or_default();
        all.extend(fields(&text).into_iter().map(|field| format!("{name} {field}")));
    }
    Ok(all)
}

#[test]
fn every_field_of_an_earlier_version_is_what_it_was() -> Result<()> {
    let now = all()?;
    ensure!(now.len() > 150, "only {} fields were found", now.len());
    let this = golden(env!("CARGO_PKG_VERSION"));
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&this, now.iter().map(|field| format!("{field}\n")).collect::<String>())?;
    }
    let directory = this.parent().context("a directory")?;
    let mut versions = 0;
    for entry in fs::read_dir(directory)?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.starts_with("fields-") {
            continue;
        }
        versions += 1;
        let text = fs::read_to_string(entry.path())?;
        let gone: Vec<&str> = text.lines().filter(|field| !now.contains(*field)).collect();
        ensure!(gone.is_empty(), "{name} has what is another now, or gone: {gone:#?}");
        if entry.path() == this {
            let new: Vec<_> = now.iter().filter(|field| !text.lines().any(|line| line == *field)).collect();
            ensure!(new.is_empty(), "not in {name} yet, see UPDATE=1: {new:#?}");
        }
    }
    ensure!(versions > 0 && this.exists(), "no {}", this.display());
    Ok(())
}

#[test]
fn a_number_belongs_to_one_field_only() -> Result<()> {
    let mut seen = BTreeSet::new();
    for field in all()?.iter().filter(|field| field.contains(" = ")) {
        let (name, rest) = field.split_once(" = ").context("a number")?;
        let message = name.rsplit_once('.').map_or(name, |(message, _)| message);
        let number = rest.split(' ').next().unwrap_or_default();
        ensure!(seen.insert(format!("{message} {number}")), "{field}: its number is another field's");
    }
    Ok(())
}

#[test]
fn fields_are_found_in_messages_enums_and_oneofs() {
    let text = "message A {\n  // 1: no = 9;\n  repeated B b = 1; // b\n  oneof c {\n    string d = 2;\n  }\n  map<string, string> e = 3;\n}\n\
                enum F {\n  F_NONE = 0;\n}\nservice S {\n  rpc Do(stream A) returns (B);\n}\n";
    let expected = [
        "A.b = 1 repeated B",
        "A.d = 2 string",
        "A.e = 3 map<string, string>",
        "F.F_NONE = 0",
        "S rpc Do(stream A) returns (B)",
    ];
    assert_eq!(fields(text), expected.map(str::to_owned).into());
}
