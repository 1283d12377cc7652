//! The reports of agents to this replica: the state ([`LatestReports`]) behind one lock, and its publication. Entry point:
//! [`Desk`].
//!
//! Verdicts are published as Health, through the feed, to the nodes that use an endpoint there: immediately if the hub
//! isn't late, otherwise the oldest first, with only each node's latest state (see `queue.rs`). Receiving a report
//! never waits for that. Plan statuses are kept for the writer of conditions, which is notified of changed Plans. A
//! starting replica has no state and publishes nothing: every agent sends its complete state to every replica when it
//! connects.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use portreeve_api::model::ProxyKind;
use portreeve_api::report::{Hello, ProxyNames, Report};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

use crate::auth::Door;
use crate::feed::Feed;
use crate::index::Name;
use crate::node_health::NodeHealth;
use crate::status::PlanReport;

mod lateness;
mod latest_reports;
mod queue;
mod service;
mod statuses;
#[cfg(test)]
mod tests;

/// The server stubs. The messages are portreeve-api's.
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

pub use latest_reports::{Attached, LEASE, LOOK, LatestReports};
use queue::{PAUSE, Queue};
pub use statuses::Sums;

/// Maximum number of nodes whose Health is published at once. Other changes are handled in between.
const AT_ONCE: usize = 64;

/// Maximum interval between two publications of one node's Health.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// The reports of all agents, shared by their streams and the writer of conditions.
pub struct Desk {
    latest: Mutex<LatestReports>,
    feed: Arc<Feed>,
    /// Nodes whose Health must be published. If both are locked, `latest` is locked first.
    queue: Mutex<Queue>,
    /// Notified when the queue gets an entry.
    waiting: Notify,
    /// How much leases are extended because this hub is late, in milliseconds.
    stretch_ms: AtomicU64,
    /// Counts changes of Plan statuses.
    news: watch::Sender<u64>,
}

/// The reported state in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Number of nodes with a valid lease.
    pub heard: usize,
    /// Number of streams of reports.
    pub streams: usize,
    /// Number of nodes whose lease has expired.
    pub silent: usize,
    /// The numbers of the statuses of Plans and NodeProxies.
    pub plans: Sums,
    /// How much leases are extended because this hub is late.
    pub stretch: Duration,
    /// Number of nodes whose verdicts wait to be published.
    pub waiting: usize,
    /// How long the first of them has been due.
    pub overdue: Duration,
}

// === impl Desk ===

impl Desk {
    /// Creates a desk without reports.
    pub fn new(feed: Arc<Feed>) -> Arc<Self> {
        Arc::new(Self {
            latest: Mutex::default(),
            feed,
            queue: Mutex::default(),
            waiting: Notify::new(),
            stretch_ms: AtomicU64::new(0),
            news: watch::Sender::new(0),
        })
    }

    /// Returns the last report on a Plan from every node, by the Plan's name.
    pub fn statuses_of(&self, plan: &str) -> Vec<PlanReport> {
        self.lock().statuses_of(plan)
    }

    /// Returns the last report on a Plan from every node, and when the latest of them changed if
    /// [`Desk::take_changed`] has not told it. That change is not told again.
    pub fn take_statuses_of(&self, plan: &str) -> (Vec<PlanReport>, Option<Instant>) {
        let mut latest = self.lock();
        (latest.statuses_of(plan), latest.statuses.take_change(plan))
    }

    /// Returns the time of a node's last report, and whether its lease is valid; `None` if this replica never got a
    /// report.
    pub fn heard(&self, node: &Name) -> Option<(Instant, bool)> {
        self.lock().heard(node)
    }

    /// Returns whether a node's agent is known to run no proxies of this kind under keepers.
    pub fn lacks(&self, node: &Name, kind: ProxyKind) -> bool {
        self.lock().lacks(node, kind)
    }

