//! What this agent reports to every replica of the hub: what is not healthy on its node, and how far its Plans are.
//! Entry point: [`Reports`].

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use portreeve_api::plan::Unhealthy;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

use crate::replicas::{Replica, Replicas};

pub mod outbox;
mod sources;
mod stream;

/// The client's stubs: the messages are portreeve-api's. Public for tests that speak the protocol themselves.
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

/// What there is to report. Clones are the same; each change goes to every replica at once.
#[derive(Clone)]
pub struct Reports {
    outbox: watch::Sender<Outbox>,
}

// === impl Reports ===

impl Reports {
    /// Nothing to report yet. `epoch` has to be later than any that an agent of this node used before; what a replica
    /// has heard of is made good by itself. See [`epoch_now`].
    pub fn new(epoch: u64) -> Self {
        Self { outbox: watch::Sender::new(Outbox::new(epoch)) }
    }

    /// What is not healthy on this node now; to be called only once its endpoints have been probed.
    pub fn set_unhealthy(&self, unhealthy: Vec<Unhealthy>) {
        self.outbox.send_if_modified(|outbox| outbox.set_unhealthy(unhealthy));
    }

    /// How far each Plan is on this node now, by the Plan's name. A Plan that is not named is gone.
    pub fn set_plans(&self, plans: Statuses) {
        self.outbox.send_if_modified(|outbox| outbox.set_plans(plans));
    }

    /// The epoch of what is said now, for whoever keeps it over a restart.
    pub fn epoch(&self) -> u64 {
        self.outbox.borrow().epoch()
    }

    /// Reports to all replicas, as they come and go, for ever.
    ///
    /// # Errors
    /// Never.
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
                // Only those that were aborted end.
                Some(_) = streams.join_next() => {}
            }
        }
    }
}

/// An epoch that is later than every earlier agent's, as far as the clock is right: milliseconds since the Unix epoch.
pub fn epoch_now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(1)
}
