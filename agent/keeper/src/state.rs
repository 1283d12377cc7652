//! What a keeper observes, and its file.

use std::fmt;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use crate::spec::{Order, is_default};

/// The version of the keeper's protocol and files that this code writes. 2: memory limit and extra bootstrap, hot restarts.
/// 3: keepers of pods, which take over from one another. 4: those tell what their Envoys count. 5: and which sockets they hold.
pub const PROTOCOL: u32 = 5;

/// Where a proxy stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// Envoy was started and its admin interface does not answer yet.
    Starting,
    /// Envoy's admin interface answered. Whether it has listeners is told by its xDS stream.
    Running,
    /// Envoy is on its way out, to stay out or to be started with another spec.
    Draining,
    /// Envoy ended by itself and is started again later.
    Backoff,
    /// Envoy is gone and the keeper ends.
    Stopped,
}

/// How a process ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Exit {
    /// It returned this code.
    Code(i32),
    /// This signal ended it.
    Signal(i32),
    /// It could not be started; why.
    Error(String),
}

/// One proxy as its keeper sees it: `state.json`, and what it reports.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// The writer's [`PROTOCOL`].
    pub protocol: u32,
    /// The proxy's name.
    pub name: String,
    /// The keeper's process.
    pub keeper_pid: u32,
    /// Envoy's process, while there is one.
    pub envoy_pid: Option<u32>,
    /// When that process started, in the kernel's ticks since boot: with the pid it names a process for ever. Not reported.
    #[serde(default)]
    pub envoy_ticks: Option<u64>,
    /// Envoy's restart epoch.
    pub epoch: u32,
    /// Envoy's base id, once chosen.
    pub base_id: Option<u32>,
    /// When the running Envoy was started, in milliseconds since 1970.
    pub started_ms: Option<u64>,
    /// How often Envoy was started again.
    pub restarts: u64,
    /// How the last Envoy ended, if one did.
    pub last_exit: Option<Exit>,
    /// When Envoy is started again, in milliseconds since 1970; in [`Phase::Backoff`] only.
    pub backoff_until_ms: Option<u64>,
    /// Where it stands.
    pub phase: Phase,
    /// The hash of the order in use.
    pub spec_hash: String,
    /// The inode of the keeper's network namespace.
    pub netns: u64,
    /// How often the kernel ended this proxy's Envoy for want of memory.
    #[serde(default)]
    pub memory_kills: u64,
    /// The memory limit of the cgroup that the keeper and its Envoy are in, in bytes, if it has one.
    #[serde(default)]
    pub memory_limit: Option<u64>,
    /// The last Envoy ended because the kernel's OOM killer chose it; [`State::last_end`] says so.
    #[serde(default, skip_serializing_if = "is_default")]
    pub out_of_memory: bool,
    /// Envoy has its configuration and serves.
    #[serde(default, skip_serializing_if = "is_default")]
    pub serves: bool,
    /// Worker threads of the running Envoy.
    #[serde(default, skip_serializing_if = "is_default")]
    pub concurrency: u32,
    /// What the running Envoy uses. Taken for each report, never written down: it always differs.
    #[serde(skip)]
    pub usage: Option<Usage>,
}

/// What a process uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Resident memory, in bytes.
    pub resident: u64,
    /// Processor time so far, in milliseconds.
    pub cpu_ms: u64,
}

/// `state.json` as its writer's successor has to know it: what is left of two Envoys must be gone before there is a third.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note<S> {
    /// The state.
    #[serde(flatten)]
    pub state: S,
    /// The Envoy beside the one that serves, in a hot restart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heir: Option<Process>,
}

/// A process, for ever: no other has this pid and start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// When it started, in the kernel's ticks since boot.
    pub ticks: u64,
}

/// Milliseconds since 1970; 0 if the clock is set before it.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

// === impl State ===

impl State {
    /// That of a keeper that begins with `order` in the network namespace `netns`, after what an earlier one left.
    pub fn begun(order: &Order, before: Option<&Self>, netns: u64) -> Self {
        Self {
            base_id: before.and_then(|before| before.base_id),
            last_exit: before.and_then(|before| before.last_exit.clone()),
            spec_hash: order.hash.clone(),
            memory_kills: before.map_or(0, |before| before.memory_kills),
            out_of_memory: before.is_some_and(|before| before.out_of_memory),
            ..Self::untold(&order.spec.name, netns)
        }
    }

    /// That of a keeper in a pod, which has not been told yet what to run.
    pub fn untold(name: &str, netns: u64) -> Self {
        Self {
            protocol: PROTOCOL,
            name: name.to_owned(),
            keeper_pid: std::process::id(),
            envoy_pid: None,
            envoy_ticks: None,
            epoch: 0,
            base_id: None,
            started_ms: None,
            restarts: 0,
            last_exit: None,
            backoff_until_ms: None,
            phase: Phase::Starting,
            spec_hash: String::new(),
            netns,
            memory_kills: 0,
            memory_limit: None,
            out_of_memory: false,
            serves: false,
            concurrency: 0,
            usage: None,
        }
    }

    /// How the last Envoy ended, in words, if one did.
    pub fn last_end(&self) -> Option<String> {
        let exit = self.last_exit.as_ref()?;
        let killed = self.out_of_memory && *exit == Exit::KILLED;
        Some(if killed { out_of_memory(self.memory_limit) } else { exit.to_string() })
    }
}

// === impl Exit ===

impl Exit {
    /// SIGKILL ended it, which is also how the kernel's OOM killer ends a process.
    pub const KILLED: Self = Self::Signal(nix::sys::signal::Signal::SIGKILL as i32);
}

impl From<ExitStatus> for Exit {
    fn from(status: ExitStatus) -> Self {
        match (status.code(), status.signal()) {
            (Some(code), _) => Self::Code(code),
            (None, Some(signal)) => Self::Signal(signal),
            (None, None) => Self::Error(status.to_string()),
        }
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit code {code}"),
            Self::Signal(signal) => write!(f, "signal {signal}"),
            Self::Error(reason) => write!(f, "not started: {reason}"),
        }
    }
}

/// How an end by the kernel's OOM killer is told; `limit` is that of the cgroup, in bytes.
pub(super) fn out_of_memory(limit: Option<u64>) -> String {
    let limit = match limit {
        Some(bytes) if bytes % (1 << 20) == 0 => format!(", limit {} MiB", bytes >> 20),
        Some(bytes) => format!(", limit {bytes} bytes"),
        None => String::new(),
    };
    format!("killed for lack of memory (OOM){limit}")
}

/// The inode of this process's network namespace.
pub(super) fn netns() -> anyhow::Result<u64> {
    let path = "/proc/self/ns/net";
    Ok(std::fs::metadata(path).context(path)?.ino())
}