    /// Returns the reported state in numbers.
    pub fn tally(&self) -> Tally {
        let latest = self.lock();
        let (heard, silent) = latest.count();
        let (waiting, overdue) = self.queue().behind(Instant::now());
        let stretch = self.stretch();
        let streams = latest.streams();
        let plans = latest.statuses.sums();
        Tally { heard, silent, streams, plans, waiting, overdue, stretch }
    }

    /// Returns the Plans that changed since the last call, each with the time of its latest change. For one reader.
    pub fn take_changed(&self) -> BTreeMap<Name, Instant> {
        self.lock().statuses.take_changed()
    }

    /// Returns a receiver that changes when [`Desk::take_changed`] has new entries.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.news.subscribe()
    }

    /// Ends leases in time and publishes verdicts, and never returns.
    ///
    /// # Errors
    /// Never returns an error.
    pub async fn keep_leases(self: Arc<Self>) -> anyhow::Result<()> {
        // A separate task: publishing waits for the state's lock, and the checks of leases must not.
        let mut publishing = JoinSet::new();
        publishing.spawn(self.clone().keep_publishing());
        loop {
            let deadline = self.lock().deadline();
            let wait = deadline.map_or(LOOK, |at| at.saturating_duration_since(Instant::now()));
            tokio::time::sleep(wait.clamp(Duration::from_millis(1), LOOK)).await;
            let mut latest = self.lock();
            let now = Instant::now();
            let news = latest.lapse(now, |node| self.feed.has_node(node));
            self.note_stretch(latest.stretch());
            self.queue_news(&latest, news, now);
        }
    }

    /// Publishes the Health of changed nodes, the oldest first, and never returns.
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

    /// Publishes the current Health of the first nodes in the queue. Returns false if none is due.
    fn publish_some(&self) -> bool {
        let nodes = self.queue().take(AT_ONCE, Instant::now());
        if nodes.is_empty() {
            return false;
        }
        let latest = self.lock();
        let news: Vec<NodeHealth> = nodes.into_iter().map(|node| latest.news_of(node)).collect();
        drop(latest);
        self.feed.tell_health(news);
        true
    }

    /// Returns how much longer than usual a stream of reports may be silent, because this hub is late.
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

    /// Returns the check for reporting agents: it is the feed's, and an agent may report on its own node only.
    fn door(&self) -> &Door {
        self.feed.door()
    }

    fn attach(&self, hello: &Hello) -> Result<Attached, String> {
        self.lock().attach(hello, Instant::now())
    }

    /// Applies a report that arrived at this time. Returns the latest known epoch of the node.
    fn take(
        &self,
        stream: &mut Attached,
        mut report: Report,
        first: bool,
        arrived: Instant,
    ) -> Result<u64, String> {
        let names = report.names.take();
        let mut latest = self.lock();
        let news = latest.take(stream, report, first, arrived)?;
        let epoch = latest.epoch_of(&stream.node);
        let names = names.filter(|_| latest.is_newest(stream));
        self.queue_news(&latest, news, Instant::now());
        drop(latest);
        if let Some(ProxyNames { names }) = names {
            let names = names.into_iter().map(|one| (one.uid.into(), one.name)).collect();
            self.feed.load(|index, now_ms| index.set_announced(&stream.node, names, now_ms));
        }
        Ok(epoch)
    }

    fn detach(&self, stream: &Attached) {
        self.lock().detach(stream);
    }

    /// Queues the nodes. Their state is read from `latest` when they are published.
    fn queue_news(&self, latest: &LatestReports, news: impl IntoIterator<Item = NodeHealth>, now: Instant) {
        let pause = LONGEST_PAUSE.min(PAUSE + self.stretch() / 4);
        let mut news = news.into_iter().peekable();
        if news.peek().is_some() {
            let mut queue = self.queue();
            news.for_each(|one| queue.push(&one.node, pause, now));
            self.waiting.notify_one();
        }
        if latest.statuses.has_news() {
            self.news.send_modify(|n| *n += 1);
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, LatestReports> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
