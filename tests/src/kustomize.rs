//! The output of kustomize for `deploy/`. Entry point: [`built`].

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;
use serde::Deserialize as _;
use serde_json::{Value, json};

use crate::assets;
use crate::process::run;

/// Returns the directory `deploy/`.
pub fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy")
}

/// Returns the manifests of a kustomization.
///
/// # Errors
/// Returns an error if kustomize rejects it.
pub fn text(directory: &Path) -> Result<String> {
    run(Command::new(assets::kustomize()?).arg("build").arg(directory))
}

/// Returns the objects of the base with these components, built as a user's kustomization.
///
/// # Errors
/// See [`text`].
pub fn built(components: &[&str]) -> Result<Vec<Value>> {
    let overlay = tempfile::tempdir()?;
    let (here, deploy) = (overlay.path().canonicalize()?, deploy().canonicalize()?);
    // A kustomization can refer to others by relative paths only.
    let up: PathBuf = here.components().skip(1).map(|_| "..").collect();
    let base = up.join(deploy.strip_prefix("/")?);
    let components: Vec<_> = components.iter().map(|name| base.join("components").join(name)).collect();
    let kustomization = json!({"resources": [base], "components": components});
    std::fs::write(here.join("kustomization.yaml"), serde_yaml::to_string(&kustomization)?)?;
    objects(&text(&here)?)
}

/// Returns the objects of manifests.
///
/// # Errors
/// Returns an error if the text is not YAML.
pub fn objects(yaml: &str) -> Result<Vec<Value>> {
    let documents = serde_yaml::Deserializer::from_str(yaml).map(Value::deserialize);
    Ok(documents.collect::<Result<_, _>>()?)
}
