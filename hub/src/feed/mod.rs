//! The hub's state behind one lock, and the part of it that each connected agent sees.
//!
//! A change of custom resources enters by [`Feed::take_in`], every other change by [`Feed::change`]. Both publish to the
//! affected agents before they release the lock, so that no reader sees a change without its effects.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use portreeve_api::PlanType;
use portreeve_api::names::{PROXY_NAMES_KEY, WATERMARK_KEY};
use portreeve_api::proxy_names;
use portreeve_api::refs::ObjectRef;
use portreeve_runtime::{Heart, Readiness, now_ms};
use portreeve_xds::{Event, Hello, Source, StreamGuard, StreamInfo, View};
use tokio::sync::{Notify, Semaphore, watch};
use tonic::Status;

use crate::auth::{Door, Pass};
use crate::change::{Departing, Seen};
use crate::convergence::Course;
use crate::index::{Index, Name};
use crate::lookup::{Lookup, WantedSecrets};
use crate::node_health::NodeHealth;
use crate::pulse::Pulse;
use crate::served::Served;
use crate::traces::Tracer;
use crate::watermark::{Watched, WatchedKind, Watermark};

mod audience;
mod objects;
mod seats;
mod shelves;
#[cfg(test)]
mod tests;
mod version;

use audience::Audience;
use seats::{Of, Seats};

/// How long an agent that has seen newer state than this hub is kept waiting before it is sent to another hub.
const CATCH_UP: Duration = Duration::from_secs(2);

/// The number of agents that get their first push at the same time. Each takes about 0.5 MB then at 4,000 resources.
const TURNS: usize = 16;

/// The hub's state, shared by its watches and its streams.
pub struct Feed {
    inner: Mutex<Inner>,
    seen: watch::Sender<Watermark>,
    wanted_secrets: watch::Sender<WantedSecrets>,
    readiness: Readiness,
    door: Door,
    /// Traces changes, if tracing is enabled.
    tracer: OnceLock<Tracer>,
    turns: Arc<Semaphore>,
    /// Number of streams that ended because they subscribed to too many names.
    exhausted: AtomicU64,
    /// Beats while the state changes, and at least once a second.
    heart: Heart,
    /// Notified when there are verdicts to take or a deadline may have changed.
    pub changed: Notify,
    /// Notified when there are objects to take by [`Feed::take_allocating`].
    pub allocating: Notify,
    /// How often the state was visited.
    #[cfg(test)]
    visits: AtomicU64,
}

struct Inner {
    index: Index,
    pulse: Pulse,
    seats: Seats,
    streams: HashMap<u64, Stream>,
    /// Deleted objects whose finalizer must still be removed.
    departing: BTreeMap<ObjectRef, Departing>,
    /// What objects were last seen with since the writer last read it.
    observed: BTreeMap<ObjectRef, Seen>,
    /// Objects of kinds that ids or addresses are allocated for or from, and that changed since they were last taken, with
    /// the revisions of their changes.
    allocating: BTreeMap<ObjectRef, u64>,
    /// A hash of each object's newest version, to ignore changes of what the hub itself writes.
    versions: HashMap<ObjectRef, u64>,
    /// How long changes take.
    course: Course,
}

/// The stream of an agent.
struct Stream {
    /// The agent's node, and what it is sent of the node's resources.
    of: Of,
    pass: Pass,
}

// === impl Feed ===

impl Feed {
    /// Creates a feed that serves the clients admitted by `door`, and none before `readiness` is reached, because an
    /// incomplete response would delete resources.
    pub fn new(index: Index, readiness: Readiness, door: Door) -> Arc<Self> {
        let heart = index.heart().clone();
        let inner = Inner {
            index,
            pulse: Pulse::default(),
            seats: Seats::default(),
            streams: HashMap::new(),
            departing: BTreeMap::new(),
            observed: BTreeMap::new(),
            allocating: BTreeMap::new(),
            versions: HashMap::new(),
            course: Course::default(),
        };
        let seen = watch::Sender::new(Watermark::default());
        Arc::new(Self {
            inner: Mutex::new(inner),
            seen,
            wanted_secrets: watch::Sender::new(WantedSecrets::new()),
            readiness,
            door,
            tracer: OnceLock::new(),
            turns: Arc::new(Semaphore::new(TURNS)),
            exhausted: AtomicU64::new(0),
            heart,
            changed: Notify::new(),
            allocating: Notify::new(),
            #[cfg(test)]
            visits: AtomicU64::new(0),
        })
    }

    /// Applies a watch event to the index and publishes the differences. `revision` is the event's revision, or 0 if it has
    /// none.
    pub fn change(&self, of: impl Into<Watched>, revision: u64, change: impl FnOnce(&mut Index, i64)) {
        self.change_up_to(&of.into(), |index, now| {
            change(index, now);
            revision
        });
    }

