//! The replicas of the hub ([`Replicas`]): where they are, when each was last heard, and which of them feeds this agent.
//!
//! Every replica gets the agent's reports, so whether one answers is known before the feed needs it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use http::{HeaderMap, Uri};
use portreeve_xds::Connect;
use tokio::sync::watch;
use tonic::transport::Channel;

use crate::link::Link;

pub mod choice;
mod feed;
mod places;

pub use choice::Heard;
use choice::{Choice, Sight};
pub use feed::run as run_feed;
pub use places::Places;

/// How long a connection waits for a first address of the hub.
const FIRST_WORD: Duration = Duration::from_secs(1);

/// One replica of the hub, by its address.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Replica {
    /// A Unix socket.
    Unix(PathBuf),
    /// An address and port.
    Tcp {
        /// Over TLS.
        secure: bool,
        /// Where it is.
        address: SocketAddr,
    },
}

/// All replicas, shared by the feed and the reports. Clones are the same.
#[derive(Clone)]
pub struct Replicas {
    shared: Arc<Shared>,
}

struct Shared {
    link: Link,
    choice: Mutex<Choice>,
    known: watch::Sender<BTreeSet<Replica>>,
    heard: watch::Sender<BTreeMap<Replica, Heard>>,
    /// How much longer than usual a replica is waited for, where it is late.
    patience: Mutex<BTreeMap<Replica, u32>>,
    /// The replica whose feed has answered.
    feeding: watch::Sender<Option<Replica>>,
}

// === impl Replica ===

impl fmt::Display for Replica {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp { secure, address } => {
                write!(f, "{}://{address}", if *secure { "https" } else { "http" })
            }
        }
    }
}

// === impl Replicas ===

impl Replicas {
    /// No replica is known yet; `node` is this agent's.
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

    /// Follows which replicas there are.
    pub fn known(&self) -> watch::Receiver<BTreeSet<Replica>> {
        self.shared.known.subscribe()
    }

    /// Follows when each replica last answered a report.
    pub fn heard_at(&self) -> watch::Receiver<BTreeMap<Replica, Heard>> {
        self.shared.heard.subscribe()
    }

    /// Follows which replica feeds this agent; none: none does at the moment.
    pub fn feeding(&self) -> watch::Receiver<Option<Replica>> {
        self.shared.feeding.subscribe()
    }

    /// When the replica that feeds this agent last answered a report; none: there is none, or it never did. What it sent
    /// of other nodes' health is no fresher than that.
    pub fn feed_heard(&self) -> Option<Instant> {
        let feeding = self.shared.feeding.borrow().clone()?;
        self.shared.heard.borrow().get(&feeding).map(|heard| heard.last)
    }

    /// How many replicas answered their last report in time.
    pub fn answering(&self) -> usize {
        let heard = self.shared.heard.borrow();
        heard.values().filter(|one| one.since.is_some() && one.last.elapsed() <= choice::UNHEARD).count()
    }

    /// Connects to a replica.
    ///
    /// # Errors
    /// It can't be reached, or does not prove that it is the hub.
    pub async fn channel(&self, replica: &Replica) -> anyhow::Result<Channel> {
        match replica {
            Replica::Unix(path) => {
                let channel = portreeve_xds::connect::unix(path).await;
                channel.with_context(|| replica.to_string())
            }
            Replica::Tcp { .. } => {
                let uri: Uri = replica.to_string().parse()?;
                let patience = self.patience().get(replica).copied().unwrap_or(1);
                Ok(self.shared.link.patient_channel(&uri, patience).await?)
            }
        }
    }

    /// The headers of a call to any replica.
    pub fn headers(&self) -> HeaderMap {
        self.shared.link.headers()
    }

    /// There are these replicas, and no others.
    pub fn set(&self, replicas: BTreeSet<Replica>) {
        self.shared.known.send_if_modified(|known| {
            let differs = *known != replicas;
            *known = replicas;
            differs
        });
    }

    /// A replica answered a report.
    pub fn heard(&self, replica: &Replica, now: Instant) {
        self.shared.heard.send_modify(|all| {
            let since = all.get(replica).and_then(|heard| heard.since).or(Some(now));
            all.insert(replica.clone(), Heard { since, last: now });
        });
    }

    /// TLS handshakes with a replica may take this many times as long as usual, and so may answers to pings. A replica that
    /// is late gets later with each connection that is given up and made anew.
    pub fn be_patient(&self, replica: &Replica, patience: u32) {
        self.patience().insert(replica.clone(), patience);
    }

    /// A replica's stream of reports broke.
    pub fn lost(&self, replica: &Replica) {
        self.shared.heard.send_if_modified(|all| match all.get_mut(replica) {
            Some(heard) => heard.since.take().is_some(),
            None => false,
        });
    }

    /// There is no such replica any more.
    pub fn forget(&self, replica: &Replica) {
        self.shared.heard.send_if_modified(|all| all.remove(replica).is_some());
        self.patience().remove(replica);
    }

    /// Waits a moment for the first word of where replicas are: at an agent's start nobody has looked yet.
    async fn first_word(&self) {
        let mut known = self.known();
        // Nobody knows any: the next try says so.
        let _ = tokio::time::timeout(FIRST_WORD, known.wait_for(|known| !known.is_empty())).await;
    }

    /// Connects the feed: to another replica with each try that failed.
    fn connect(&self) -> Connect {
        let replicas = self.clone();
        Connect::Custom(Arc::new(move || {
            let replicas = replicas.clone();
            Box::pin(async move {
                replicas.first_word().await;
                let replica = replicas.choose().context("no address of the hub is known")?;
                tracing::debug!(hub = %replica, "connecting");
                Ok(replicas.channel(&replica).await?)
            })
        }))
    }

    fn choose(&self) -> Option<Replica> {
        self.look(|choice, sight| choice.next(sight))
    }

    fn way_home(&self) -> bool {
        self.look(|choice, sight| choice.way_home(sight))
    }

    /// Whether the replica that feeds this agent since then has answered reports meanwhile, and does so no more.
    fn fell_silent(&self, since: Instant) -> bool {
        let Some(feeding) = self.shared.feeding.borrow().clone() else { return false };
        let heard = self.shared.heard.borrow().get(&feeding).copied();
        heard.is_some_and(|heard| {
            heard.since.is_none() && heard.last > since && heard.last.elapsed() > choice::UNHEARD
        })
    }

    /// The feed has been answered by the replica that was chosen, or has ended.
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
