//! Programs that are built once into the user's cache, from Go modules that pin their versions: those of the control
//! plane ([`control_plane`], unless `KUBEBUILDER_ASSETS` provides them), of a cluster with nodes ([`nodes`]), and the
//! tools for manifests ([`kustomize`], [`helm`]) and alert rules ([`promtool`]).

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use nix::fcntl::{Flock, FlockArg};
use sha2::{Digest, Sha256};

/// A Go module that pins the version of a program or of sources.
pub(crate) struct Module {
    /// The module's directory. Its last part names the directory in the cache.
    pub(crate) directory: &'static str,
    /// The module's files with versions and checksums. The cache key is computed from them.
    pub(crate) go_mod: &'static str,
    pub(crate) go_sum: &'static str,
    /// Flags for the linker.
    pub(crate) flags: &'static str,
}

const CONTROL_PLANE: Module = Module {
    directory: concat!(env!("CARGO_MANIFEST_DIR"), "/controlplane"),
    go_mod: include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/controlplane/go.mod")),
    go_sum: include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/controlplane/go.sum")),
    // Stripped. Clients see the version that the module pins.
    flags: "-s -w -X k8s.io/component-base/version.gitVersion=v1.34.4 \
        -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=34",
};

const MANIFESTS: Module = Module {
    directory: concat!(env!("CARGO_MANIFEST_DIR"), "/manifests"),
    go_mod: include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/manifests/go.mod")),
    go_sum: include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/manifests/go.sum")),
    // Helm renders for the control plane's version.
    flags: "-s -w -X helm.sh/helm/v3/pkg/chartutil.k8sVersionMajor=1 \
        -X helm.sh/helm/v3/pkg/chartutil.k8sVersionMinor=34",
};

const MONITORING: Module = Module {
    directory: concat!(env!("CARGO_MANIFEST_DIR"), "/monitoring"),
    go_mod: include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/monitoring/go.mod")),
    go_sum: include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/monitoring/go.sum")),
    flags: "-s -w",
};

/// The control plane's programs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assets {
    /// etcd's server.
    pub etcd: PathBuf,
    /// Kubernetes' API server.
    pub apiserver: PathBuf,
}

/// The programs of a cluster with nodes, in addition to [`Assets`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeAssets {
    /// Runs the controllers of namespaces, ServiceAccounts, EndpointSlices, DaemonSets and other kinds.
    pub controller_manager: PathBuf,
    /// Assigns pods to nodes.
    pub scheduler: PathBuf,
    /// The agent of a node.
    pub kubelet: PathBuf,
    /// Makes Services reachable on a node.
    pub proxy: PathBuf,
    /// The command line client.
    pub kubectl: PathBuf,
}

/// Returns the programs, and builds them if they are missing: about 6 minutes on two cores, once per version.
///
/// If `KUBEBUILDER_ASSETS` is set, its directory must hold both programs. Otherwise they are kept in
/// [`cache_dir`]`/controlplane-<hash of go.mod and go.sum>`. Processes wait while another one builds.
///
/// # Errors
/// Returns an error if Go is missing, the build fails, the given directory lacks a program, or the cache can't be
/// written.
pub fn control_plane() -> Result<Assets> {
    if let Some(given) = std::env::var_os("KUBEBUILDER_ASSETS") {
        return given_assets(Path::new(&given));
    }
    let directory = CONTROL_PLANE.cache()?;
    let built = |name, package| built(&directory, name, (&CONTROL_PLANE, package));
    Ok(Assets {
        etcd: built("etcd", "go.etcd.io/etcd/server/v3")?,
        apiserver: built("kube-apiserver", "k8s.io/kubernetes/cmd/kube-apiserver")?,
    })
}

/// Returns the programs of nodes, and builds missing ones into the directory of [`control_plane`]. Measured on two
/// cores, after kube-apiserver was built: kubelet 80 s, kube-controller-manager 60 s, kubectl 43 s, kube-proxy 13 s,
/// kube-scheduler 8 s; 385 MB together.
///
/// # Errors
/// See [`control_plane`]. `KUBEBUILDER_ASSETS` is ignored, since it has no kubelet.
pub fn nodes() -> Result<NodeAssets> {
    let directory = CONTROL_PLANE.cache()?;
    let built = |name| {
        let package = format!("k8s.io/kubernetes/cmd/{name}");
        built(&directory, name, (&CONTROL_PLANE, &package))
    };
    Ok(NodeAssets {
        controller_manager: controller_manager()?,
        scheduler: built("kube-scheduler")?,
        kubelet: built("kubelet")?,
        proxy: built("kube-proxy")?,
        kubectl: kubectl()?,
    })
}

/// Returns kubectl, and builds it if it is missing (43 seconds after [`control_plane`]).
///
/// # Errors
/// See [`nodes`].
pub fn kubectl() -> Result<PathBuf> {
    built(&CONTROL_PLANE.cache()?, "kubectl", (&CONTROL_PLANE, "k8s.io/kubernetes/cmd/kubectl"))
}

/// Returns kube-controller-manager, and builds it if it is missing (60 seconds after [`control_plane`]).
///
/// # Errors
/// See [`nodes`].
pub fn controller_manager() -> Result<PathBuf> {
    let package = "k8s.io/kubernetes/cmd/kube-controller-manager";
    built(&CONTROL_PLANE.cache()?, "kube-controller-manager", (&CONTROL_PLANE, package))
}

