//! Removes the files of an agent from its node: the last step of an uninstall. Entry point: [`forget`].

use std::fs;
use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::tunnels;

/// The directories of the agent.
#[derive(Debug, clap::Args)]
pub struct ForgetArgs {
    /// Directory of the agent's socket and keepers.
    #[arg(long, default_value = "/run/portreeve")]
    pub run_dir: PathBuf,
    /// Directory of the last known good state.
    #[arg(long, default_value = "/var/lib/portreeve")]
    pub state_dir: PathBuf,
    /// Keep running afterwards until SIGTERM, as a container of a DaemonSet must.
    #[arg(long)]
    pub stay: bool,
}

/// Deletes the content of both directories, and of that of tunnels. (They may be mount points, so they aren't deleted themselves.)
///
/// # Errors
/// Returns an error if an agent is still running or a file can't be deleted.
pub fn forget(run_dir: &Path, state_dir: &Path) -> anyhow::Result<()> {
    let socket = run_dir.join("agent.sock");
    let there = UnixStream::connect(&socket).is_ok();
    anyhow::ensure!(!there, "{}: an agent answers; remove it first", socket.display());
    for directory in [run_dir, state_dir, &tunnels::directory(run_dir)] {
        empty(directory).with_context(|| directory.display().to_string())?;
        tracing::info!(directory = %directory.display(), "the directory is empty");
    }
    Ok(())
}

fn empty(directory: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        match entry.file_type()?.is_dir() {
            true => fs::remove_dir_all(entry.path())?,
            false => fs::remove_file(entry.path())?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::net::UnixListener;

    use super::forget;

    #[test]
    fn everything_goes_but_not_under_an_agent_that_answers() {
        let temp = tempfile::tempdir().unwrap();
        let (run, state) = (temp.path().join("run"), temp.path().join("state"));
        fs::create_dir_all(run.join("keepers/gateway")).unwrap();
        fs::create_dir_all(&state).unwrap();
        fs::write(state.join("plan"), "x").unwrap();
        let listener = UnixListener::bind(run.join("agent.sock")).unwrap();
        let error = forget(&run, &state).unwrap_err().to_string();
        assert!(error.ends_with("an agent answers; remove it first"), "{error}");
        assert!(state.join("plan").exists());
        drop(listener);
        let keys = temp.path().join("run-tunnels");
        fs::create_dir_all(&keys).unwrap();
        fs::write(keys.join("wanted.json"), "x").unwrap();
        forget(&run, &state).unwrap();
        assert_eq!([&run, &state, &keys].map(|dir| fs::read_dir(dir).unwrap().count()), [0, 0, 0]);
        forget(&run.join("never"), &state).unwrap();
    }
}
