//! Replaces a keeper with another build of itself: the same process executes the other program, which reads the
//! previous one's state here. Envoy stays the process's child and isn't affected. Entry points: [`Handover::write`] and
//! [`Handover::take`].

use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use crate::dir::{Dir, Lock, replace};
use crate::spec::Order;
use crate::state::State;

/// The state for the next build. Fields are only added, and have defaults when read, because builds of different
/// versions exchange it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Handover {
    /// The order that the running Envoy was started with.
    pub order: Order,
    /// Its phase, its process, base id and epoch.
    pub state: State,
}

// === impl Handover ===

impl Handover {
    /// Writes the state for the next build.
    ///
    /// # Errors
    /// Returns an error if the file can't be written.
    pub fn write(&self, dir: &Dir) -> anyhow::Result<()> {
        let path = dir.handover();
        replace(&path, &serde_json::to_vec_pretty(self)?).with_context(|| path.display().to_string())
    }

    /// Reads and deletes the state, which is valid only for the process that it was written for.
    ///
    /// # Errors
    /// Returns an error if there is no valid state.
    pub fn take(dir: &Dir) -> anyhow::Result<Self> {
        let path = dir.handover();
        let text = fs::read(&path).with_context(|| path.display().to_string())?;
        fs::remove_file(&path).with_context(|| path.display().to_string())?;
        serde_json::from_slice(&text).with_context(|| path.display().to_string())
    }
}

/// Returns whether the process `pid` (a number, or `self`) runs the program at `path`.
///
/// # Errors
/// Returns an error if one of the two files can't be inspected.
pub fn runs(pid: &str, path: &Path) -> io::Result<bool> {
    let file = |path: &Path| fs::metadata(path).map(|found| (found.dev(), found.ino()));
    Ok(file(&Path::new("/proc").join(pid).join("exe"))? == file(path)?)
}

/// Executes `command` in this process, with the lock as standard input, so that it stays locked. Returns only if that
/// fails.
pub(super) fn become_next(command: &[String], dir: &Dir, agent_socket: &Path, lock: &Lock) -> io::Error {
    let Some((program, arguments)) = command.split_first() else {
        return io::Error::other("no program");
    };
    let lock = match lock.file().as_fd().try_clone_to_owned() {
        Ok(lock) => lock,
        Err(error) => return error,
    };
    let mut command = Command::new(program);
    command.args(arguments).args(["keep", "--adopt", "--dir"]).arg(dir.path());
    command.arg("--agent-socket").arg(agent_socket).stdin(File::from(lock)).exec()
}
