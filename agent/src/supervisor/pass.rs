//! One look at every proxy, and one step for each. Entry point: [`Inner::pass`].

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tokio::process::{Child, Command};

use portreeve_keeper::dir::Dir;
use portreeve_keeper::handle::Handle;
use portreeve_keeper::proto::instruction::What;
use portreeve_keeper::proto::{Instruction, Renew};
use portreeve_keeper::{Exit, State, handover};

use super::attest;
use super::inner::{Config, Inner};
use super::roster::{Entry, Roster};
use super::session::Wish;
use super::step::{Step, There, next};

/// Until the next look, while something is under way that tells nobody when it is done.
const SOON: Duration = Duration::from_millis(50);
/// How long a keeper has to attach: it dials at least once a second.
const ATTACH: Duration = Duration::from_secs(3);
/// Until the next look, when all is well.
const LATER: Duration = Duration::from_secs(1);

// === impl Inner ===

impl Inner {
    /// Takes one step for every proxy, and publishes what came of it; how long to wait for the next pass.
    pub(super) fn pass(&self) -> Duration {
        if let Some(pods) = self.pods() {
            // Before the roster is opened: whoever knows the pods may be asked of keepers.
            let leaders = pods.leaders();
            self.lead(&leaders);
            return LATER;
        }
        let mut roster = self.roster();
        let mut pause = LATER;
        roster.entries.retain(|name, entry| {
            if entry.wish.is_none() && entry.refused.is_some() {
                // Nothing can be done, but its reason is to be seen.
                return true;
            }
            let dir = self.dir(name);
            self.write_again(name, entry, &dir);
            let step = entry.look(&dir);
            let step = if entry.unwritten && step == Step::Spawn { Step::Wait } else { step };
            if step == Step::Wait {
                entry.renew(&self.config.exe_command);
            }
            if entry.session.is_none() {
                pause = SOON;
            }
            match self.take(step, name, entry, &dir) {
                Ok(keep) => keep,
                Err(error) => {
                    entry.complain(name, error.to_string());
                    true
                }
            }
        });
        self.publish(&roster);
        pause
    }

    /// Writes the order that could not be written before, when that is due.
    fn write_again(&self, name: &str, entry: &mut Entry, dir: &Dir) {
        let due = entry.unwritten && entry.not_before.is_none_or(|at| Instant::now() >= at);
        let Some(Wish::Run(order)) = entry.wish.as_ref().filter(|_| due) else { return };
        match self.write(dir, order) {
            Ok(()) => {
                tracing::info!(name, "the order for the keeper could be written");
                entry.written();
            }
            Err(error) => entry.complain(name, error.to_string()),
        }
    }

    /// Tells how all proxies are, if that is news.
    pub(super) fn publish(&self, roster: &Roster) {
        let status = roster.status();
        self.status.send_if_modified(|before| {
            let differs = *before != status;
            *before = status;
            differs
        });
    }

    /// Takes one step; whether the proxy stays in the roster.
    fn take(&self, step: Step, name: &str, entry: &mut Entry, dir: &Dir) -> io::Result<bool> {
        match step {
            Step::Wait => Ok(true),
            Step::Tell => {
                entry.tell();
                Ok(true)
            }
            Step::Signal => {
                entry.signal(dir);
                Ok(true)
            }
            Step::Spawn => {
                let child = spawn(&self.config, dir)?;
                tracing::info!(name, pid = child.id(), "keeper started");
                entry.child = Some((child, Instant::now()));
                Ok(true)
            }
            Step::Remove => Ok(!remove(dir)?),
            Step::Drop => Ok(false),
        }
    }
}

// === impl Entry ===

impl Entry {
    /// Finds out what is there, and so what to do.
    fn look(&mut self, dir: &Dir) -> Step {
        self.reap();
        let run = self.wish.as_ref().map(|wish| matches!(wish, Wish::Run(_)));
        if self.session.is_some() {
            return next(run, There::Attached { told: self.told() });
        }
        if let Some(state) = read(dir) {
            self.state = Some(state);
        }
        next(run, self.there(dir))
    }

