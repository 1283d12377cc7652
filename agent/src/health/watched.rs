//! What others follow of the health on this node. Entry point: [`Watched`].

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use portreeve_api::plan;
use tokio::sync::watch;

use super::{Book, Outcome};

/// What is not healthy on this node, by its own agent.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OwnHealth {
    /// In a fixed order.
    pub unhealthy: Arc<[plan::Unhealthy]>,
    /// What is not known, in a fixed order: nothing vouches for it.
    pub unknown: Arc<[plan::Check]>,
    /// Counts the changes of `unhealthy`.
    pub changes: u64,
}

/// Published on difference.
#[derive(Debug, Default)]
pub struct Watched {
    targets: watch::Sender<u64>,
    own: watch::Sender<OwnHealth>,
    /// The book's count of own changes when it was last looked at.
    seen: AtomicU64,
    /// Probes that were answered, those that were not, and those that this host could not make.
    probes: [AtomicU64; 3],
}

// === impl Watched ===

impl Watched {
    /// Publishes what is new in a book.
    pub fn follow(&self, book: &Book) {
        let changes = book.changes();
        self.targets.send_if_modified(|known| std::mem::replace(known, changes) != changes);
        let seen = book.own_changes();
        self.own.send_if_modified(|own| {
            let mut differs = false;
            if self.seen.swap(seen, Ordering::Relaxed) != seen {
                let (unhealthy, unknown) = (book.unhealthy_here(), book.unknown_here());
                if *own.unhealthy != *unhealthy {
                    (own.unhealthy, own.changes) = (unhealthy.into(), own.changes + 1);
                    differs = true;
                }
                if *own.unknown != *unknown {
                    own.unknown = unknown.into();
                    differs = true;
                }
            }
            differs
        });
    }

    /// A probe was made.
    pub fn probed(&self, outcome: &Outcome) {
        let place = match outcome {
            Outcome::Up => 0,
            Outcome::Down(_) => 1,
            Outcome::Hampered(_) => 2,
        };
        self.probes[place].fetch_add(1, Ordering::Relaxed);
    }

    /// How many probes were made since the start, by what became of them.
    pub fn probes(&self) -> [(&'static str, u64); 3] {
        let count = |place: usize| self.probes[place].load(Ordering::Relaxed);
        [("up", count(0)), ("down", count(1)), ("hampered", count(2))]
    }

    /// Follows the number of changes of what is to be probed.
    pub fn target_changes(&self) -> watch::Receiver<u64> {
        self.targets.subscribe()
    }

    /// Follows what is not healthy on this node.
    pub fn own(&self) -> watch::Receiver<OwnHealth> {
        self.own.subscribe()
    }
}
