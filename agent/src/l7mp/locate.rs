//! Finds the programs of an l7mp proxy: node and l7mp's script. Entry points: [`given`], [`locate`], and [`fetched`],
//! which installs the pinned npm package into the user's cache.
//!
//! The package and everything that it depends on are pinned by hashes in `npm/package-lock.json`; npm's own settings
//! choose the registry.

use std::env;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use portreeve_keeper::is_executable;
use portreeve_keeper::l7mp::Programs;
use sha2::{Digest as _, Sha256};

use crate::envoy::locate::Surroundings;

/// npm's files: the package's name and version, and the hashes of all packages.
const FILES: [(&str, &str); 2] = [
    ("package.json", include_str!("npm/package.json")),
    ("package-lock.json", include_str!("npm/package-lock.json")),
];
/// The script, relative to the directory with `package.json`.
const SCRIPT: &str = "node_modules/@l7mp/l7mp/l7mp-proxy.js";
/// npm must not run the packages' own scripts: the proxy works without them.
const INSTALL: [&str; 5] = ["ci", "--omit=dev", "--ignore-scripts", "--no-audit", "--no-fund"];
/// The file that tells that an installation is complete.
const DONE: &str = "installed";
/// Maximum number of characters quoted from npm's errors.
const QUOTED: usize = 600;

/// The reason why there is no l7mp.
#[derive(Debug, thiserror::Error)]
pub enum LocateError {
    /// A program is not on `$PATH`.
    #[error("l7mp needs {program}, which is not on $PATH: install Debian's package {package}{other}", other = other(program))]
    Missing {
        /// The program.
        program: &'static str,
        /// Its package in Debian.
        package: &'static str,
    },
    /// A given path is not of the right kind.
    #[error("{flag} names {path}, which is not {kind}", path = path.display())]
    Given {
        /// The flag or variable.
        flag: &'static str,
        /// The path as given.
        path: PathBuf,
        /// The required kind of file.
        kind: &'static str,
    },
    /// There is no place for the package.
    #[error("neither XDG_CACHE_HOME nor HOME tells where to keep l7mp's npm package")]
    NoCache,
    /// A file can't be used.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// npm failed.
    #[error(
        "`npm {words}` in {path} failed ({status}): {stderr}; give an installed l7mp with --l7mp FILE or \
         PORTREEVE_L7MP=FILE, where FILE is its l7mp-proxy.js",
        words = INSTALL.join(" "), path = path.display()
    )]
    Npm {
        /// npm's working directory.
        path: PathBuf,
        /// How it ended.
        status: ExitStatus,
        /// Its error output.
        stderr: String,
    },
}

/// Paths that a user gives.
#[derive(Debug, Clone, Default)]
pub struct Given {
    /// Path of l7mp's script.
    pub l7mp: Option<PathBuf>,
    /// Path of node's binary.
    pub nodejs: Option<PathBuf>,
}

/// Returns the programs that the user gives by flag or `PORTREEVE_L7MP`; `None` if none is given.
///
/// # Errors
/// Returns an error if a given file doesn't exist, or node is missing.
pub fn given(given: &Given) -> Result<Option<Programs>, LocateError> {
    let variable = env::var_os("PORTREEVE_L7MP").filter(|value| !value.is_empty()).map(PathBuf::from);
    let named = given.l7mp.clone().map(|path| ("--l7mp", path));
    let Some((flag, path)) = named.or_else(|| variable.map(|path| ("PORTREEVE_L7MP", path))) else {
        return Ok(None);
    };
    let kind = "a file: give the path of l7mp-proxy.js in the package's directory";
    let script = match std::path::absolute(&path) {
        Ok(absolute) if absolute.is_file() => absolute,
        _ => return Err(LocateError::Given { flag, path, kind }),
    };
    Ok(Some(Programs { node: node(given)?, script }))
}

/// Returns the given programs, or else the pinned package, which is installed if it is missing (about 5 s). `progress`
/// gets a line for each step that takes long.
///
/// # Errors
/// See [`given`] and [`fetched`].
pub fn locate(paths: &Given, progress: &mut dyn FnMut(String)) -> Result<Programs, LocateError> {
    match given(paths)? {
        Some(programs) => Ok(programs),
        None => Ok(Programs { node: node(paths)?, script: fetched(progress)? }),
    }
}

