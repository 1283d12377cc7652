//! A keeper's directory: its files, its lock, and atomic writes.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// Size in bytes above which a log is rotated.
pub const LOG_MAX: u64 = 1 << 20;

/// `<run-dir>/keepers/<name>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dir(PathBuf);

/// The lock of a directory. It ends on drop, or when its process ends.
#[derive(Debug)]
pub struct Lock {
    file: File,
}

// === impl Lock ===

impl Lock {
    /// The locked file.
    pub(super) fn file(&self) -> &File {
        &self.file
    }
}

// === impl Dir ===

impl Dir {
    /// Creates a reference to the directory at `path`, which may not exist yet.
    pub fn new(path: PathBuf) -> Self {
        Self(path)
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Path of the file that the living keeper has locked.
    pub fn lock_file(&self) -> PathBuf {
        self.0.join("lock")
    }

    /// Path of the order, which the agent writes.
    pub fn spec(&self) -> PathBuf {
        self.0.join("spec.json")
    }

    /// Path of the state, which the keeper writes.
    pub fn state(&self) -> PathBuf {
        self.0.join("state.json")
    }

    /// Path of the state for the keeper's next build.
    pub fn handover(&self) -> PathBuf {
        self.0.join("handover.json")
    }

    /// Envoy's bootstrap.
    pub fn bootstrap(&self) -> PathBuf {
        self.0.join("bootstrap.json")
    }

    /// Path of Envoy's standard output and error, which include its log.
    pub fn envoy_log(&self) -> PathBuf {
        self.0.join("envoy.log")
    }

    /// The keeper's own log.
    pub fn keeper_log(&self) -> PathBuf {
        self.0.join("keeper.log")
    }

    /// The socket of Envoy's admin interface.
    pub fn admin(&self) -> PathBuf {
        self.0.join("admin.sock")
    }

    /// Creates the directory and its parents, accessible only to the owner.
    ///
    /// # Errors
    /// Returns the system's error.
    pub fn create(&self) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.0)
    }

    /// Takes the lock without waiting. Returns `None` if another process has it.
    ///
    /// # Errors
    /// Returns the system's error.
    pub fn try_lock(&self) -> io::Result<Option<Lock>> {
        let path = self.lock_file();
        let file =
            OpenOptions::new().create(true).truncate(false).write(true).read(true).mode(0o600).open(&path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        // The directory may have been removed between opening and locking; then the lock excludes nobody.
        Ok(self.lock_of(file))
    }

    /// Returns the lock held by `file`, which this process's previous program left; `None` if it is not a lock of this
    /// directory.
    ///
    /// # Errors
    /// Returns the system's error.
    pub fn inherited_lock(&self, file: File) -> io::Result<Option<Lock>> {
        // For a lock that this process already holds, this is only a check.
        match file.try_lock() {
            Ok(()) => Ok(self.lock_of(file)),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    fn lock_of(&self, file: File) -> Option<Lock> {
        let now = fs::metadata(self.lock_file()).ok()?;
        let same = file.metadata().is_ok_and(|ours| (ours.dev(), ours.ino()) == (now.dev(), now.ino()));
        same.then_some(Lock { file })
    }

    /// Returns whether a living process holds the lock.
    ///
    /// # Errors
    /// Returns the system's error. A missing lock file is no error.
    pub fn is_locked(&self) -> io::Result<bool> {
        let file = match File::open(self.lock_file()) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        };
        match file.try_lock_shared() {
            Ok(()) => Ok(false),
            Err(TryLockError::WouldBlock) => Ok(true),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// Removes the directory with its content. `_lock` proves that no keeper uses it.
    ///
    /// # Errors
    /// Returns the system's error.
    pub fn remove(&self, _lock: Lock) -> io::Result<()> {
        fs::remove_dir_all(&self.0)
    }

    /// Opens a log in this directory for appending, after [`bound_log`].
    ///
    /// # Errors
    /// Returns the system's error.
    pub fn open_log(&self, path: &Path) -> io::Result<File> {
        bound_log(path)?;
        OpenOptions::new().append(true).create(true).mode(0o600).open(path)
    }
}

/// Replaces the file at `path` atomically: a reader sees either the old or the new content.
///
/// # Errors
/// Returns the system's error.
pub fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension(format!("tmp{}", std::process::id()));
    fs::write(&temporary, content)?;
    fs::rename(&temporary, path)
}

/// Copies a log larger than [`LOG_MAX`] to `….1` and truncates it in place, so that its writers continue to append to
/// it.
///
/// # Errors
/// Returns the system's error. A missing log is no error.
pub fn bound_log(path: &Path) -> io::Result<()> {
    let length = match fs::metadata(path) {
        Ok(metadata) => metadata.len(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if length <= LOG_MAX {
        return Ok(());
    }
    fs::copy(path, path.with_extension("log.1"))?;
    OpenOptions::new().write(true).open(path)?.set_len(0)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write as _;

    use super::{Dir, LOG_MAX, bound_log, replace};

    fn mk_dir(temp: &tempfile::TempDir) -> Dir {
        let dir = Dir::new(temp.path().join("keepers/gateway"));
        dir.create().unwrap();
        dir
    }

    #[test]
    fn lock_has_one_holder_and_ends_with_it() {
        let temp = tempfile::tempdir().unwrap();
        let dir = mk_dir(&temp);
        assert!(!dir.is_locked().unwrap());
        let lock = dir.try_lock().unwrap().unwrap();
        assert!(dir.is_locked().unwrap());
        assert!(dir.try_lock().unwrap().is_none());
        drop(lock);
        assert!(!dir.is_locked().unwrap());
        dir.remove(dir.try_lock().unwrap().unwrap()).unwrap();
        assert!(!dir.path().exists());
    }

    #[test]
    fn replaced_file_leaves_nothing_beside_it() {
        let temp = tempfile::tempdir().unwrap();
        let dir = mk_dir(&temp);
        replace(&dir.spec(), b"one").unwrap();
        replace(&dir.spec(), b"two").unwrap();
        assert_eq!(fs::read(dir.spec()).unwrap(), b"two");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn grown_log_is_set_aside_under_its_writer() {
        let temp = tempfile::tempdir().unwrap();
        let dir = mk_dir(&temp);
        let mut writer = dir.open_log(&dir.envoy_log()).unwrap();
        writer.write_all(&vec![b'x'; usize::try_from(LOG_MAX).unwrap() + 1]).unwrap();
        bound_log(&dir.envoy_log()).unwrap();
        writer.write_all(b"after").unwrap();
        assert_eq!(fs::read(dir.envoy_log()).unwrap(), b"after");
        assert_eq!(fs::metadata(dir.path().join("envoy.log.1")).unwrap().len(), LOG_MAX + 1);
    }
}
