//! A directory that is deleted when this process has ended, however it ends: for what static variables hold, which are
//! never dropped.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};

/// Waits for the end of its input, then deletes until nothing is left: a process that writes there may be ending.
const GUARD: &str = r#"cat >/dev/null; until rm -rf "$1"; do :; done"#;

/// The directory; deleted when dropped as well.
pub struct Leftovers {
    directory: PathBuf,
    /// The guard process, whose input is held open.
    guard: Child,
}

// === impl Leftovers ===

impl Leftovers {
    /// An empty directory and its guard.
    ///
    /// # Errors
    /// It can't be made, or the guard not be started.
    pub fn new() -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("portreeve-tests-").tempdir()?.keep();
        // In a session of its own: an interrupt from the terminal ends the test, and the guard comes after.
        let guard = Command::new("setsid")
            .args(["sh", "-c", GUARD, "guard"])
            .arg(&directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("starting a guard with setsid (util-linux)")?;
        Ok(Self { directory, guard })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.directory
    }
}

impl Drop for Leftovers {
    /// Returns when all is deleted.
    fn drop(&mut self) {
        drop(self.guard.stdin.take());
        let _ = self.guard.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directory_goes_with_all_that_is_in_it() {
        let leftovers = Leftovers::new().unwrap();
        let directory = leftovers.path().to_owned();
        std::fs::create_dir(directory.join("deep")).unwrap();
        std::fs::write(directory.join("deep/file"), "text").unwrap();
        drop(leftovers);
        assert!(!directory.exists());
    }
}
