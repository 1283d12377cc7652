//! The agent's reports to every hub replica: the unhealthy endpoints of its node, and the status of its Plans. Entry
//! point: [`Reports`].

use std::collections::BTreeMap;

use portreeve_api::plan::{Check, Unhealthy};
use portreeve_xds::Name;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

use crate::replicas::{Replica, Replicas};
use crate::store::{Content, Key, Saver};

mod herald;
pub mod outbox;
mod sources;
mod stream;
pub mod told;

/// The generated client; the messages are portreeve-api's. Public for tests that use the protocol directly.
#[allow(
    missing_docs,
    clippy::all,
    clippy::too_many_lines,
    clippy::excessive_nesting,
    clippy::wildcard_imports
)]
pub mod stubs {
    include!(concat!(env!("OUT_DIR"), "/portreeve.report.v1.rs"));
}

pub use outbox::{Outbox, Statuses};
pub use sources::run as follow;
use stream::Reporter;

/// The state to report. Clones share it; each change goes to every replica immediately.
#[derive(Clone)]
pub struct Reports {
    outbox: watch::Sender<Outbox>,
}

// === impl Reports ===

impl Reports {
    /// Creates an empty state. `epoch` must be higher than any epoch that an agent of this node used before. If a
    /// replica knows a higher one, the epoch is raised automatically. See [`next_epoch`].
    pub fn new(epoch: u64) -> Self {
        Self { outbox: watch::Sender::new(Outbox::new(epoch)) }
    }

    /// Sets the unhealthy endpoints of this node and the unknown checks. The agent vouches for all other endpoints that
    /// it should probe, so this must be called only after the hub has requested probes.
    pub fn set_health(&self, unhealthy: Vec<Unhealthy>, unknown: Vec<Check>) {
        // `|` instead of `||`: both must be applied.
        self.outbox.send_if_modified(|outbox| outbox.set_unhealthy(unhealthy) | outbox.set_unknown(unknown));
    }

    /// Sets the status of each Plan on this node, by the Plan's name. A Plan that isn't listed is gone.
    pub fn set_plans(&self, plans: Statuses) {
        self.outbox.send_if_modified(|outbox| outbox.set_plans(plans));
    }

    /// Sets the names that the proxies of this node's pods announced, by the pods' uids.
    pub fn set_names(&self, names: &BTreeMap<Name, String>) {
        self.outbox.send_if_modified(|outbox| outbox.set_names(names));
    }

    /// Returns the current epoch, to be stored for a restart.
    pub fn epoch(&self) -> u64 {
        self.outbox.borrow().epoch()
    }

    /// Reports to all replicas as they come and go, and never returns.
    ///
    /// # Errors
    /// Never returns an error.
    pub async fn run(self, node: String, replicas: Replicas) -> anyhow::Result<()> {
        let reporter = Reporter { node, outbox: self.outbox.clone(), replicas: replicas.clone() };
        let mut known = replicas.known();
        let mut streams = JoinSet::new();
        let mut running: BTreeMap<Replica, AbortHandle> = BTreeMap::new();
        loop {
            let wanted = known.borrow_and_update().clone();
            running.retain(|replica, stream| {
                let stays = wanted.contains(replica);
                if !stays {
                    stream.abort();
                    replicas.forget(replica);
                }
                stays
            });
            for replica in wanted {
                let stream = || streams.spawn(reporter.clone().attend(replica.clone()));
                running.entry(replica.clone()).or_insert_with(stream);
            }
            tokio::select! {
                changed = known.changed() => changed?,
                // Only aborted streams end.
                Some(_) = streams.join_next() => {}
            }
        }
    }
}

/// Returns the epoch of an agent that starts at `now_ms` (milliseconds since the Unix epoch). It is higher than the
/// stored epoch of this node's earlier agent, even if the clock went back. Without a stored epoch, the clock must be
/// right.
pub fn next_epoch(kept: Option<u64>, now_ms: u64) -> u64 {
    now_ms.max(kept.map_or(1, |kept| kept.saturating_add(1)))
}

/// Stores the epoch for the next agent, now and whenever it is raised. Never returns.
///
/// # Errors
/// No error is expected, because the reports live as long as the agent.
pub async fn keep_epoch(reports: Reports, saver: Saver) -> anyhow::Result<()> {
    let mut outbox = reports.outbox.subscribe();
    loop {
        let epoch = outbox.borrow_and_update().epoch();
        // A stored epoch isn't written again.
        saver.put(Key::Epoch, Content::Number(epoch));
        outbox.changed().await?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store;
    use std::time::{Duration, Instant};

    #[test]
    fn epoch_of_the_next_agent_is_later_whatever_the_clock_says() {
        let cases = [
            (None, 1000, 1000),
            (None, 0, 1),
            (Some(500), 1000, 1000),
            (Some(1000), 1000, 1001),
            (Some(5000), 1000, 5001),
            (Some(u64::MAX), 1000, u64::MAX),
        ];
        for (kept, now, epoch) in cases {
            assert_eq!(next_epoch(kept, now), epoch, "kept {kept:?}, now {now}");
        }
    }

    #[test]
    fn agents_that_follow_each_other_under_a_clock_that_goes_back_have_later_and_later_epochs() {
        let directory = tempfile::tempdir().unwrap();
        let mut last = 0;
        for now in [9000, 8000, 8000, 1, 9001, 20_000] {
            let (saver, kept) = store::open(directory.path()).unwrap();
            let epoch = next_epoch(kept.epoch, now);
            assert!(epoch > last, "{epoch} after {last}");
            saver.put(Key::Epoch, Content::Number(epoch));
            saver.flush(Duration::from_secs(20)).unwrap();
            last = epoch;
        }
        assert_eq!(last, 20_000);
    }

    #[tokio::test]
    async fn epoch_that_a_replica_made_us_raise_is_kept() {
        let directory = tempfile::tempdir().unwrap();
        let (saver, _) = store::open(directory.path()).unwrap();
        let reports = Reports::new(7);
        let kept = async |epoch| loop {
            saver.flush(Duration::from_secs(20)).unwrap();
            if store::open(directory.path()).unwrap().1.epoch == Some(epoch) {
                return;
            }
            tokio::task::yield_now().await;
        };
        let raised = async {
            kept(7).await;
            reports.outbox.send_if_modified(|outbox| outbox.heard_of(99, Instant::now()));
            kept(100).await;
        };
        tokio::select! {
            ended = keep_epoch(reports.clone(), saver.clone()) => panic!("{ended:?}"),
            done = tokio::time::timeout(Duration::from_secs(20), raised) => done.unwrap(),
        }
    }
}
