//! Writes and reports a keeper's state.

use std::io;
use std::time::Instant;

use super::keeper::Keeper;
use crate::dir::{Dir, replace};
use crate::envoy::shm;
use crate::memory::Memory;
use crate::state::{Note, Process, State};

/// Writes a state to its file.
///
/// # Errors
/// Returns the system's error. A full disk must not end a running proxy, so callers retry.
pub(super) fn write_down(dir: &Dir, state: &State, heir: Option<Process>) -> io::Result<()> {
    let text = serde_json::to_vec_pretty(&Note { state, heir }).map_err(io::Error::other)?;
    replace(&dir.state(), &text)
}

// === impl Keeper ===

impl Keeper {
    pub(super) fn finish(&mut self) {
        let memory = self.state.base_id.filter(|_| !self.has_successor());
        if let Some(Err(error)) = memory.map(shm::remove) {
            tracing::warn!(%error, "shared memory is left");
        }
        self.publish();
    }

    /// Writes and reports the state if it has changed or an earlier write failed. Called at least at every check of the
    /// files.
    pub(super) fn publish(&mut self) {
        let envoy = self.pair.envoy.as_ref();
        self.state.envoy_pid = envoy.map(|envoy| envoy.pid);
        self.state.envoy_ticks = envoy.and_then(|envoy| envoy.ticks);
        self.state.started_ms = envoy.map(|envoy| envoy.started_ms);
        if let Some(place) = envoy.and_then(|envoy| envoy.place) {
            (self.state.base_id, self.state.epoch) = (Some(place.base_id), place.epoch);
        }
        let heir =
            self.pair.heir.as_ref().and_then(|heir| Some(Process { pid: heir.pid, ticks: heir.ticks? }));
        self.state.serves = self.machine.is_live();
        self.state.concurrency = self.machine.running().spec.concurrency;
        self.state.memory_limit = self.memory.as_ref().and_then(Memory::limit);
        self.state.restarts = self.restarts_before + self.machine.restarts();
        self.state.phase = self.machine.phase();
        self.state.last_exit = self.machine.last_exit().or(self.state.last_exit.as_ref()).cloned();
        self.state.spec_hash.clone_from(&self.machine.order().hash);
        self.state.backoff_until_ms = self.machine.backoff_until().map(|until| self.at_ms(until));
        let same = *self.states.borrow() == self.state && self.heir == heir;
        if same && !self.unwritten && self.dir.state().exists() {
            return;
        }
        self.heir = heir;
        let written = write_down(&self.dir, &self.state, heir);
        let unwritten = std::mem::replace(&mut self.unwritten, written.is_err());
        if let (Err(error), false) = (written, unwritten) {
            tracing::error!(%error, "the state cannot be written, trying again");
        }
        self.states.send_replace(self.state.clone());
    }

    fn at_ms(&self, instant: Instant) -> u64 {
        let (begun, begun_ms) = self.epoch;
        let since = instant.saturating_duration_since(begun).as_millis();
        begun_ms.saturating_add(u64::try_from(since).unwrap_or(u64::MAX))
    }
}
