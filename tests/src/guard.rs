//! A shell script that runs when this process has ended, however it ends ([`Guard`]).

use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};

/// Runs its script when it is dropped, or when the test process ends.
pub struct Guard(Child);

// === impl Guard ===

impl Guard {
    /// Starts a guard whose `script` gets `argument` as `$1`.
    ///
    /// # Errors
    /// Returns an error if it can't be started.
    pub fn start(script: &str, argument: &str) -> Result<Self> {
        let script = format!("cat >/dev/null\n{script}");
        // The guard has its own session: a terminal's interrupt ends the test, but not the guard.
        let child = Command::new("setsid")
            .args(["sh", "-c", &script, "guard", argument])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("starting a guard with setsid (util-linux)")?;
        Ok(Self(child))
    }
}

impl Drop for Guard {
    /// Waits until the script has ended.
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}
