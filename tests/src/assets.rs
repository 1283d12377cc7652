//! The control plane's binaries: found in `KUBEBUILDER_ASSETS`, or built once from `tests/controlplane` into the
//! user's cache. Entry point: [`control_plane`].

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use nix::fcntl::{Flock, FlockArg};
use sha2::{Digest, Sha256};

/// The module that names the versions; part of the cache's key.
const GO_MOD: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/controlplane/go.mod"));
/// The checksums of that module; part of the cache's key.
const GO_SUM: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/controlplane/go.sum"));
/// Where that module is.
const MODULE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/controlplane");
/// Stripped, and telling clients the version that the module pins.
const LD_FLAGS: &str = "-s -w -X k8s.io/component-base/version.gitVersion=v1.34.4 \
    -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=34";

/// The control plane's programs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assets {
    /// etcd's server.
    pub etcd: PathBuf,
    /// Kubernetes' API server.
    pub apiserver: PathBuf,
}

/// Finds the programs, building them when there are none: about 6 minutes of two cores, once per version.
///
/// `KUBEBUILDER_ASSETS` names a directory that holds both and is taken as it is. Otherwise they are kept in
/// [`cache_dir`]`/controlplane-<hash of go.mod and go.sum>`. Processes that come while another one builds wait for it.
///
/// # Errors
/// Go is missing or the build failed; the named directory lacks a program; the cache can't be written.
pub fn control_plane() -> Result<Assets> {
    if let Some(given) = std::env::var_os("KUBEBUILDER_ASSETS") {
        return given_assets(Path::new(&given));
    }
    let directory = cache_dir()?.join(format!("controlplane-{}", key(GO_MOD, GO_SUM)));
    fs::create_dir_all(&directory).with_context(|| format!("creating {}", directory.display()))?;
    Ok(Assets {
        etcd: built(&directory, "etcd", "go.etcd.io/etcd/server/v3")?,
        apiserver: built(&directory, "kube-apiserver", "k8s.io/kubernetes/cmd/kube-apiserver")?,
    })
}

/// The harness' cache: `$XDG_CACHE_HOME/portreeve` or `~/.cache/portreeve`.
///
/// # Errors
/// Neither variable is set.
pub fn cache_dir() -> Result<PathBuf> {
    if let Some(cache) = std::env::var_os("XDG_CACHE_HOME").filter(|c| !c.is_empty()) {
        return Ok(PathBuf::from(cache).join("portreeve"));
    }
    let home = std::env::var_os("HOME").context("neither XDG_CACHE_HOME nor HOME is set")?;
    Ok(PathBuf::from(home).join(".cache/portreeve"))
}

/// The programs in a directory that the user named.
fn given_assets(directory: &Path) -> Result<Assets> {
    let assets = Assets { etcd: directory.join("etcd"), apiserver: directory.join("kube-apiserver") };
    for program in [&assets.etcd, &assets.apiserver] {
        ensure!(program.is_file(), "KUBEBUILDER_ASSETS is set, but there is no {}", program.display());
    }
    Ok(assets)
}

/// The cached program, built under the lock of its directory when it is not there yet.
fn built(directory: &Path, name: &str, package: &str) -> Result<PathBuf> {
    let program = directory.join(name);
    if program.is_file() {
        return Ok(program);
    }
    let lock = File::create(directory.join("lock"))?;
    let _held = Flock::lock(lock, FlockArg::LockExclusive).map_err(|(_, errno)| errno)?;
    if !program.is_file() {
        build(&program, package)?;
    }
    Ok(program)
}

/// Builds under a temporary name and renames, so that a killed build leaves nothing that looks finished.
fn build(program: &Path, package: &str) -> Result<()> {
    let unfinished = program.with_extension("unfinished");
    tell(&format!("building {package} into {} (once; minutes)", program.display()));
    let started = Instant::now();
    let status = Command::new("go")
        .args(["build", "-mod=readonly", "-trimpath", "-ldflags", LD_FLAGS, "-o"])
        .arg(&unfinished)
        .arg(package)
        .current_dir(MODULE)
        .env("CGO_ENABLED", "0")
        .status();
    match status {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => bail!(
            "the tests need the real {package}: install Go (see tests/controlplane/go.mod for its version) or let \
             KUBEBUILDER_ASSETS name a directory with etcd and kube-apiserver"
        ),
        Err(error) => return Err(error).context("running go"),
        Ok(status) => ensure!(status.success(), "go build {package}: {status}"),
    }
    fs::rename(&unfinished, program)?;
    tell(&format!("built {package} in {:.0?}", started.elapsed()));
    Ok(())
}

/// Says something to whoever waits: the test runner keeps what `eprintln!` says to itself until the test has failed.
fn tell(words: &str) {
    let _ = writeln!(std::io::stderr(), "{words}");
}

/// The first 16 hex digits of a hash over what decides how the programs come out.
fn key(go_mod: &str, go_sum: &str) -> String {
    let mut hash = Sha256::new();
    for part in [go_mod, go_sum, LD_FLAGS] {
        hash.update(part.len().to_be_bytes());
        hash.update(part);
    }
    hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_version_has_another_key() {
        assert_ne!(key("etcd 1", "sum"), key("etcd 2", "sum"));
        assert_ne!(key("ab", "c"), key("a", "bc"));
        assert_eq!(key("a", "b"), key("a", "b"));
    }

    #[test]
    fn a_named_directory_must_hold_the_programs() {
        let directory = tempfile::tempdir().unwrap();
        let error = given_assets(directory.path()).unwrap_err().to_string();
        assert!(error.contains("KUBEBUILDER_ASSETS") && error.ends_with("etcd"), "{error}");
        File::create(directory.path().join("etcd")).unwrap();
        File::create(directory.path().join("kube-apiserver")).unwrap();
        assert_eq!(given_assets(directory.path()).unwrap().etcd, directory.path().join("etcd"));
    }

    #[test]
    fn a_cached_program_is_not_built_again() {
        let directory = tempfile::tempdir().unwrap();
        File::create(directory.path().join("etcd")).unwrap();
        let found = built(directory.path(), "etcd", "no.such/package").unwrap();
        assert_eq!(found, directory.path().join("etcd"));
    }
}
