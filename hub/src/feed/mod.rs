//! The hub's state behind one lock, and the part of it that each connected agent sees.
//!
//! A change of custom resources enters by [`Feed::take_in`], every other change by [`Feed::change`] or, with others, by
//! [`Feed::gather`]. All publish to the affected agents before they release the lock, so that no reader sees a change without
//! its effects.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use portreeve_api::refs::ObjectRef;
use portreeve_runtime::{Heart, Readiness, now_ms};
use tokio::sync::{Notify, Semaphore, watch};

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
mod gathered;
mod objects;
mod seats;
mod shelves;
mod source;
#[cfg(test)]
mod tests;
mod version;

pub(crate) use gathered::for_a_while;
use gathered::{Gathered, TOGETHER};
use seats::{Of, Seats};

/// The number of agents that are sent very much at the same time. Each takes about 0.5 MB then at 4,000 resources.
const TURNS: usize = 16;

/// The hub's state, shared by its watches and its streams.
pub struct Feed {
    inner: Mutex<Inner>,
    /// Changes that are not taken in yet. Locked before `inner`.
    gathered: Mutex<Vec<Gathered>>,
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
            gathered: Mutex::default(),
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
        let of = of.into();
        self.take_gathered();
        self.visit(|inner, now| {
            inner.pulse.heard(of.kind, now);
            change(&mut inner.index, now);
            self.seen.send_if_modified(|seen| seen.raise(&of, revision));
        });
    }

    /// Adds a change of the index to those that are taken in together: by [`Feed::take_gathered`], which the caller soon calls,
    /// or before whatever other event of a watch comes. Events are therefore taken in as they come.
    pub fn gather(&self, of: &Watched, revision: u64, change: impl FnOnce(&mut Index, i64) + Send + 'static) {
        let mut gathered = self.lock_gathered();
        gathered.push(Gathered { of: of.clone(), revision, change: Box::new(change) });
        if gathered.len() >= TOGETHER {
            self.take_all(&mut gathered);
        }
    }

    /// Takes in what was gathered, and sends each agent the effects at once.
    pub fn take_gathered(&self) {
        self.take_all(&mut self.lock_gathered());
    }

    /// Takes in these changes. They stay locked meanwhile, so that a later change can't get in before one of them.
    fn take_all(&self, gathered: &mut Vec<Gathered>) {
        let mut changes = gathered.drain(..);
        while !changes.as_slice().is_empty() {
            self.visit(|inner, now| {
                for_a_while(&mut changes, |Gathered { of, revision, change }| {
                    inner.pulse.heard(of.kind, now);
                    change(&mut inner.index, now);
                    self.seen.send_if_modified(|seen| seen.raise(&of, revision));
                });
            });
        }
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

    /// How often the state was visited.
    #[cfg(test)]
    pub(crate) fn visits(&self) -> u64 {
        self.visits.load(Ordering::Relaxed)
    }

    fn lock_gathered(&self) -> MutexGuard<'_, Vec<Gathered>> {
        self.gathered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        #[cfg(test)]
        self.visits.fetch_add(1, Ordering::Relaxed);
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