    /// Does the same as [`Feed::change`], if only the change itself knows the revision that it reaches.
    pub fn change_up_to(&self, of: &Watched, change: impl FnOnce(&mut Index, i64) -> u64) {
        self.visit(|inner, now| {
            inner.pulse.heard(of.kind, now);
            let revision = change(&mut inner.index, now);
            self.seen.send_if_modified(|seen| seen.raise(of, revision));
        });
    }

    /// Applies a change from another source than a watch, such as a folder of manifests, and publishes the differences.
    pub fn load(&self, change: impl FnOnce(&mut Index, i64)) {
        self.visit(|inner, now| change(&mut inner.index, now));
    }

    /// Changes the state and publishes the differences under one lock.
    fn visit<R>(&self, change: impl FnOnce(&mut Inner, i64) -> R) -> R {
        let mut inner = self.lock();
        let changed = change(&mut inner, now_ms());
        // A change of custom resources has already taken its replanned objects. Nobody needs the remaining ones.
        inner.index.take_replanned();
        if let Some(wanted) = inner.index.take_wanted_secrets() {
            self.wanted_secrets.send_replace(wanted);
        }
        self.publish(&mut inner);
        drop(inner);
        self.changed.notify_one();
        changed
    }

    /// Returns the Secrets that objects ask for, as they change.
    pub fn wanted_secrets(&self) -> watch::Receiver<WantedSecrets> {
        self.wanted_secrets.subscribe()
    }

    /// Returns the heart, which beats during long changes too.
    pub fn heart(&self) -> &Heart {
        &self.heart
    }

    /// Enables tracing of changes. Only the first call has an effect.
    pub fn trace(&self, tracer: Tracer) {
        let _ = self.tracer.set(tracer);
    }

    /// Returns the tracer, if tracing is enabled.
    pub fn tracer(&self) -> Option<&Tracer> {
        self.tracer.get()
    }

