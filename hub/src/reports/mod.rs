//! What agents report to this replica: the state ([`Book`]) behind one lock, and what follows from it. Entry point: [`Desk`].
//!
//! Verdicts go out at once as Health, through the feed, to those who use an endpoint there; how far Plans are is kept for
//! the writer of conditions, who is told which Plans have news. A replica that starts knows nothing and says nothing: every
//! agent tells every replica all that it has when it connects.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use portreeve_api::names::NODE_PROXY_ID;
use portreeve_api::report::{PlanStatus, Report};
use tokio::sync::watch;

use crate::auth::Door;
use crate::feed::Feed;
use crate::index::Name;

mod book;
mod service;
mod statuses;
#[cfg(test)]
mod tests;

/// The server's stubs: the messages are portreeve-api's.
#[allow(
    missing_docs,
    clippy::all,
    clippy::too_many_lines,
    clippy::excessive_nesting,
    clippy::wildcard_imports
)]
mod stubs {
    include!(concat!(env!("OUT_DIR"), "/portreeve.report.v1.rs"));
}

pub use book::{Attached, Book, LEASE, News};

/// How often the leases are looked at at least; a new one lasts longer.
const LOOK: Duration = Duration::from_millis(250);

/// The reports of all agents, shared by their streams and by the writer of conditions.
pub struct Desk {
    book: Mutex<Book>,
    feed: Arc<Feed>,
    /// Counts the times at which Plans got news.
    news: watch::Sender<u64>,
}

/// One node's word on a Plan.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeStatus {
    /// The node.
    pub node: Name,
    /// What its agent said last.
    pub status: Arc<PlanStatus>,
    /// When the agent was last heard, of whatever.
    pub heard: Instant,
    /// Whether that is within the lease: an agent that is not heard is unreachable, as far as is known here.
    pub reachable: bool,
}

/// What was reported, in numbers. A proxy counts once for each Plan that it is to have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Nodes whose agents are heard.
    pub heard: usize,
    /// Streams of reports.
    pub streams: usize,
    /// Nodes whose agents were heard once and are silent.
    pub silent: usize,
    /// Proxies that are to have a Plan.
    pub wanted: u64,
    /// Of them: those that accepted it.
    pub acked: u64,
    /// Of them: those that refused something of it.
    pub refused: u64,
    /// Of them: those without a stream.
    pub unreachable: u64,
    /// Listeners that lost their port.
    pub conflicts: u64,
    /// NodeProxies that run, once for each node.
    pub running: u64,
    /// NodeProxies that are to run and can't.
    pub failing: u64,
}

// === impl Desk ===

impl Desk {
    /// A desk at which nobody has reported yet.
    pub fn new(feed: Arc<Feed>) -> Arc<Self> {
        Arc::new(Self { book: Mutex::default(), feed, news: watch::Sender::new(0) })
    }

    /// The latest word of every node on a Plan, by the Plan's name.
    pub fn statuses_of(&self, plan: &str) -> Vec<NodeStatus> {
        let book = self.lock();
        let status = |(node, status): (&Name, &Arc<PlanStatus>)| {
            let (heard, reachable) = book.heard(node)?;
            Some(NodeStatus { node: node.clone(), status: status.clone(), heard, reachable })
        };
        book.statuses.of(plan).filter_map(status).collect()
    }

    /// When a node's agent was last heard, and whether that is within the lease; none: never, by this replica.
    pub fn heard(&self, node: &Name) -> Option<(Instant, bool)> {
        self.lock().heard(node)
    }

    /// What was reported, in numbers.
    pub fn tally(&self) -> Tally {
        let book = self.lock();
        let (heard, silent) = book.count();
        let mut tally = Tally { heard, silent, streams: book.streams(), ..Tally::default() };
        for status in book.statuses.all() {
            if status.plan.starts_with(NODE_PROXY_ID) {
                tally.running += u64::from(status.acked);
                tally.failing += u64::from(status.nacked);
                continue;
            }
            tally.wanted += u64::from(status.wanted);
            tally.acked += u64::from(status.acked);
            tally.refused += u64::from(status.nacked);
            tally.unreachable += u64::from(status.unreachable);
            tally.conflicts += status.conflicts.len() as u64;
        }
        tally
    }

    /// The names of the Plans with news since the last call, and when the newest came: for one reader.
    pub fn take_changed(&self) -> BTreeMap<Name, Instant> {
        self.lock().statuses.take_changed()
    }

    /// Follows when [`Desk::take_changed`] has something.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.news.subscribe()
    }

    /// Ends leases in time, for ever.
    ///
    /// # Errors
    /// Never.
    pub async fn keep_leases(self: Arc<Self>) -> anyhow::Result<()> {
        loop {
            let deadline = self.lock().deadline();
            let wait = deadline.map_or(LOOK, |at| at.saturating_duration_since(Instant::now()));
            tokio::time::sleep(wait.clamp(Duration::from_millis(1), LOOK)).await;
            let mut book = self.lock();
            let news = book.lapse(Instant::now(), |node| self.feed.has_node(node));
            self.publish(&book, news);
        }
    }

    /// Who may report: whoever may have the feed, and of its own node alone.
    fn door(&self) -> &Door {
        self.feed.door()
    }

    fn attach(&self, node: &str) -> Result<Attached, String> {
        self.lock().attach(node, Instant::now())
    }

    /// Takes one report in; answers with the latest epoch of the node that is known.
    fn take(&self, stream: &mut Attached, report: Report, first: bool) -> Result<u64, String> {
        let mut book = self.lock();
        let news = book.take(stream, report, first, Instant::now())?;
        let epoch = book.epoch_of(&stream.node);
        self.publish(&book, news);
        Ok(epoch)
    }

    fn detach(&self, stream: &Attached) {
        self.lock().detach(stream);
    }

    /// The book is still locked: what two streams say goes out in the order in which it was taken in.
    fn publish(&self, book: &Book, news: impl IntoIterator<Item = News>) {
        self.feed.tell_health(news);
        if book.statuses.has_news() {
            self.news.send_modify(|n| *n += 1);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
