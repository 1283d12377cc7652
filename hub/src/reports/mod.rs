//! What agents report to this replica: the state ([`Book`]) behind one lock, and what follows from it. Entry point: [`Desk`].
//!
//! Verdicts go out as Health, through the feed, to those who use an endpoint there: at once where the hub keeps up, else the
//! oldest first, each node's newest alone (see `queue.rs`). A report never waits for that. How far Plans are is kept for the
//! writer of conditions, who is told which Plans have news. A replica that starts knows nothing and says nothing: every
//! agent tells every replica all that it has when it connects.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use portreeve_api::refs::ProxyId;
use portreeve_api::report::{PlanStatus, Report};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

use crate::auth::Door;
use crate::feed::Feed;
use crate::index::Name;
use crate::node_health::NodeHealth;

mod book;
mod lateness;
mod queue;
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

pub use book::{Attached, Book, LEASE, LOOK};
use queue::{PAUSE, Queue};

/// Nodes whose Health is published in one go: other changes get their turn between two of them.
const AT_ONCE: usize = 64;

/// The longest pause between two publications of one node's Health.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// The reports of all agents, shared by their streams and by the writer of conditions.
pub struct Desk {
    book: Mutex<Book>,
    feed: Arc<Feed>,
    /// Nodes whose Health is to be published. Locked behind the book, if both are.
    queue: Mutex<Queue>,
    /// Woken when the queue has got something.
    waiting: Notify,
    /// By how many milliseconds leases are longer because this hub is late.
    stretch_ms: AtomicU64,
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
    /// By how much leases are longer because this hub is late itself.
    pub stretch: Duration,
    /// Nodes whose verdicts wait to be published.
    pub waiting: usize,
    /// How long the first of them has been due.
    pub overdue: Duration,
}

// === impl Desk ===

impl Desk {
    /// A desk at which nobody has reported yet.
    pub fn new(feed: Arc<Feed>) -> Arc<Self> {
        Arc::new(Self {
            book: Mutex::default(),
            feed,
            queue: Mutex::default(),
            waiting: Notify::new(),
            stretch_ms: AtomicU64::new(0),
            news: watch::Sender::new(0),
        })
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
        let (waiting, overdue) = self.queue().behind(Instant::now());
        let stretch = self.stretch();
        let streams = book.streams();
        let mut tally = Tally { heard, silent, streams, waiting, overdue, stretch, ..Tally::default() };
        for status in book.statuses.all() {
            if matches!(status.plan.parse(), Ok(ProxyId::Node(_))) {
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

    /// Ends leases in time, and publishes what agents said, for ever.
    ///
    /// # Errors
    /// Never.
    pub async fn keep_leases(self: Arc<Self>) -> anyhow::Result<()> {
        // Beside this task: publishing waits for the state, and whoever looks at the time must not.
        let mut publishing = JoinSet::new();
        publishing.spawn(self.clone().keep_publishing());
        loop {
            let deadline = self.lock().deadline();
            let wait = deadline.map_or(LOOK, |at| at.saturating_duration_since(Instant::now()));
            tokio::time::sleep(wait.clamp(Duration::from_millis(1), LOOK)).await;
            let mut book = self.lock();
            let now = Instant::now();
            let news = book.lapse(now, |node| self.feed.has_node(node));
            self.note_stretch(book.stretch());
            self.queue_news(&book, news, now);
        }
    }

    /// Publishes the Health of the nodes that have news, the oldest first, for ever.
    async fn keep_publishing(self: Arc<Self>) {
        loop {
            let deadline = self.queue().deadline();
            let due = deadline.unwrap_or_else(|| Instant::now() + LONGEST_PAUSE);
            tokio::select! {
                () = self.waiting.notified() => {}
                () = tokio::time::sleep_until(due.into()) => {}
            }
            while self.publish_some() {
                tokio::task::yield_now().await;
            }
        }
    }

    /// Publishes the first nodes of the queue, as they are now; false if none is due.
    fn publish_some(&self) -> bool {
        let nodes = self.queue().take(AT_ONCE, Instant::now());
        if nodes.is_empty() {
            return false;
        }
        let book = self.lock();
        let news: Vec<NodeHealth> = nodes.into_iter().map(|node| book.news_of(node)).collect();
        drop(book);
        self.feed.tell_health(news);
        true
    }

    /// How long a stream of reports may be silent beyond what is usual: this hub is late by about as much.
    fn stretch(&self) -> Duration {
        Duration::from_millis(self.stretch_ms.load(Ordering::Relaxed))
    }

    fn note_stretch(&self, stretch: Duration) {
        let ms = u64::try_from(stretch.as_millis()).unwrap_or(u64::MAX);
        let before = self.stretch_ms.swap(ms, Ordering::Relaxed);
        match (before, ms) {
            (0, 1..) => tracing::warn!(
                stretch_ms = ms,
                "this hub is behind: agents may be silent for longer; give it more processor time, or add replicas"
            ),
            (1.., 0) => tracing::info!("this hub keeps up again"),
            _ => {}
        }
    }

    /// Who may report: whoever may have the feed, and of its own node alone.
    fn door(&self) -> &Door {
        self.feed.door()
    }

    fn attach(&self, node: &str) -> Result<Attached, String> {
        self.lock().attach(node, Instant::now())
    }

    /// Takes one report in, which arrived then; answers with the latest epoch of the node that is known.
    fn take(
        &self,
        stream: &mut Attached,
        report: Report,
        first: bool,
        arrived: Instant,
    ) -> Result<u64, String> {
        let mut book = self.lock();
        let news = book.take(stream, report, first, arrived)?;
        let epoch = book.epoch_of(&stream.node);
        self.queue_news(&book, news, Instant::now());
        Ok(epoch)
    }

    fn detach(&self, stream: &Attached) {
        self.lock().detach(stream);
    }

    /// What is published is what the book says when the node's turn comes.
    fn queue_news(&self, book: &Book, news: impl IntoIterator<Item = NodeHealth>, now: Instant) {
        let pause = LONGEST_PAUSE.min(PAUSE + self.stretch() / 4);
        let mut news = news.into_iter().peekable();
        if news.peek().is_some() {
            let mut queue = self.queue();
            news.for_each(|one| queue.push(&one.node, pause, now));
            self.waiting.notify_one();
        }
        if book.statuses.has_news() {
            self.news.send_modify(|n| *n += 1);
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
