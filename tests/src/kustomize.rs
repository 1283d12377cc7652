//! What kustomize makes of `deploy/`. Entry point: [`built`].

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;
use serde::Deserialize as _;
use serde_json::{Value, json};

use crate::assets;
use crate::process::run;

/// The directory `deploy/`.
pub fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy")
}

/// The manifests of a kustomization.
///
/// # Errors
/// kustomize refuses it.
pub fn text(directory: &Path) -> Result<String> {
    run(Command::new(assets::kustomize()?).arg("build").arg(directory))
}

/// The objects of the base with these components of it, built as a user's own kustomization.
///
/// # Errors
/// As of [`text`].
pub fn built(components: &[&str]) -> Result<Vec<Value>> {
    let overlay = tempfile::tempdir()?;
    let (here, deploy) = (overlay.path().canonicalize()?, deploy().canonicalize()?);
    // A kustomization names others by relative paths only.
    let up: PathBuf = here.components().skip(1).map(|_| "..").collect();
    let base = up.join(deploy.strip_prefix("/")?);
    let components: Vec<_> = components.iter().map(|name| base.join("components").join(name)).collect();
    let kustomization = json!({"resources": [base], "components": components});
    std::fs::write(here.join("kustomization.yaml"), serde_yaml::to_string(&kustomization)?)?;
    objects(&text(&here)?)
}

/// The objects of manifests.
///
/// # Errors
/// They are no YAML.
pub fn objects(yaml: &str) -> Result<Vec<Value>> {
    let documents = serde_yaml::Deserializer::from_str(yaml).map(Value::deserialize);
    Ok(documents.collect::<Result<_, _>>()?)
}
