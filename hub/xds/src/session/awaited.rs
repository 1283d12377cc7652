//! The owners of companions that were not sent since ([`Awaited`]).
//!
//! Each companion is marked in its entry, which it needs anyway once the client asks for it: a table of their names would cost
//! as much as to send them.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use crate::resource::Resource;

/// The owners of awaited companions of one type.
#[derive(Debug, Default)]
pub(super) struct Awaited {
    /// Owners that were sent together, oldest first. Each has companions that were not sent since.
    pub(super) groups: VecDeque<Owners>,
    /// The number of the last group.
    pub(super) last: u32,
}

/// Owners that were sent together.
#[derive(Debug)]
pub(super) struct Owners {
    /// Their number in the entries of their companions; not 0.
    pub(super) number: u32,
    pub(super) resources: Arc<[Arc<Resource>]>,
    /// The number of companions that were not sent since.
    pub(super) left: usize,
    /// Until when referring types wait for the companions.
    pub(super) until: Instant,
}

// === impl Awaited ===

impl Awaited {
    pub(super) fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// Until when referring types wait.
    pub(super) fn until(&self) -> Option<Instant> {
        self.groups.back().map(|owners| owners.until)
    }

    /// Records that a companion of these owners is awaited no more.
    pub(super) fn follows(&mut self, number: u32) {
        if let Some(at) = self.groups.iter().position(|owners| owners.number == number) {
            self.groups[at].left -= 1;
            if self.groups[at].left == 0 {
                self.groups.remove(at);
            }
        }
    }
}
