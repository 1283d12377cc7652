//! Directories that only one process may use: a second process would serve, supervise and save at the same time. The
//! lock is on the directory itself (flock), so it needs no disk space and ends with its process. Entry point:
//! [`Hold::take`].

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::Path;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::ports::title;
use crate::supervisor::holder_of;

/// How long to wait for a process that is ending.
const PATIENCE: Duration = Duration::from_secs(3);
const STEP: Duration = Duration::from_millis(20);

/// A directory that this process holds until this value is dropped.
#[derive(Debug)]
pub struct Hold {
    /// `None` if the file system has no locks, or if the directory can't be opened, which its user reports.
    _file: Option<File>,
}

/// Another process uses the directory.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{directory} is in use by {holder}: end that process, or choose another {flag}")]
pub struct InUse {
    directory: String,
    holder: String,
    flag: &'static str,
}

// === impl Hold ===

impl Hold {
    /// Locks a directory, and creates it if it is missing. `flag` is the flag that names it.
    ///
    /// # Errors
    /// Returns an error if another process uses the directory.
    pub async fn take(path: &Path, flag: &'static str) -> Result<Self, InUse> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match try_lock(path) {
                Ok(Some(file)) => return Ok(Self { _file: Some(file) }),
                Ok(None) if Instant::now() < deadline => sleep(STEP).await,
                Ok(None) => return Err(in_use(path, flag)),
                Err(error) => {
                    tracing::warn!(path = %path.display(), %error, "can't lock the directory: a second process would not be kept out of it");
                    return Ok(Self { _file: None });
                }
            }
        }
    }

    /// Locks the directories of an agent, that of its sockets first. If the previous agent doesn't answer
    /// (`contested`), it may hold them while it is stopped; then this agent continues without the locks.
    ///
    /// # Errors
    /// See [`Self::take`]. Returns no error if `contested`.
    pub async fn take_all(run_dir: &Path, state_dir: &Path, contested: bool) -> Result<Vec<Self>, InUse> {
        let mut held = Vec::new();
        for (path, flag) in [(run_dir, "--run-dir"), (state_dir, "--state-dir")] {
            match Self::take(path, flag).await {
                Err(error) if contested => tracing::warn!(%error, "starting without the lock"),
                taken => held.push(taken?),
            }
        }
        Ok(held)
    }
}

/// Returns the locked directory, or `None` if another process has locked it.
fn try_lock(path: &Path) -> io::Result<Option<File>> {
    fs::create_dir_all(path)?;
    let file = File::open(path)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

fn in_use(path: &Path, flag: &'static str) -> InUse {
    let holder = File::open(path).ok().and_then(|file| holder_of(&file));
    let holder = holder.map_or_else(|| "another process".to_owned(), title);
    InUse { directory: path.display().to_string(), holder, flag }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn directory_has_one_user_at_a_time_and_the_second_is_told_who() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("run");
        let first = Hold::take(&path, "--run-dir").await.unwrap();
        let error = Hold::take(&path, "--run-dir").await.unwrap_err().to_string();
        let own = format!("{} is in use by process {} (", path.display(), std::process::id());
        assert!(error.starts_with(&own) && error.ends_with("choose another --run-dir"), "{error}");
        drop(first);
        Hold::take(&path, "--run-dir").await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn directory_of_a_process_that_is_about_to_end_is_waited_for() {
        let temp = tempfile::tempdir().unwrap();
        let first = Hold::take(temp.path(), "--run-dir").await.unwrap();
        let mut second = std::pin::pin!(Hold::take(temp.path(), "--run-dir"));
        assert!(second.as_mut().now_or_never().is_none());
        drop(first);
        assert!(second.await.unwrap()._file.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn agent_that_is_not_answered_goes_on_beside_and_others_do_not() {
        let temp = tempfile::tempdir().unwrap();
        let (run, state) = (temp.path().join("run"), temp.path().join("state"));
        let elder = Hold::take_all(&run, &state, false).await.unwrap();
        assert!(Hold::take_all(&run, &temp.path().join("other"), false).await.is_err());
        assert!(Hold::take_all(&temp.path().join("other"), &state, false).await.is_err());
        assert_eq!(Hold::take_all(&run, &state, true).await.unwrap().len(), 0);
        drop(elder);
        assert_eq!(Hold::take_all(&run, &state, false).await.unwrap().len(), 2);
    }

    #[tokio::test]
    async fn what_is_no_directory_is_complained_of_by_its_user() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(Hold::take(file.path(), "--run-dir").await.unwrap()._file.is_none());
    }
}