/// Returns kustomize, and builds it if it is missing (20 seconds).
///
/// # Errors
/// See [`control_plane`].
pub fn kustomize() -> Result<PathBuf> {
    built(&MANIFESTS.cache()?, "kustomize", (&MANIFESTS, "sigs.k8s.io/kustomize/kustomize/v5"))
}

/// Returns Helm, and builds it if it is missing (a minute).
///
/// # Errors
/// See [`control_plane`].
pub fn helm() -> Result<PathBuf> {
    built(&MANIFESTS.cache()?, "helm", (&MANIFESTS, "helm.sh/helm/v3/cmd/helm"))
}

/// Returns promtool, which checks and tests Prometheus rules, and builds it if it is missing (two minutes).
///
/// # Errors
/// See [`control_plane`].
pub fn promtool() -> Result<PathBuf> {
    built(&MONITORING.cache()?, "promtool", (&MONITORING, "github.com/prometheus/prometheus/cmd/promtool"))
}

/// Returns the harness's cache directory: `$XDG_CACHE_HOME/portreeve` or `~/.cache/portreeve`.
///
/// # Errors
/// Returns an error if neither variable is set.
pub fn cache_dir() -> Result<PathBuf> {
    if let Some(cache) = std::env::var_os("XDG_CACHE_HOME").filter(|c| !c.is_empty()) {
        return Ok(PathBuf::from(cache).join("portreeve"));
    }
    let home = std::env::var_os("HOME").context("neither XDG_CACHE_HOME nor HOME is set")?;
    Ok(PathBuf::from(home).join(".cache/portreeve"))
}

/// Returns the programs in a directory given by the user.
fn given_assets(directory: &Path) -> Result<Assets> {
    let assets = Assets { etcd: directory.join("etcd"), apiserver: directory.join("kube-apiserver") };
    for program in [&assets.etcd, &assets.apiserver] {
        ensure!(program.is_file(), "KUBEBUILDER_ASSETS is set, but there is no {}", program.display());
    }
    Ok(assets)
}

/// Returns the path of a cached program, and builds it if it is missing.
fn built(directory: &Path, name: &str, (module, package): (&Module, &str)) -> Result<PathBuf> {
    kept(directory, name, |program| build(program, module, package))
}

/// Returns the path of a cached file, and creates it under the lock of its directory if it is missing. It is created
/// under a temporary name and then renamed, so that a killed process never leaves an incomplete file.
pub(crate) fn kept(directory: &Path, name: &str, make: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    let file = directory.join(name);
    if file.is_file() {
        return Ok(file);
    }
    let lock = File::create(directory.join("lock"))?;
    let _held = Flock::lock(lock, FlockArg::LockExclusive).map_err(|(_, errno)| errno)?;
    if !file.is_file() {
        let unfinished = file.with_extension("unfinished");
        make(&unfinished)?;
        fs::rename(&unfinished, &file)?;
    }
    Ok(file)
}

fn build(program: &Path, module: &Module, package: &str) -> Result<()> {
    tell(&format!("building {package} as {} (once; minutes)", program.display()));
    let started = Instant::now();
    let status = Command::new("go")
        .args(["build", "-mod=readonly", "-trimpath", "-ldflags", module.flags, "-o"])
        .arg(program)
        .arg(package)
        .current_dir(module.directory)
        .env("CGO_ENABLED", "0")
        .status();
    match status {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => bail!(
            "the tests need the real {package}: install Go (see {}/go.mod for its version); for etcd and kube-apiserver \
             KUBEBUILDER_ASSETS may name a directory instead",
            module.directory
        ),
        Err(error) => return Err(error).context("running go"),
        Ok(status) => ensure!(status.success(), "go build {package}: {status}"),
    }
    tell(&format!("built {package} in {:.0?}", started.elapsed()));
    Ok(())
}

/// Prints a message immediately. The test runner would hold back the output of `eprintln!` until the test has failed.
fn tell(words: &str) {
    let _ = writeln!(std::io::stderr(), "{words}");
}

// === impl Module ===

impl Module {
    /// Returns the module's directory in the cache, and creates it if it is missing.
    pub(crate) fn cache(&self) -> Result<PathBuf> {
        let name = self.directory.rsplit('/').next().unwrap_or_default();
        let key = key([self.go_mod, self.go_sum, self.flags]);
        let directory = cache_dir()?.join(format!("{name}-{key}"));
        fs::create_dir_all(&directory).with_context(|| format!("creating {}", directory.display()))?;
        Ok(directory)
    }
}

/// Returns the first 16 hex digits of a hash over everything that determines the built programs.
pub(crate) fn key(parts: [&str; 3]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
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
        assert_ne!(key(["etcd 1", "sum", ""]), key(["etcd 2", "sum", ""]));
        assert_ne!(key(["ab", "c", ""]), key(["a", "bc", ""]));
        assert_eq!(key(["a", "b", "c"]), key(["a", "b", "c"]));
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
        let found = built(directory.path(), "etcd", (&CONTROL_PLANE, "no.such/package")).unwrap();
        assert_eq!(found, directory.path().join("etcd"));
    }
}
