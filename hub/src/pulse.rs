//! The time of each watch's last event, and the number of its failures ([`Pulse`]).

use std::time::Duration;

use crate::watermark::WatchedKind;

/// The longest pause before a failed watch is retried. It is short because the hub serves stale state meanwhile.
pub(crate) const PATIENCE: Duration = Duration::from_secs(1);

/// The state of all watches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pulse([Beat; WatchedKind::COUNT]);

/// The state of one watch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Beat {
    /// Time of the watch's last event, in milliseconds since the Unix epoch; 0 if there was none.
    pub heard_ms: i64,
    /// Number of failures.
    pub failures: u64,
}

// === impl Pulse ===

impl Pulse {
    /// Records an event of a watch.
    pub fn heard(&mut self, kind: WatchedKind, now_ms: i64) {
        self.0[kind.place()].heard_ms = now_ms;
    }

    /// Records a failure of a watch, which is retried.
    pub fn failed(&mut self, kind: WatchedKind) {
        self.0[kind.place()].failures += 1;
    }

    /// Returns the state of each watch, with the short name of its kind.
    pub fn beats(&self) -> impl Iterator<Item = (&'static str, Beat)> {
        WatchedKind::all().map(|kind| (kind.letters(), self.0[kind.place()]))
    }
}