    /// What is there while no keeper is attached.
    fn there(&mut self, dir: &Dir) -> There {
        let now = Instant::now();
        if self.child.is_some() || dir.is_locked().unwrap_or(true) {
            let since = *self.alone_since.get_or_insert(now);
            if now.duration_since(since) <= ATTACH {
                return There::Alive;
            }
            self.fault = Some("the keeper lives, but does not attach".to_owned());
            return There::Deaf;
        }
        self.alone_since = None;
        let resting = self.not_before.is_some_and(|at| now < at);
        if resting { There::Resting } else { There::Nothing }
    }

    /// SIGTERM to the keeper that holds the lock; its Envoy drains as its spec says.
    fn signal(&mut self, dir: &Dir) {
        self.alone_since = None; // the next signal takes as long as this one
        let Some(pid) = self.state.as_ref().map(|state| state.keeper_pid) else { return };
        if let Ok(Some(keeper)) = Handle::of(pid, |pid| attest::holds_lock(pid, dir)) {
            let sent = keeper.signal(Signal::TERM);
            tracing::warn!(pid, ?sent, "a keeper that does not attach is ended by a signal");
        }
    }

    /// Takes note of a child that ended.
    fn reap(&mut self) {
        let Some((child, since)) = &mut self.child else { return };
        let exit = match child.try_wait() {
            Ok(None) => return,
            Ok(Some(status)) => Exit::from(status),
            Err(error) => Exit::Error(error.to_string()),
        };
        self.not_before = Some(Instant::now() + self.backoff.after(since.elapsed()));
        self.child = None;
        if exit != Exit::Code(0) {
            let fault = format!("the keeper ended with {exit}; its keeper.log says why");
            tracing::warn!(fault, "a keeper ended");
            self.fault = Some(fault);
        }
    }

    fn tell(&mut self) {
        let (Some(session), Some(wish)) = (&mut self.session, &self.wish) else { return };
        if self.state.as_ref().is_some_and(|state| !wish.fits(state.protocol)) {
            return;
        }
        // A full channel belongs to a keeper that does not listen; it is told in a later pass.
        if session.sender.try_send(wish.instruction()).is_ok() {
            session.told = Some(wish.clone());
        }
    }

    /// Has a keeper of another build become one of this agent's; once in a session.
    fn renew(&mut self, exe_command: &[OsString]) {
        let wanted = matches!(self.wish, Some(Wish::Run(_)));
        let Some(session) = self.session.as_mut().filter(|session| wanted && session.outdated) else {
            return;
        };
        let command: Option<Vec<_>> =
            exe_command.iter().map(|word| word.to_str().map(ToOwned::to_owned)).collect();
        session.outdated = command.is_some_and(|command| {
            let renew = Instruction { what: Some(What::Renew(Renew { command })) };
            session.sender.try_send(renew).is_err()
        });
    }

    /// Notes what is wrong; it is tried again after a pause that grows.
    pub(super) fn complain(&mut self, name: &str, fault: String) {
        if self.fault.as_ref() != Some(&fault) {
            tracing::error!(name, fault, "no keeper");
        }
        self.not_before = Some(Instant::now() + self.backoff.after(Duration::ZERO));
        self.fault = Some(fault);
    }
}

impl Config {
    /// Whether the keeper `pid` runs another program than those that this agent starts; false when that can't be seen.
    pub(super) fn is_other_build(&self, pid: u32) -> bool {
        let program = self.exe_command.first().map(Path::new).filter(|_| !self.with_parent);
        program.is_some_and(|program| handover::runs(&pid.to_string(), program).is_ok_and(|same| !same))
    }
}

fn spawn(config: &Config, dir: &Dir) -> io::Result<Child> {
    let no_command = || io::Error::other("no command starts keepers");
    let (program, arguments) = config.exe_command.split_first().ok_or_else(no_command)?;
    let log = dir.open_log(&dir.keeper_log())?;
    let mut command = Command::new(program);
    command.args(arguments).arg("keep").arg("--dir").arg(dir.path());
    command.arg("--agent-socket").arg(&config.agent_socket);
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    if config.with_parent {
        command.arg("--with-parent").stdin(Stdio::piped());
    }
    command.spawn()
}

/// Removes the directory; whether it is gone.
fn remove(dir: &Dir) -> io::Result<bool> {
    if !dir.path().exists() {
        return Ok(true);
    }
    match dir.try_lock()? {
        Some(lock) => dir.remove(lock).map(|()| true),
        None => Ok(false),
    }
}

fn read(dir: &Dir) -> Option<State> {
    serde_json::from_slice(&fs::read(dir.state()).ok()?).ok()
}
