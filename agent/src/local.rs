//! The agent's world behind a lock ([`Local`]). It notifies the agent's tasks of changes and serves the
//! proxies' views.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use portreeve_agent_core::fleet::Tally;
use portreeve_agent_core::status::{DueStatuses, Statuses};
use portreeve_agent_core::world::{Effects, Host, ProxyId, World};
use portreeve_api::PlanType;
use portreeve_api::model::NodeProxy;
use portreeve_api::pod::Pod;
use portreeve_xds::Name;
use tokio::sync::{Notify, watch};

use crate::identity::Door;
use crate::own_health::Watched;
use crate::restore;
use crate::store::{Content, Key, Problem, Restored, Saver};
use crate::traces::Tracer;

mod announced;
mod presence;
mod streams;
#[cfg(test)]
mod tests;
mod verbs;

pub use verbs::{FeedSink, PodVerbs};

/// How long a starting agent waits for the hub before it acts on what it has stored. That may be older than what runs: what changed
/// in the tenth of a second before an agent was killed is not on its disk.
const FIRST_WORD: Duration = Duration::from_secs(3);

/// The agent's state, shared by its tasks.
pub struct Local {
    node: String,
    /// Until when the hub's first word is waited for.
    patience: tokio::time::Instant,
    door: Door,
    inner: Mutex<Inner>,
    /// Counts changes of the world, to notify waiting tasks.
    generation: watch::Sender<u64>,
    /// Counts changes of the NodeProxies that this node runs.
    proxies: watch::Sender<u64>,
    /// Notified when a disconnected proxy starts counting as present.
    presumptions: Notify,
    /// Counts changes of the set of host names to resolve.
    hosts: watch::Sender<u64>,
    /// The `node.id` that each pod's proxy announced last, by the pod's uid.
    announced: watch::Sender<BTreeMap<Name, String>>,
    /// The status of each Plan.
    statuses: watch::Sender<Statuses>,
    /// The health state that other tasks watch.
    pub health: Watched,
    /// Saves changes to the store. Used under the lock, so that the newest state is saved last.
    saver: Saver,
    /// Records spans for changes, if tracing is enabled.
    tracer: OnceLock<Tracer>,
}

struct Inner {
    world: World,
    watermark: Option<Arc<str>>,
    /// A NodeProxy in the store can't be read.
    doubtful: bool,
    due: DueStatuses,
}

// === impl Local ===

impl Local {
    /// Returns the state of the agent of `node`, with the access control of its socket. Nothing is stored.
    pub fn new(node: impl Into<String>, world: World, door: Door) -> Arc<Self> {
        Self::restored(node, world, door, Default::default())
    }

    /// Like [`Self::new`], with the stored state of an earlier agent, which is used until the hub and the API
    /// server send theirs.
    pub fn restored(
        node: impl Into<String>,
        mut world: World,
        door: Door,
        (saver, kept): (Saver, Restored),
    ) -> Arc<Self> {
        let node = node.into();
        world.set_node(&node);
        let (watermark, doubtful) = (kept.watermark.clone(), kept.lost_any(PlanType::NodeProxy));
        restore::restore(&mut world, kept, &saver);
        world.presume_all(Instant::now());
        let announced = watch::Sender::new(world.announced().clone());
        let inner = Inner { world, watermark, doubtful, due: DueStatuses::default() };
        Arc::new(Self {
            node,
            patience: tokio::time::Instant::now() + FIRST_WORD,
            door,
            inner: Mutex::new(inner),
            generation: watch::Sender::new(0),
            proxies: watch::Sender::new(0),
            presumptions: Notify::new(),
            hosts: watch::Sender::new(0),
            announced,
            statuses: watch::Sender::default(),
            health: Watched::default(),
            saver,
            tracer: OnceLock::new(),
        })
    }

    /// Enables tracing of changes. Further calls have no effect.
    pub fn trace(&self, tracer: Tracer) {
        let _ = self.tracer.set(tracer);
    }

    /// Returns the problems of the store.
    pub fn store_problems(&self) -> Vec<Problem> {
        self.saver.problems()
    }

    /// Returns the node's name.
    pub fn node(&self) -> &str {
        &self.node
    }

    /// Returns the access control of the proxies' socket.
    pub fn door(&self) -> &Door {
        &self.door
    }

    /// Reads the world under the lock.
    pub fn read<R>(&self, look: impl FnOnce(&World) -> R) -> R {
        look(&self.lock().world)
    }

    /// Reads the world if it is no older than what runs on this node, as far as can be known: the hub has sent everything, or it was
    /// waited for long enough. Otherwise returns `None`. [`Self::changes`] tells when that changes.
    pub fn read_newest<R>(&self, look: impl FnOnce(&World) -> R) -> Option<R> {
        let world = &self.lock().world;
        self.is_newest(world).then(|| look(world))
    }

    fn is_newest(&self, world: &World) -> bool {
        world.heard_all() || world.complete() && tokio::time::Instant::now() >= self.patience
    }

    /// Tells the tasks that watch changes when the hub was waited for long enough. Never returns.
    pub async fn end_patience(&self) {
        tokio::time::sleep_until(self.patience).await;
        self.generation.send_modify(|n| *n += 1);
        std::future::pending().await
    }

