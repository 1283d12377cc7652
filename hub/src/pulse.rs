//! When each watch was heard last, and how often it failed ([`Pulse`]).

use crate::watermark::WatchedKind;

/// The state of the watches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pulse([Beat; WatchedKind::COUNT]);

/// The state of one watch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Beat {
    /// When it last brought something, in milliseconds since the Unix epoch; 0: never.
    pub heard_ms: i64,
    /// How often it failed.
    pub failures: u64,
}

// === impl Pulse ===

impl Pulse {
    /// A watch brought something.
    pub fn heard(&mut self, kind: WatchedKind, now_ms: i64) {
        self.0[kind.place()].heard_ms = now_ms;
    }

    /// A watch failed, and is tried again.
    pub fn failed(&mut self, kind: WatchedKind) {
        self.0[kind.place()].failures += 1;
    }

    /// Each watch, by the letters of its kind.
    pub fn beats(&self) -> impl Iterator<Item = (&'static str, Beat)> {
        WatchedKind::all().map(|kind| (kind.letters(), self.0[kind.place()]))
    }
}
