//! The state that a keeper reports of its proxy ([`State`]). Agents read it, and put it into their node's report.
//!
//! Its JSON form is the content of a keeper's `state.json`, which agents and keepers of other versions read and write.

use std::fmt;
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;

use serde::{Deserialize, Serialize};

/// The version of the keeper's protocol and files that this code writes. 2: memory limit, extra bootstrap, hot
/// restarts. 3: keepers of pods, with hot restarts between pods. 4: those report Envoy's statistics. 5: and the sockets
/// that their Envoys hold. 6: orders name the kind of program, and other kinds than Envoy are refused. 7: l7mp is run too.
pub const PROTOCOL: u32 = 7;

/// The phase of a proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// Envoy was started, but its admin interface doesn't answer yet.
    Starting,
    /// Envoy's admin interface has answered. Whether it has listeners is known from its xDS stream.
    Running,
    /// Envoy is ending, either permanently or to be started with another spec.
    Draining,
    /// Envoy ended by itself and will be restarted.
    Backoff,
    /// Envoy has ended, and the keeper ends.
    Stopped,
}

/// How a process ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Exit {
    /// It exited with this code.
    Code(i32),
    /// This signal ended it.
    Signal(i32),
    /// It could not be started, for this reason.
    Error(String),
}

/// The state of one proxy: the content of `state.json` and of reports.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// The writer's [`PROTOCOL`].
    pub protocol: u32,
    /// The proxy's name.
    pub name: String,
    /// The keeper's process.
    pub keeper_pid: u32,
    /// Pid of the running Envoy.
    pub envoy_pid: Option<u32>,
    /// Start time of that process, in the kernel's ticks since boot. Together with the pid, it identifies the process
    /// uniquely. Not reported.
    #[serde(default)]
    pub envoy_ticks: Option<u64>,
    /// Envoy's restart epoch.
    pub epoch: u32,
    /// Envoy's base id, once chosen.
    pub base_id: Option<u32>,
    /// Start time of the running Envoy, in milliseconds since 1970.
    pub started_ms: Option<u64>,
    /// Number of restarts.
    pub restarts: u64,
    /// How the last Envoy ended, if one did.
    pub last_exit: Option<Exit>,
    /// Time of the next start, in milliseconds since 1970; only in [`Phase::Backoff`].
    pub backoff_until_ms: Option<u64>,
    /// The phase.
    pub phase: Phase,
    /// The hash of the order in use.
    pub spec_hash: String,
    /// The inode of the keeper's network namespace.
    pub netns: u64,
    /// Number of times that the kernel killed this proxy's Envoy for lack of memory.
    #[serde(default)]
    pub memory_kills: u64,
    /// Memory limit of the cgroup of the keeper and its Envoy, in bytes, if there is one.
    #[serde(default)]
    pub memory_limit: Option<u64>,
    /// Whether the kernel's OOM killer ended the last Envoy; [`State::last_end`] includes it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub out_of_memory: bool,
    /// Envoy has its configuration and serves.
    #[serde(default, skip_serializing_if = "is_default")]
    pub serves: bool,
    /// Number of worker threads of the running Envoy.
    #[serde(default, skip_serializing_if = "is_default")]
    pub concurrency: u32,
    /// Resource use of the running Envoy. It is read for each report and never stored, because it always differs.
    #[serde(skip)]
    pub usage: Option<Usage>,
}

/// Resource use of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Resident memory, in bytes.
    pub resident: u64,
    /// Processor time so far, in milliseconds.
    pub cpu_ms: u64,
}

// === impl State ===

impl State {
    /// Creates the state of a keeper that has started nothing yet.
    pub fn untold(name: &str, keeper_pid: u32, netns: u64) -> Self {
        Self {
            protocol: PROTOCOL,
            name: name.to_owned(),
            keeper_pid,
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

    /// Returns how the last Envoy ended, as text.
    pub fn last_end(&self) -> Option<String> {
        let exit = self.last_exit.as_ref()?;
        let killed = self.out_of_memory && *exit == Exit::KILLED;
        Some(if killed { out_of_memory(self.memory_limit) } else { exit.to_string() })
    }
}

// === impl Exit ===

impl Exit {
    /// An end by SIGKILL, which the kernel's OOM killer uses too.
    pub const KILLED: Self = Self::Signal(9);
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

/// Describes an end by the kernel's OOM killer. `limit` is that of the cgroup, in bytes.
pub fn out_of_memory(limit: Option<u64>) -> String {
    let limit = match limit {
        Some(bytes) if bytes % (1 << 20) == 0 => format!(", limit {} MiB", bytes >> 20),
        Some(bytes) => format!(", limit {bytes} bytes"),
        None => String::new(),
    };
    format!("killed for lack of memory (OOM){limit}")
}

/// Whether a field has its default and is left out of the JSON form.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
