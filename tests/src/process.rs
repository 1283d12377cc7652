//! A process under test: starting, signalling, watching and ending it. Its output goes to a file.
//!
//! The last lines of the output are printed on drop. The test runner shows them only for failed tests.

use std::fs::File;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::NamedTempFile;

use crate::spawner;
use crate::wait::{wait_for, wait_until};

/// Number of output lines that are printed.
const EVIDENCE: usize = 50;

/// A child process. It is killed on drop, and by the kernel when the test process ends.
pub struct Process {
    /// Name for messages.
    name: String,
    /// The child.
    child: Child,
    /// Standard output and error.
    output: NamedTempFile,
    /// Exit status, if it has ended.
    ended: Option<ExitStatus>,
}

/// Resource use of a process so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Resident memory, in KiB.
    pub resident: u64,
    /// Peak of the resident memory so far, in KiB.
    pub peak: u64,
    /// User and system time of all its threads.
    pub cpu: Duration,
}

// === impl Process ===

impl Process {
    /// Starts `command` with empty standard input, and keeps its output.
    ///
    /// # Errors
    /// Returns an error if the helper programs (util-linux) are missing. If the program itself is missing, the exit
    /// status is 127.
    pub fn spawn(name: &str, command: &Command) -> Result<Self> {
        Self::spawn_in(name, command, &std::env::temp_dir())
    }

    /// Like [`Process::spawn`], with the output in a file in `directory`.
    ///
    /// # Errors
    /// See [`Process::spawn`].
    pub fn spawn_in(name: &str, command: &Command, directory: &Path) -> Result<Self> {
        let output = NamedTempFile::with_prefix_in(format!("portreeve-{name}-"), directory)?;
        let (out, err) = (output.reopen()?, output.reopen()?);
        let child = spawner::spawn(command, |child| {
            child.stdin(Stdio::null()).stdout(appending(out)).stderr(appending(err));
        });
        let child = child.with_context(|| format!("starting {name}: {command:?}"))?;
        Ok(Self { name: name.to_owned(), child, output, ended: None })
    }

    /// Returns the pid.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Returns the output so far.
    pub fn log(&self) -> String {
        let bytes = std::fs::read(self.output.path()).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Waits until the output contains `text`.
    ///
    /// # Errors
    /// Returns an error after `bound`, or if the process ends first.
    pub fn wait_log(&mut self, text: &str, bound: Duration) -> Result<()> {
        let what = format!("{text:?} in the output of {}", self.name);
        let found = wait_for(&what, bound, || {
            // Checked first, so that output written before the end is still found.
            let running = self.is_running();
            let there = self.log().contains(text);
            (there || !running).then_some(there)
        })?;
        ensure!(found, "{} ended without {text:?}:\n{}", self.name, self.evidence());
        Ok(())
    }

    /// Returns whether the process exists (also while it is stopped).
    pub fn is_running(&mut self) -> bool {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().unwrap_or_default();
        }
        self.ended.is_none()
    }

    /// Waits for the process to end, and returns its exit status.
    ///
    /// # Errors
    /// Returns an error if it still runs after `bound`.
    pub fn wait_exit(&mut self, bound: Duration) -> Result<ExitStatus> {
        let what = format!("the end of {}", self.name);
        wait_until(&what, bound, || !self.is_running())?;
        self.ended.context("an ended process has a status")
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// Returns an error if the process has ended. Nothing is sent, because its pid may be reused.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        ensure!(self.is_running(), "{} has ended: {:?}", self.name, self.ended);
        Ok(kill(Pid::from_raw(i32::try_from(self.pid())?), signal)?)
    }

    /// Asks the process to end (SIGTERM).
    ///
    /// # Errors
    /// See [`Process::signal`].
    pub fn terminate(&mut self) -> Result<()> {
        self.signal(Signal::SIGTERM)
    }

    /// Stops the process (SIGSTOP).
    ///
    /// # Errors
    /// See [`Process::signal`].
    pub fn stop(&mut self) -> Result<()> {
        self.signal(Signal::SIGSTOP)
    }

    /// Continues a stopped process (SIGCONT).
    ///
    /// # Errors
    /// See [`Process::signal`].
    pub fn cont(&mut self) -> Result<()> {
        self.signal(Signal::SIGCONT)
    }

    /// Kills the process (SIGKILL) and waits for its end. Does nothing if it has ended.
    pub fn kill(&mut self) {
        if self.is_running() {
            let _ = self.child.kill();
            self.ended = self.child.wait().ok().or(Some(ExitStatus::from_raw(Signal::SIGKILL as i32)));
        }
    }

