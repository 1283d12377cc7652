//! When each watch was heard last, and how often it failed ([`Pulse`]).

use crate::watermark::Kind;

/// The state of the watches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pulse([Beat; Kind::ALL.len()]);

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
    pub fn heard(&mut self, kind: Kind, now_ms: i64) {
        self.0[kind as usize].heard_ms = now_ms;
    }

    /// A watch failed, and is tried again.
    pub fn failed(&mut self, kind: Kind) {
        self.0[kind as usize].failures += 1;
    }

    /// Each watch, by the letters of its kind.
    pub fn beats(&self) -> impl Iterator<Item = (&'static str, Beat)> {
        Kind::ALL.into_iter().map(|kind| (kind.letters(), self.0[kind as usize]))
    }
}
