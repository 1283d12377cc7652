//! The hub's replicas ([`Replicas`]): their addresses, the time of each one's last answer, and which of them feeds this
//! agent.
//!
//! Every replica gets the agent's reports, so the agent knows whether a replica answers before the feed needs it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use http::{HeaderMap, Uri};
use portreeve_xds::{Connect, Connection};
use tokio::sync::watch;

use crate::link::Link;

pub mod choice;
mod feed_task;
mod places;
mod replica;

pub use choice::Heard;
use choice::{Choice, Sight};
pub use feed_task::run as run_feed;
pub use places::Places;
pub use replica::Replica;

/// How long a connection waits for the first address of a hub.
const FIRST_WORD: Duration = Duration::from_secs(1);

/// All replicas, shared by the feed and the reports. Clones share the state.
#[derive(Clone)]
pub struct Replicas {
    shared: Arc<Shared>,
}

struct Shared {
    link: Link,
    choice: Mutex<Choice>,
    known: watch::Sender<BTreeSet<Replica>>,
    heard: watch::Sender<BTreeMap<Replica, Heard>>,
    /// The factor by which the timeouts of a late replica are longer.
    patience: Mutex<BTreeMap<Replica, u32>>,
    /// The replica whose feed has answered.
    feeding: watch::Sender<Option<Replica>>,
}

// === impl Replicas ===

impl Replicas {
    /// Creates an empty set. `node` is this agent's node.
    pub fn new(node: &str, link: Link) -> Self {
        let shared = Shared {
            link,
            choice: Mutex::new(Choice::new(node)),
            known: watch::Sender::default(),
            heard: watch::Sender::default(),
            patience: Mutex::default(),
            feeding: watch::Sender::default(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Returns a receiver of the set of replicas.
    pub fn known(&self) -> watch::Receiver<BTreeSet<Replica>> {
        self.shared.known.subscribe()
    }

    /// Returns a receiver of each replica's last answer to a report.
    pub fn heard_at(&self) -> watch::Receiver<BTreeMap<Replica, Heard>> {
        self.shared.heard.subscribe()
    }

    /// Returns a receiver of the replica that feeds this agent; `None` if there is none at the moment.
    pub fn feeding(&self) -> watch::Receiver<Option<Replica>> {
        self.shared.feeding.subscribe()
    }

    /// Returns when the replica that feeds this agent last answered a report; `None` if there is no such replica or
    /// answer. Its data on other nodes' health is no fresher than that.
    pub fn feed_heard(&self) -> Option<Instant> {
        let feeding = self.shared.feeding.borrow().clone()?;
        self.shared.heard.borrow().get(&feeding).map(|heard| heard.last)
    }

    /// Returns the number of replicas that answered their last report in time.
    pub fn answering(&self) -> usize {
        let heard = self.shared.heard.borrow();
        heard.values().filter(|one| one.since.is_some() && one.last.elapsed() <= choice::UNHEARD).count()
    }

    /// Connects to a replica.
    ///
    /// # Errors
    /// Returns an error if the replica can't be reached or doesn't prove that it is the hub.
    pub async fn connection(&self, replica: &Replica) -> anyhow::Result<Connection> {
        match replica {
            Replica::Unix(path) => {
                let connection = portreeve_xds::connect::unix(path).await;
                connection.with_context(|| replica.to_string())
            }
            Replica::Tcp { .. } => {
                let uri: Uri = replica.to_string().parse()?;
                let patience = self.patience().get(replica).copied().unwrap_or(1);
                Ok(self.shared.link.patient_connection(&uri, patience).await?)
            }
        }
    }

    /// Returns the headers of a call to any replica.
    pub fn headers(&self) -> HeaderMap {
        self.shared.link.headers()
    }

    /// Sets the existing replicas.
    pub fn set(&self, replicas: BTreeSet<Replica>) {
        self.shared.known.send_if_modified(|known| {
            let differs = *known != replicas;
            *known = replicas;
            differs
        });
    }

    /// Records a replica's answer to a report.
    pub fn heard(&self, replica: &Replica, now: Instant) {
        self.shared.heard.send_modify(|all| {
            let since = all.get(replica).and_then(|heard| heard.since).or(Some(now));
            all.insert(replica.clone(), Heard { since, last: now });
        });
    }

    /// Sets the factor by which a replica's TLS handshakes and ping answers may take longer. A late replica gets even
    /// later with each connection that is given up and made again.
    pub fn be_patient(&self, replica: &Replica, patience: u32) {
        self.patience().insert(replica.clone(), patience);
    }

    /// Records that a replica's stream of reports broke.
    pub fn lost(&self, replica: &Replica) {
        self.shared.heard.send_if_modified(|all| match all.get_mut(replica) {
            Some(heard) => heard.since.take().is_some(),
            None => false,
        });
    }

    /// Removes a replica.
    pub fn forget(&self, replica: &Replica) {
        self.shared.heard.send_if_modified(|all| all.remove(replica).is_some());
        self.patience().remove(replica);
    }

    /// Waits briefly for the first addresses: when an agent starts, no name has been resolved yet.
    async fn first_word(&self) {
        let mut known = self.known();
        // No address is known; the next attempt reports that.
        let _ = tokio::time::timeout(FIRST_WORD, known.wait_for(|known| !known.is_empty())).await;
    }

    /// Connects the feed, to another replica after each failed attempt.
    fn connect(&self) -> Connect {
        let replicas = self.clone();
        Connect::Custom(Arc::new(move || {
            let replicas = replicas.clone();
            Box::pin(async move {
                replicas.first_word().await;
                let replica = replicas.choose().context("no address of the hub is known")?;
                tracing::debug!(hub = %replica, "connecting");
                Ok(replicas.connection(&replica).await?)
            })
        }))
    }

    fn choose(&self) -> Option<Replica> {
        self.look(|choice, sight| choice.next(sight))
    }

    fn way_home(&self) -> bool {
        self.look(|choice, sight| choice.way_home(sight))
    }

    /// Returns whether the replica that feeds this agent since then has answered reports, but doesn't any more.
    fn fell_silent(&self, since: Instant) -> bool {
        let Some(feeding) = self.shared.feeding.borrow().clone() else { return false };
        let heard = self.shared.heard.borrow().get(&feeding).copied();
        heard.is_some_and(|heard| {
            heard.since.is_none() && heard.last > since && heard.last.elapsed() > choice::UNHEARD
        })
    }

    /// Records that the chosen replica has answered the feed, or that the feed has ended.
    fn fed(&self, connected: bool) {
        let replica = self.choice().current().cloned().filter(|_| connected);
        if let Some(replica) = &replica {
            tracing::info!(hub = %replica, "fed by");
        }
        self.shared.feeding.send_replace(replica);
    }

    fn look<R>(&self, look: impl FnOnce(&mut Choice, Sight<'_>) -> R) -> R {
        let (known, heard) = (self.shared.known.borrow(), self.shared.heard.borrow());
        let sight = Sight { known: &known, heard: &heard, now: Instant::now() };
        look(&mut self.choice(), sight)
    }

    fn patience(&self) -> MutexGuard<'_, BTreeMap<Replica, u32>> {
        self.shared.patience.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn choice(&self) -> MutexGuard<'_, Choice> {
        self.shared.choice.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
