//! The CRDs of other projects, whose objects `deploy/components` contains. Entry point: [`text`].

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::assets::{Module, kept};
use crate::process::run;

const SOURCES: Module = Module {
    directory: concat!(env!("CARGO_MANIFEST_DIR"), "/definitions"),
    go_mod: include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/definitions/go.mod")),
    go_sum: include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/definitions/go.sum")),
    flags: "",
};

/// The projects, and the files in their sources.
const FILES: [(&str, &str); 4] = [
    (PROMETHEUS, "example/prometheus-operator-crd/monitoring.coreos.com_podmonitors.yaml"),
    (PROMETHEUS, "example/prometheus-operator-crd/monitoring.coreos.com_prometheusrules.yaml"),
    (CERT_MANAGER, "deploy/crds/cert-manager.io_certificates.yaml"),
    (CERT_MANAGER, "deploy/crds/cert-manager.io_issuers.yaml"),
];
const PROMETHEUS: &str = "github.com/prometheus-operator/prometheus-operator";
const CERT_MANAGER: &str = "github.com/cert-manager/cert-manager";

/// A module that go has downloaded.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Fetched {
    path: String,
    dir: PathBuf,
}

/// Returns all CRDs as YAML. They are downloaded once, by version and checksum, into the user's cache (12 MB, a few
/// seconds).
///
/// # Errors
/// Returns an error if Go is missing, the sources can't be downloaded or have a wrong checksum, or the cache can't be
/// written.
pub fn text() -> Result<String> {
    let path = kept(&SOURCES.cache()?, "definitions.yaml", fetch)?;
    Ok(fs::read_to_string(path)?)
}

fn fetch(into: &Path) -> Result<()> {
    let told = run(Command::new("go").args(["mod", "download", "-json"]).current_dir(SOURCES.directory))
        .context("the tests need other projects' definitions: install Go, and let it reach its proxy")?;
    let fetched = serde_json::Deserializer::from_str(&told).into_iter::<Fetched>();
    let sources: BTreeMap<String, PathBuf> =
        fetched.map(|one| one.map(|one| (one.path, one.dir))).collect::<Result<_, _>>()?;
    let read = |(project, file): (&str, &str)| {
        let path = sources.get(project).with_context(|| format!("{project} was not fetched"))?.join(file);
        fs::read_to_string(&path).with_context(|| path.display().to_string())
    };
    let texts: Vec<String> = FILES.into_iter().map(read).collect::<Result<_>>()?;
    Ok(fs::write(into, texts.join("\n---\n"))?)
}
