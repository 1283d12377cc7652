//! Finds the programs under test: one multi-call binary of this crate, `under-test hub|agent|portreeve …`.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::netns::Netns;

/// Returns the multi-call binary: `UNDER_TEST` in the environment, or `under-test` next to the running test.
///
/// # Errors
/// Returns an error if it wasn't built: `cargo test -p portreeve-tests` builds it, but starting a test's executable
/// directly doesn't.
pub fn binary() -> Result<PathBuf> {
    if let Some(given) = std::env::var_os("UNDER_TEST") {
        return Ok(given.into());
    }
    // The executables of tests and benchmarks are target/<profile>/deps/<name>-<hash>.
    let this = std::env::current_exe()?;
    let directories = this.ancestors().skip(1).take(2);
    let found = directories.map(|directory| directory.join("under-test")).find(|path| path.is_file());
    let found = found.with_context(|| format!("no under-test near {}", this.display()))?;
    ensure!(found.is_absolute(), "{} is relative", found.display());
    Ok(found)
}

/// Returns the command of a role (`hub`, `agent` or `portreeve`) in the caller's namespace.
///
/// # Errors
/// See [`binary`].
pub fn command(role: impl AsRef<OsStr>) -> Result<Command> {
    let mut command = Command::new(binary()?);
    command.arg(role);
    Ok(command)
}

/// Returns the command of a role inside a namespace.
///
/// # Errors
/// See [`binary`].
pub fn command_in(namespace: &Netns, role: impl AsRef<OsStr>) -> Result<Command> {
    let mut command = namespace.command(binary()?);
    command.arg(role);
    Ok(command)
}