    /// Returns the counts of streams, ACKs and NACKs over all proxies.
    pub fn tally(&self) -> Tally {
        self.lock().world.tally()
    }

    /// Watches the statuses of this node's Plans. Notified when a status changes.
    pub fn statuses(&self) -> watch::Receiver<Statuses> {
        self.statuses.subscribe()
    }

    /// Replaces the node's pods.
    pub fn reset_pods(&self, pods: Vec<Pod>) {
        self.change(|world| {
            let listed: BTreeSet<Name> = pods.iter().map(|pod| pod.uid.clone()).collect();
            let gone = world.pods().filter(|uid| !listed.contains(*uid));
            gone.for_each(|uid| self.saver.remove(Key::Pod(uid.clone())));
            pods.iter().for_each(|pod| self.save_pod(world, pod));
            world.reset_pods(pods);
        });
    }

    /// Sets a host name's addresses.
    pub fn set_host(&self, host: &Host, addresses: Vec<IpAddr>) {
        self.change(|world| {
            world.set_host(host, addresses);
            if let Some(known) = world.addresses_of(host) {
                self.saver.put(Key::Host(host.clone()), Content::Host(known));
            }
        });
    }

    fn save_pod(&self, world: &World, pod: &Pod) {
        let announced = || world.announced().get(&pod.uid).cloned().unwrap_or_default();
        match pod.finished {
            true => self.saver.remove(Key::Pod(pod.uid.clone())),
            false => self.saver.put(Key::Pod(pod.uid.clone()), Content::Pod(pod.clone(), announced())),
        }
    }

    /// Saves the name that a pod's proxy announces, and notifies the tasks that watch these names.
    fn note_announced(&self, world: &World, id: &ProxyId) {
        let ProxyId::Pod(uid) = id else { return };
        let news = self.announced.send_if_modified(|known| {
            let differs = known.get(uid) != world.announced().get(uid);
            if differs {
                known.clone_from(world.announced());
            }
            differs
        });
        if let Some(pod) = world.pod(uid).filter(|_| news) {
            self.save_pod(world, pod);
        }
    }

    /// Watches the `node.id` that each pod's proxy announced last, by the pod's uid.
    pub fn announced(&self) -> watch::Receiver<BTreeMap<Name, String>> {
        self.announced.subscribe()
    }

    /// Records when the hub that feeds this agent was heard.
    pub fn hub_heard(&self, at: Instant) {
        let mut inner = self.lock();
        // This is called twice a second and mostly just renews the lease, which no task needs to know.
        if inner.world.health().lease_deadline().is_some() {
            return inner.world.hub_heard(at);
        }
        drop(inner);
        self.change(|world| world.hub_heard(at));
    }

    /// Watches all changes.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.generation.subscribe()
    }

    /// Watches changes of the NodeProxies.
    pub fn proxy_changes(&self) -> watch::Receiver<u64> {
        self.proxies.subscribe()
    }

    /// Watches changes of the set of host names to resolve.
    pub fn host_changes(&self) -> watch::Receiver<u64> {
        self.hosts.subscribe()
    }

    /// Returns the NodeProxies that this node runs, with `None` for invalid ones. Returns `None` while
    /// [what is known may be older](Self::read_newest) than what runs, or while a stored NodeProxy can't be read: an incomplete
    /// list would end proxies that are wanted.
    pub fn node_proxies(&self) -> Option<BTreeMap<Name, Option<NodeProxy>>> {
        let inner = self.lock();
        let known = self.is_newest(&inner.world) && (!inner.doubtful || inner.world.heard_node_proxies());
        let all = inner.world.wanted_node_proxies();
        known.then(|| all.map(|(name, proxy)| (name.clone(), proxy.cloned())).collect())
    }

    /// Changes the world, saves the changes, and notifies the tasks that watch it.
    pub(crate) fn change<R>(&self, change: impl FnOnce(&mut World) -> R) -> R {
        let mut inner = self.lock();
        let answer = change(&mut inner.world);
        let faults = inner.world.take_faults();
        restore::save(&mut inner.world, &self.saver);
        self.settle(&mut inner);
        self.health.follow(inner.world.health());
        drop(inner);
        for fault in faults {
            tracing::warn!(
                proxy = fault.proxy,
                listener = &*fault.listener,
                error = fault.text,
                "listener not served"
            );
        }
        self.generation.send_modify(|n| *n += 1);
        answer
    }

    /// Publishes the statuses that changed. Requires the lock, so that no older status replaces a newer one.
    fn settle(&self, inner: &mut Inner) {
        inner.due.touch(inner.world.take_touched());
        if !inner.due.is_clean() {
            let Inner { world, due, .. } = inner;
            self.statuses.send_if_modified(|statuses| due.settle(world, statuses));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn react(&self, effects: &Effects) {
        for error in &effects.refused {
            tracing::warn!(error, "what the hub sent makes no sense, the version before it stays in force");
        }
        if effects.proxies {
            self.proxies.send_modify(|n| *n += 1);
        }
        if effects.hosts {
            self.hosts.send_modify(|n| *n += 1);
        }
    }
}
