//! Where the programs under test are: one multi-call binary of this crate, `under-test hub|agent|portreeve …`.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::netns::Netns;

/// The multi-call binary: `UNDER_TEST` in the environment, or `under-test` beside the running test.
///
/// # Errors
/// It was not built: `cargo test -p portreeve-tests` builds it, running a test's executable by hand does not.
pub fn binary() -> Result<PathBuf> {
    if let Some(given) = std::env::var_os("UNDER_TEST") {
        return Ok(given.into());
    }
    // A test's executable is target/<profile>/deps/<name>-<hash>, a benchmark's too.
    let this = std::env::current_exe()?;
    let directories = this.ancestors().skip(1).take(2);
    let found = directories.map(|directory| directory.join("under-test")).find(|path| path.is_file());
    let found = found.with_context(|| format!("no under-test near {}", this.display()))?;
    ensure!(found.is_absolute(), "{} is relative", found.display());
    Ok(found)
}

/// The command of a role (`hub`, `agent` or `portreeve`), to be run where the caller is.
///
/// # Errors
/// As for [`binary`].
pub fn command(role: impl AsRef<OsStr>) -> Result<Command> {
    let mut command = Command::new(binary()?);
    command.arg(role);
    Ok(command)
}

/// The command of a role, to be run inside a namespace.
///
/// # Errors
/// As for [`binary`].
pub fn command_in(namespace: &Netns, role: impl AsRef<OsStr>) -> Result<Command> {
    let mut command = namespace.command(binary()?);
    command.arg(role);
    Ok(command)
}
