//! Starts Envoy, or another program of a proxy, so that it can't outlive its keeper, and waits for its end. Entry point: [`spawn`].

use std::fs;
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::Context as _;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use tokio::signal::unix::{SignalKind, signal};

use crate::dir::{Dir, replace};
use crate::envoy::args::{self, Place};
use crate::executable::{Stamp, is_executable};
use crate::predecessor;
use crate::spec::{Program, Spec};
use crate::state::{Exit, now_ms};

/// The running binary, even if an upgrade has replaced its file.
const OWN_BINARY: &str = "/proc/self/exe";

/// An Envoy that is a child of this process.
#[derive(Debug)]
pub(super) struct Envoy {
    pub(super) pid: u32,
    /// Start time, in the kernel's ticks.
    pub(super) ticks: Option<u64>,
    /// Its place among the Envoys of its network namespace; `None` for another program.
    pub(super) place: Option<Place>,
    /// Start time, in milliseconds since 1970.
    pub(super) started_ms: u64,
    /// Its file at the start; `None` for a program that isn't restarted when its file is replaced.
    pub(super) file: Option<Stamp>,
    /// Length of the log at its start.
    pub(super) log: u64,
}

/// Writes the configuration file and starts Envoy at this place, or l7mp without one, through the role `launch`.
///
/// The kernel kills Envoy when the *thread* that started it ends, so this runs on the keeper's only thread.
pub(super) fn spawn(dir: &Dir, spec: &Spec, place: Option<Place>) -> anyhow::Result<Envoy> {
    let executable = is_executable(&spec.envoy).with_context(|| spec.envoy.display().to_string())?;
    anyhow::ensure!(executable, "{} is not an executable file", spec.envoy.display());
    // Only Envoy can be replaced by a new file without loss.
    let file = place.and_then(|_| Stamp::of(&spec.envoy));
    let configuration = match &spec.program {
        Program::Envoy => spec.bootstrap(dir)?,
        Program::L7mp(settings) => settings.configuration(&mark(dir)),
    };
    replace(&dir.bootstrap(), format!("{configuration:#}\n").as_bytes())
        .with_context(|| dir.bootstrap().display().to_string())?;
    let log = dir.open_log(&dir.envoy_log()).with_context(|| dir.envoy_log().display().to_string())?;
    let length = log.metadata().map_or(0, |metadata| metadata.len());
    let child = command(dir, spec, place)?
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .context("starting the launcher")?;
    let pid = child.id();
    let ticks = predecessor::start_ticks(pid);
    Ok(Envoy { pid, ticks, place, started_ms: now_ms(), file, log: length })
}

/// Returns the command that starts the program through the role `launch`.
fn command(dir: &Dir, spec: &Spec, place: Option<Place>) -> anyhow::Result<Command> {
    let mut command = Command::new(OWN_BINARY);
    command.args(["launch", "--parent", &std::process::id().to_string(), "--"]).arg(&spec.envoy);
    match &spec.program {
        Program::Envoy => {
            let place = place.context("an Envoy needs a base id")?;
            let (file, extra) = (dir.bootstrap(), &spec.extra_args);
            command.args(args::arguments(&file, place, spec.concurrency, spec.drain_s, extra));
        }
        Program::L7mp(settings) => {
            let script = &settings.script;
            anyhow::ensure!(script.is_file(), "{}: l7mp's script is not a file", script.display());
            command.args(settings.arguments(&dir.bootstrap(), &spec.extra_args));
            command.current_dir(settings.package());
        }
    }
    Ok(command)
}

/// Returns the text by which the keeper of this directory recognizes its l7mp.
pub(super) fn mark(dir: &Dir) -> String {
    dir.path().display().to_string()
}

/// Removes a socket if it exists.
pub(super) fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

// === impl Envoy ===

impl Envoy {
    /// Waits until the process ends.
    pub(super) async fn ended(&self) -> Exit {
        loop {
            // Subscribed before the check, so that no end is missed.
            let mut ends = match signal(SignalKind::child()) {
                Ok(ends) => ends,
                Err(error) => return Exit::Error(error.to_string()),
            };
            if let Some(exit) = self.try_wait() {
                return exit;
            }
            ends.recv().await;
        }
    }

    fn try_wait(&self) -> Option<Exit> {
        match waitpid(self.pid(), Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(_, code)) => Some(Exit::Code(code)),
            Ok(WaitStatus::Signaled(_, signal, _)) => Some(Exit::Signal(signal as i32)),
            Ok(_) => None,
            Err(error) => Some(Exit::Error(error.to_string())),
        }
    }

    /// Sends a signal to the process.
    pub(super) fn signal(&self, signal: Signal) {
        if let Err(error) = kill(self.pid(), signal) {
            tracing::warn!(pid = self.pid, %error, %signal, "Envoy takes no signal");
        }
    }

    fn pid(&self) -> Pid {
        // The kernel's pids are far smaller.
        Pid::from_raw(i32::try_from(self.pid).unwrap_or(i32::MAX))
    }
}
