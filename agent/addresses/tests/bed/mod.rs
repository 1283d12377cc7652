//! Network namespaces for one test: a [`Namespace`] is anonymous and vanishes with its last descriptor.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use nix::sched::{CloneFlags, setns, unshare};

/// A network namespace with nothing but a loopback that is down.
pub struct Namespace(File);

// === impl Namespace ===

impl Namespace {
    /// Creates a namespace. Needs root.
    pub fn new() -> Result<Self> {
        let thread = std::thread::spawn(|| -> Result<File> {
            unshare(CloneFlags::CLONE_NEWNET).context("making a network namespace: run the test as root")?;
            Ok(File::open("/proc/thread-self/ns/net")?)
        });
        Ok(Self(thread.join().map_err(|_| anyhow::anyhow!("the namespace's thread panicked"))??))
    }

    /// Returns a path of the namespace for other programs.
    pub fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd())
    }

    /// Runs `ip` inside and returns its output.
    pub fn ip(&self, arguments: &str) -> Result<String> {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.path())).args(["--", "ip"]);
        let output = command.args(arguments.split(' ')).output().context("running nsenter and ip")?;
        let error = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "ip {arguments}: {error}");
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Runs `work` on a thread and runtime of its own inside.
    pub fn block_on(&self, work: impl AsyncFnOnce() -> Result<()> + Send) -> Result<()> {
        let inside = || -> Result<()> {
            setns(&self.0, CloneFlags::CLONE_NEWNET).context("entering the namespace")?;
            tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work())
        };
        std::thread::scope(|scope| scope.spawn(inside).join())
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}
