//! A keeper becomes another build of itself: the same process executes the other program, which finds here what the first one
//! knew. Envoy remains the process's child and notices nothing. Entry points: [`Handover::write`] and [`Handover::take`].

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

/// What the next build has to know. Fields are only added, and read with a default: builds of different versions speak by it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Handover {
    /// The order that the Envoy that runs was started with.
    pub order: Order,
    /// Where it stands, its process and its place among the Envoys of its base id.
    pub state: State,
}

// === impl Handover ===

impl Handover {
    /// Writes it down for the next build.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, dir: &Dir) -> anyhow::Result<()> {
        let path = dir.handover();
        replace(&path, &serde_json::to_vec_pretty(self)?).with_context(|| path.display().to_string())
    }

    /// Reads it, and takes it away: it holds for the process that it was written for.
    ///
    /// # Errors
    /// There is none that can be read.
    pub fn take(dir: &Dir) -> anyhow::Result<Self> {
        let path = dir.handover();
        let text = fs::read(&path).with_context(|| path.display().to_string())?;
        fs::remove_file(&path).with_context(|| path.display().to_string())?;
        serde_json::from_slice(&text).with_context(|| path.display().to_string())
    }
}

/// Whether the program at `path` is the one that the process `pid` (a number, or `self`) runs.
///
/// # Errors
/// One of the two files can't be looked at.
pub fn runs(pid: &str, path: &Path) -> io::Result<bool> {
    let file = |path: &Path| fs::metadata(path).map(|found| (found.dev(), found.ino()));
    Ok(file(&Path::new("/proc").join(pid).join("exe"))? == file(path)?)
}

/// Becomes `command`, with the lock as its standard input: it stays locked all the time. Returns only when that fails.
pub(super) fn become_next(command: &[String], (dir, agent_socket): (&Dir, &Path), lock: &Lock) -> io::Error {
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