/// Returns the script of the pinned package in the user's cache, and installs it first if it is missing. Concurrent
/// processes wait for each other.
///
/// # Errors
/// Returns an error if npm is missing or fails, or the cache can't be written.
pub fn fetched(progress: &mut dyn FnMut(String)) -> Result<PathBuf, LocateError> {
    let cache = Surroundings::of_process().cache_home.ok_or(LocateError::NoCache)?;
    let home = cache.join("portreeve").join(format!("l7mp-{}", key()));
    let done = home.join(DONE);
    if !done.is_file() {
        fs::create_dir_all(&home).map_err(at(&home))?;
        let _lock = lock(&home.join("lock"), progress)?;
        if !done.is_file() {
            install(&home, progress)?;
            File::create(&done).map_err(at(&done))?;
        }
    }
    Ok(home.join(SCRIPT))
}

fn install(home: &Path, progress: &mut dyn FnMut(String)) -> Result<(), LocateError> {
    let npm = on_path("npm").ok_or(LocateError::Missing { program: "npm", package: "npm" })?;
    for (name, content) in FILES {
        let path = home.join(name);
        fs::write(&path, content).map_err(at(&path))?;
    }
    progress("no l7mp on this machine: fetching its npm package".to_owned());
    let output = Command::new(&npm).args(INSTALL).current_dir(home).stdin(Stdio::null()).output();
    let output = output.map_err(at(&npm))?;
    if output.status.success() {
        return Ok(());
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    let stderr = stderr.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(QUOTED).collect();
    Err(LocateError::Npm { path: home.to_owned(), status: output.status, stderr })
}

fn lock(path: &Path, progress: &mut dyn FnMut(String)) -> Result<File, LocateError> {
    let file = File::create(path).map_err(at(path))?;
    match file.try_lock() {
        Ok(()) => return Ok(file),
        Err(TryLockError::WouldBlock) => {
            progress(format!("another process is fetching l7mp, waiting for it ({})", path.display()));
        }
        Err(TryLockError::Error(source)) => return Err(at(path)(source)),
    }
    file.lock().map_err(at(path))?;
    Ok(file)
}

/// Returns the first 16 hex digits of a hash of the files, so that another version has another directory.
fn key() -> String {
    let mut hash = Sha256::new();
    for part in FILES.map(|(_, content)| content).into_iter().chain([""]) {
        hash.update(part.len().to_be_bytes());
        hash.update(part);
    }
    hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

fn node(given: &Given) -> Result<PathBuf, LocateError> {
    match &given.nodejs {
        Some(path) => match (is_executable(path), std::path::absolute(path)) {
            (Ok(true), Ok(absolute)) => Ok(absolute),
            _ => {
                let (path, kind) = (path.clone(), "an executable file");
                Err(LocateError::Given { flag: "--nodejs", path, kind })
            }
        },
        None => on_path("node").ok_or(LocateError::Missing { program: "node", package: "nodejs" }),
    }
}

fn on_path(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    let directories = env::split_paths(&path).filter(|directory| directory.is_absolute());
    directories.map(|directory| directory.join(program)).find(|path| is_executable(path).unwrap_or(false))
}

fn other(program: &str) -> &'static str {
    match program {
        "node" => ", or give its path with --nodejs FILE",
        _ => ", or give an installed l7mp with --l7mp FILE",
    }
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> LocateError {
    let path = path.to_owned();
    move |source| LocateError::Io { path, source }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::{FILES, Given, LocateError, given};

    #[test]
    fn every_package_is_pinned_by_a_hash_and_none_by_an_address() {
        let lock: Value = serde_json::from_str(FILES[1].1).unwrap();
        let packages = lock["packages"].as_object().unwrap();
        assert!(packages.contains_key("node_modules/@l7mp/l7mp"));
        for (name, package) in packages.iter().filter(|(name, _)| !name.is_empty()) {
            assert!(package["integrity"].is_string() && package["resolved"].is_null(), "{name}: {package}");
        }
    }

    #[test]
    fn given_path_without_a_file_is_named_with_its_flag() {
        let paths = Given { l7mp: Some("/no/such/l7mp-proxy.js".into()), nodejs: None };
        let error = given(&paths).unwrap_err();
        assert!(matches!(error, LocateError::Given { .. }), "{error}");
        assert_eq!(
            error.to_string(),
            "--l7mp names /no/such/l7mp-proxy.js, which is not a file: give the path of l7mp-proxy.js in the package's \
             directory"
        );
    }

    #[test]
    fn missing_program_is_said_with_its_package() {
        let text = LocateError::Missing { program: "node", package: "nodejs" }.to_string();
        assert_eq!(
            text,
            "l7mp needs node, which is not on $PATH: install Debian's package nodejs, or give its path with --nodejs FILE"
        );
    }
}