    /// Answers questions that are asked on behalf of no object.
    pub fn look<R>(&self, ask: impl FnOnce(&mut Lookup<'_>) -> R) -> R {
        self.lock().index.look(ask)
    }

    /// Records that a watch's list was complete up to this revision.
    pub fn seen_up_to(&self, of: &Watched, revision: u64) {
        self.seen.send_if_modified(|seen| seen.list(of, revision));
    }

    /// Records a failure of a watch, which is retried.
    pub fn watch_failed(&self, kind: WatchedKind) {
        self.lock().pulse.failed(kind);
    }

    /// Reads or updates the convergence times.
    pub fn course<R>(&self, look: impl FnOnce(&mut Course) -> R) -> R {
        look(&mut self.lock().course)
    }

    /// Publishes the endpoint health that agents reported to the nodes that use those endpoints.
    pub fn tell_health(&self, news: impl IntoIterator<Item = NodeHealth>) {
        let mut news = news.into_iter().peekable();
        if news.peek().is_none() {
            return;
        }
        let mut inner = self.lock();
        for NodeHealth { node, health } in news {
            inner.index.set_health(&node, health.as_ref());
        }
        self.publish(&mut inner);
    }

    /// Returns whether a node exists.
    pub fn has_node(&self, name: &Name) -> bool {
        self.lock().index.has_node(name)
    }

    /// Returns the amount of resources that this hub serves.
    pub fn served(&self) -> Served {
        let inner = self.lock();
        let agents = inner.seats.shares().map(|(node, share)| (node.clone(), share)).collect();
        let (census, seen) = (inner.index.census(), self.seen.borrow().clone());
        let (Seats { pushed, pushes, .. }, pulse) = (&inner.seats, inner.pulse);
        let (pushed, pushes) = (*pushed, *pushes);
        Served { census, agents, pushed, pushes, streams: inner.streams.len(), pulse, seen }
    }

    /// Returns the number of streams since the start that ended because they subscribed to too many names.
    pub fn exhausted_streams(&self) -> u64 {
        self.exhausted.load(Ordering::Relaxed)
    }

    /// Returns the check that agents must pass.
    pub fn door(&self) -> &Door {
        &self.door
    }

    /// Ends grace periods in time, and never returns.
    pub async fn keep_time(self: Arc<Self>) -> anyhow::Result<()> {
        loop {
            let deadline = self.lock().index.deadline();
            let wait = deadline.map_or(Duration::from_secs(3600), |at| {
                Duration::from_millis(u64::try_from(at - now_ms()).unwrap_or_default())
            });
            // A deadline added meanwhile is at least a whole grace period ahead, so sleeping for one second is never
            // too long.
            tokio::time::sleep(wait.clamp(Duration::from_millis(1), Duration::from_secs(1))).await;
            let mut inner = self.lock();
            self.heart.beat();
            let now = now_ms();
            let withdrawn = inner.index.tick(now);
            self.publish(&mut inner);
            drop(inner);
            for source in withdrawn {
                tracing::warn!(source = &*source, "the pods of a source that can't be read were withdrawn");
            }
            if deadline.is_some_and(|deadline| deadline <= now) {
                self.changed.notify_one();
            }
        }
    }

    fn publish(&self, inner: &mut Inner) {
        let Inner { index, seats, .. } = &mut *inner;
        seats.publish(index, || self.watermark());
        // Checked after the change, because the change may have released withheld names.
        if let Some(withheld) = inner.index.take_withheld() {
            inner.seats.withhold(&withheld);
        }
    }

    fn watermark(&self) -> Arc<str> {
        self.seen.borrow().to_string().into()
    }

    fn attach(&self, of: Of, stream: u64, pass: Pass) -> Arc<View<PlanType>> {
        let mut inner = self.lock();
        inner.streams.insert(stream, Stream { of: of.clone(), pass });
        let Inner { index, seats, .. } = &mut *inner;
        seats.open(of, index, self.watermark())
    }

    /// Takes in the names of the node's proxies, so that the first response has their Plans.
    fn take_names(&self, hello: &Hello) -> Result<(), Status> {
        let Some(text) = hello.node.metadata.get(PROXY_NAMES_KEY) else { return Ok(()) };
        let names = proxy_names::parse(text)
            .map_err(|error| Status::invalid_argument(format!("{PROXY_NAMES_KEY}: {error}")))?;
        self.load(|index, now_ms| index.add_announced(&hello.node.id.as_str().into(), names, now_ms));
        Ok(())
    }

    async fn catch_up(&self, hello: &Hello) -> Result<(), Status> {
        let text = hello.node.metadata.get(WATERMARK_KEY).map(String::as_str).unwrap_or_default();
        let wanted: Watermark =
            text.parse().map_err(|e| Status::invalid_argument(format!("watermark: {e}")))?;
        let mut seen = self.seen.subscribe();
        let caught_up = seen.wait_for(|mark| mark.covers(&wanted));
        match tokio::time::timeout(CATCH_UP, caught_up).await {
            Ok(_) => Ok(()),
            Err(_) => {
                let mine = self.seen.borrow().clone();
                Err(Status::unavailable(format!(
                    "this hub has seen {mine}, the agent {wanted}: ask another replica"
                )))
            }
        }
    }

    /// How often the state was visited.
    #[cfg(test)]
    pub(crate) fn visits(&self) -> u64 {
        self.visits.load(Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        #[cfg(test)]
        self.visits.fetch_add(1, Ordering::Relaxed);
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Source<PlanType> for Feed {
    fn glance(&self, headers: &http::HeaderMap) -> Result<(), Status> {
        self.door.glance(headers)
    }

    async fn ready(&self) {
        self.readiness.ready().await;
    }

    async fn open(&self, hello: Hello) -> Result<Arc<View<PlanType>>, Status> {
        if hello.node.id.is_empty() {
            return Err(Status::invalid_argument("the agent's node.id is empty: it must be its node's name"));
        }
        let pass = self.door.admit(&hello.headers, &hello.node.id).await?;
        self.readiness.ready().await;
        self.catch_up(&hello).await?;
        self.take_names(&hello)?;
        tracing::info!(node = hello.node.id, "agent connected");
        let of = (hello.node.id.as_str().into(), Audience::of(&hello.node));
        Ok(self.attach(of, hello.stream, pass))
    }

    async fn turn(&self) -> StreamGuard {
        Box::new(self.turns.clone().acquire_owned().await)
    }

    fn event(&self, stream: &StreamInfo, event: &Event<PlanType>) {
        if let Event::Nacked { names, detail, .. } = event {
            tracing::warn!(node = stream.node.id, ?names, error = detail, "agent refused resources");
        }
    }

    fn exhausted(&self, stream: &StreamInfo, text: &str) {
        self.exhausted.fetch_add(1, Ordering::Relaxed);
        tracing::warn!(node = stream.node.id, error = text, "an agent's stream is ended");
    }

    fn closed(&self, stream: &StreamInfo) {
        let mut inner = self.lock();
        let Some(Stream { of, .. }) = inner.streams.remove(&stream.id) else { return };
        if !inner.streams.values().any(|one| one.of == of) {
            let Inner { index, seats, .. } = &mut *inner;
            seats.close(&of, index);
        }
        tracing::info!(node = &*of.0, "agent disconnected");
    }

    fn until(&self, stream: &StreamInfo) -> Option<Instant> {
        let inner = self.lock();
        let Stream { pass, .. } = inner.streams.get(&stream.id)?;
        pass.until.map(tokio::time::Instant::into_std)
    }
}
