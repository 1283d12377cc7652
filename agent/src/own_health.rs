//! The health of this node's endpoints, published for other tasks. Entry point: [`Watched`].

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use portreeve_api::plan;
use tokio::sync::watch;

use portreeve_agent_core::health::{EndpointHealth, Outcome};

/// The health of this node's endpoints, according to its own agent.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OwnHealth {
    /// Unhealthy endpoints, in a fixed order.
    pub unhealthy: Arc<[plan::Unhealthy]>,
    /// Checks without a known result, in a fixed order. No verdict covers them.
    pub unknown: Arc<[plan::Check]>,
    /// Number of changes of `unhealthy`.
    pub changes: u64,
}

/// Publishes changes only.
#[derive(Debug, Default)]
pub struct Watched {
    targets: watch::Sender<u64>,
    own: watch::Sender<OwnHealth>,
    /// The book's count of own changes when it was last read.
    seen: AtomicU64,
    /// Number of probes that succeeded, that failed, and that this host couldn't make.
    probes: [AtomicU64; 3],
}

// === impl Watched ===

impl Watched {
    /// Publishes the changes in a book.
    pub fn follow(&self, book: &EndpointHealth) {
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

    /// Counts a probe.
    pub fn probed(&self, outcome: &Outcome) {
        let place = match outcome {
            Outcome::Up => 0,
            Outcome::Down(_) => 1,
            Outcome::Hampered(_) => 2,
        };
        self.probes[place].fetch_add(1, Ordering::Relaxed);
    }

    /// Returns the number of probes since the start, by outcome.
    pub fn probes(&self) -> [(&'static str, u64); 3] {
        let count = |place: usize| self.probes[place].load(Ordering::Relaxed);
        [("up", count(0)), ("down", count(1)), ("hampered", count(2))]
    }

    /// Returns a receiver of the number of changes of the targets.
    pub fn target_changes(&self) -> watch::Receiver<u64> {
        self.targets.subscribe()
    }

    /// Returns a receiver of the health of this node's endpoints.
    pub fn own(&self) -> watch::Receiver<OwnHealth> {
        self.own.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use portreeve_agent_core::health::{Failure, Pace, Place, Point, Uses, Verdict};

    use super::*;

    /// Returns the endpoint of a node that is checked at port 1233.
    fn mk_point(node: &str) -> Point {
        let place =
            Place::Pod { node: node.into(), uid: format!("pod-of-{node}").into(), ip: [10, 0, 0, 1].into() };
        Point { place, port: 1233, path: "".into() }
    }

    #[test]
    fn what_is_not_healthy_here_is_published_on_difference() {
        let second = Duration::from_secs(1);
        let pace = Pace { interval: second, timeout: second, fall: 1, rise: 1 };
        let (watched, mut book) = (Watched::default(), EndpointHealth::default());
        let mut own = watched.own();
        book.set_node("own");
        book.hub_heard(Instant::now());
        let points = ["own", "far"].map(|node| (mk_point(node), pace));
        book.set_plan(&"a".into(), Uses { points: points.into_iter().collect(), ..Uses::default() });
        let down = || Verdict::Down(Failure { reason: "refused".into(), since_ms: 7 });
        let mut probed = |node: &str, verdict| {
            book.note(vec![(mk_point(node).target("own"), verdict)]);
            watched.follow(&book);
        };
        probed("own", Verdict::Unknown);
        assert_eq!(own.borrow_and_update().unknown.len(), 1);
        probed("own", Verdict::Up);
        assert_eq!(*own.borrow_and_update(), OwnHealth::default());
        probed("far", down());
        assert!(!own.has_changed().unwrap(), "that is another node's");
        probed("own", down());
        let seen = own.borrow_and_update().clone();
        assert_eq!((seen.changes, seen.unhealthy.len(), seen.unknown.len()), (1, 1, 0));
    }
}