    /// Returns the resource use so far.
    ///
    /// # Errors
    /// Returns an error if the process has ended.
    pub fn usage(&self) -> Result<Usage> {
        usage(self.pid())
    }

    /// Returns the last lines of the output.
    pub fn evidence(&self) -> String {
        let log = self.log();
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(EVIDENCE)..].join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let pid = self.pid();
        let state = if self.is_running() { "killed now".to_owned() } else { format!("{:?}", self.ended) };
        self.kill();
        eprintln!("--- {} (pid {pid}, {state})\n{}", self.name, self.evidence());
    }
}

/// Runs a command until it ends, and returns its output.
///
/// # Errors
/// Returns an error with its output if it fails.
pub fn run(command: &mut Command) -> Result<String> {
    let done = command.output().with_context(|| format!("{command:?}"))?;
    ensure!(done.status.success(), "{command:?}: {}: {}", done.status, String::from_utf8_lossy(&done.stderr));
    Ok(String::from_utf8(done.stdout)?)
}

/// Returns the resource use of any process of this machine so far (`/proc/<pid>/status` and `stat`).
///
/// # Errors
/// Returns an error if there is no such process.
pub fn usage(pid: u32) -> Result<Usage> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let ticks = cpu_ticks(&stat).with_context(|| format!("unexpected /proc/{pid}/stat: {stat}"))?;
    // The kernel reports in hundredths of a second, whatever its tick is (USER_HZ).
    Ok(Usage {
        resident: kib(&status, "VmRSS:"),
        peak: kib(&status, "VmHWM:"),
        cpu: Duration::from_millis(ticks * 10),
    })
}

/// Returns a value in KiB from `/proc/<pid>/status`; 0 if it is missing (for a process that has ended and isn't
/// reaped).
fn kib(status: &str, field: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or_default()
}

/// Returns user and system time from `/proc/<pid>/stat`: fields 14 and 15, counted after the name in parentheses.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

/// Opens the file as a child's output. Both streams append, so that neither overwrites the other.
fn appending(file: File) -> Stdio {
    use nix::fcntl::{FcntlArg, OFlag, fcntl};
    let _ = fcntl(&file, FcntlArg::F_SETFL(OFlag::O_APPEND));
    file.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Long, because the machine may be busy.
    const BOUND: Duration = Duration::from_secs(10);

    fn shell(script: &str) -> Process {
        Process::spawn("shell", Command::new("sh").args(["-c", script])).unwrap()
    }

    #[test]
    fn output_and_exit_code_are_kept() {
        let mut process = shell("echo out; echo err >&2; exit 7");
        assert_eq!(process.wait_exit(BOUND).unwrap().code(), Some(7));
        assert_eq!(process.log(), "out\nerr\n");
    }

    #[test]
    fn a_text_that_will_not_come_any_more_is_not_waited_for() {
        let mut process = shell("echo one");
        process.wait_log("one", BOUND).unwrap();
        let error = process.wait_log("two", Duration::from_secs(3600)).unwrap_err();
        assert!(error.to_string().contains("ended without \"two\""), "{error}");
    }

    #[test]
    fn a_stopped_process_is_silent_until_it_goes_on() {
        let mut process = shell("trap 'echo seen; exit 0' TERM; echo ready; while :; do sleep 0.01; done");
        process.wait_log("ready", BOUND).unwrap();
        process.stop().unwrap();
        process.terminate().unwrap();
        assert!(process.wait_exit(Duration::from_millis(50)).is_err());
        process.cont().unwrap();
        assert_eq!(process.wait_exit(BOUND).unwrap().code(), Some(0));
        assert_eq!(process.log(), "ready\nseen\n");
    }

    #[test]
    fn a_dropped_process_is_gone() {
        let process = shell("exec sleep 60");
        let pid = process.pid();
        assert!(usage(pid).is_ok());
        drop(process);
        assert!(usage(pid).is_err());
    }

    #[test]
    fn an_ended_process_gets_no_signal() {
        let mut process = shell("true");
        process.wait_exit(BOUND).unwrap();
        assert!(process.terminate().is_err());
    }

    #[test]
    fn usage_is_read_behind_any_name() {
        let stat = "42 (a ) name) S 1 1 1 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 1 0 100 1000 200";
        assert_eq!(cpu_ticks(stat), Some(300));
        assert_eq!(kib("VmPeak:\t  9 kB\nVmRSS:\t   1234 kB\n", "VmRSS:"), 1234);
        let own = usage(std::process::id()).unwrap();
        assert!(own.resident > 0 && own.peak >= own.resident, "{own:?}");
    }
}
