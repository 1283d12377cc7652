//! A keeper's own state at its begin, and what it notes for its successor.

use std::os::unix::fs::MetadataExt as _;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

pub use portreeve_api::keeper_state::{Exit, PROTOCOL, Phase, State, Usage, out_of_memory};

use crate::spec::Order;

/// The content of `state.json` for the writer's successor: leftovers of two Envoys must be gone before a third one
/// starts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note<S> {
    /// The state.
    #[serde(flatten)]
    pub state: S,
    /// The heir of a hot restart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heir: Option<Process>,
}

/// A process, identified uniquely by its pid and start time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// Start time, in the kernel's ticks since boot.
    pub ticks: u64,
}

/// Returns milliseconds since 1970; 0 if the clock is set to an earlier time.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Creates the state of a keeper that begins with `order` in the network namespace `netns`, after the state
/// `before` of an earlier keeper.
pub fn begun(order: &Order, before: Option<&State>, netns: u64) -> State {
    State {
        base_id: before.and_then(|before| before.base_id),
        last_exit: before.and_then(|before| before.last_exit.clone()),
        spec_hash: order.hash.clone(),
        memory_kills: before.map_or(0, |before| before.memory_kills),
        out_of_memory: before.is_some_and(|before| before.out_of_memory),
        ..State::untold(&order.spec.name, std::process::id(), netns)
    }
}

/// Returns the inode of this process's network namespace.
pub(super) fn netns() -> anyhow::Result<u64> {
    let path = "/proc/self/ns/net";
    Ok(std::fs::metadata(path).context(path)?.ino())
}
