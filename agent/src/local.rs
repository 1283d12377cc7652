//! The agent's world behind its lock, with what wakes the tasks around it, and the proxies' source. Entry point:
//! [`Local`].

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use portreeve_api::PlanType;
use portreeve_api::model::NodeProxy;
use portreeve_api::pod::Pod;
use portreeve_xds::{Budget, Event, Hello, Name, Peer, Source, StreamGuard, StreamInfo, View};
use tokio::sync::{Notify, watch};
use tonic::Status;

use crate::fleet::Tally;
use crate::health::Watched;
use crate::identity::Door;
use crate::restore;
use crate::status::{Book, Statuses};
use crate::store::{Content, Key, Problem, Restored, Saver};
use crate::traces::Tracer;
use crate::translate::ProxyModel;
use crate::world::{Effects, Host, ProxyId, World};

mod presence;
mod verbs;

pub use verbs::{FeedSink, PodVerbs};

/// How long a proxy that connects is waited for in the pod watch: its pod may be newer than what was seen.
const UNKNOWN_PROXY: Duration = Duration::from_secs(5);

/// How long a proxy that connects is kept waiting for the first answers for host names of its Plans. Then it is served all
/// else, and nothing that it runs is taken away.
const UNANSWERED_NAMES: Duration = Duration::from_secs(3);

/// The agent's state, shared by its tasks.
pub struct Local {
    node: String,
    door: Door,
    inner: Mutex<Inner>,
    /// Counts the changes of the world, for those who wait for something in it.
    generation: watch::Sender<u64>,
    /// Counts the changes of the NodeProxies that this node runs.
    proxies: watch::Sender<u64>,
    /// Told when a presumption begins.
    presumptions: Notify,
    /// Counts the changes of the host names that are wanted.
    hosts: watch::Sender<u64>,
    /// How far each Plan is.
    statuses: watch::Sender<Statuses>,
    /// What others follow of the health on this node.
    pub health: Watched,
    /// Where what is learned is kept. Used under the lock, so that the newest is what is kept.
    saver: Saver,
    /// Who tells what becomes of changes, if anybody wants to know.
    tracer: OnceLock<Tracer>,
}

struct Inner {
    world: World,
    watermark: Option<Arc<str>>,
    /// A kept NodeProxy can't be read.
    doubtful: bool,
    book: Book,
}

// === impl Local ===

impl Local {
    /// The state of the agent of `node`, with the door of its socket. Nothing is kept.
    pub fn new(node: impl Into<String>, world: World, door: Door) -> Arc<Self> {
        Self::restored(node, world, door, Default::default())
    }

    /// The same, as an earlier agent kept it, until hub and API server say otherwise.
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
        let inner = Inner { world, watermark, doubtful, book: Book::default() };
        Arc::new(Self {
            node,
            door,
            inner: Mutex::new(inner),
            generation: watch::Sender::new(0),
            proxies: watch::Sender::new(0),
            presumptions: Notify::new(),
            hosts: watch::Sender::new(0),
            statuses: watch::Sender::default(),
            health: Watched::default(),
            saver,
            tracer: OnceLock::new(),
        })
    }

    /// Has changes traced. What was said first holds.
    pub fn trace(&self, tracer: Tracer) {
        let _ = self.tracer.set(tracer);
    }

    /// What is wrong with the store.
    pub fn store_problems(&self) -> Vec<Problem> {
        self.saver.problems()
    }

    /// The node's name.
    pub fn node(&self) -> &str {
        &self.node
    }

    /// Who is let in, whose word counts for it, and how many were not.
    pub fn door(&self) -> &Door {
        &self.door
    }

    /// Looks at the world.
    pub fn read<R>(&self, look: impl FnOnce(&World) -> R) -> R {
        look(&self.lock().world)
    }

    /// What all proxies said, in numbers.
    pub fn tally(&self) -> Tally {
        self.lock().world.tally()
    }

    /// How far each Plan is on this node: the newest word, published when one differs.
    pub fn statuses(&self) -> watch::Receiver<Statuses> {
        self.statuses.subscribe()
    }

    /// Replaces the node's pods.
    pub fn reset_pods(&self, pods: Vec<Pod>) {
        self.change(|world| {
            let listed: BTreeSet<Name> = pods.iter().map(|pod| pod.uid.clone()).collect();
            let gone = world.pods().filter(|uid| !listed.contains(*uid));
            gone.for_each(|uid| self.saver.remove(Key::Pod(uid.clone())));
            pods.iter().for_each(|pod| self.save_pod(pod));
            world.reset_pods(pods);
        });
    }

    /// A host name's addresses.
    pub fn set_host(&self, host: &Host, addresses: Vec<IpAddr>) {
        self.change(|world| {
            world.set_host(host, addresses);
            if let Some(known) = world.addresses_of(host) {
                self.saver.put(Key::Host(host.clone()), Content::Host(known));
            }
        });
    }

    fn save_pod(&self, pod: &Pod) {
        match pod.finished {
            true => self.saver.remove(Key::Pod(pod.uid.clone())),
            false => self.saver.put(Key::Pod(pod.uid.clone()), Content::Pod(pod.clone())),
        }
    }

    /// The hub that feeds this agent was heard then.
    pub fn hub_heard(&self, at: Instant) {
        let mut inner = self.lock();
        // Twice a second, and mostly nothing but a later end of the lease: nobody has to be told of that.
        if inner.world.health().lease_deadline().is_some() {
            return inner.world.hub_heard(at);
        }
        drop(inner);
        self.change(|world| world.hub_heard(at));
    }

    /// Follows changes of anything.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.generation.subscribe()
    }

    /// Follows changes of the NodeProxies.
    pub fn proxy_changes(&self) -> watch::Receiver<u64> {
        self.proxies.subscribe()
    }

    /// Follows changes of the wanted host names.
    pub fn host_changes(&self) -> watch::Receiver<u64> {
        self.hosts.subscribe()
    }

    /// The NodeProxies that this node runs, `None` for one that makes no sense; `None` in all while the hub has not said
    /// everything, or one that was kept can't be read: an incomplete answer would end proxies that are wanted.
    pub fn node_proxies(&self) -> Option<BTreeMap<Name, Option<NodeProxy>>> {
        let inner = self.lock();
        let known = inner.world.complete() && (!inner.doubtful || inner.world.heard_node_proxies());
        let all = inner.world.wanted_node_proxies();
        known.then(|| all.map(|(name, proxy)| (name.clone(), proxy.cloned())).collect())
    }

    /// Changes the world, and tells everybody.
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

    /// Publishes the statuses that differ. Under the lock: what is published is never older than what was before.
    fn settle(&self, inner: &mut Inner) {
        inner.book.touch(inner.world.take_touched());
        if !inner.book.is_clean() {
            let Inner { world, book, .. } = inner;
            self.statuses.send_if_modified(|statuses| book.settle(world, statuses));
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

    /// Opens a proxy's view; `patient`: only once the names of its Plans are answered.
    fn try_open<T: ProxyModel>(&self, id: &ProxyId, hello: &Hello, patient: bool) -> Option<Arc<View<T>>> {
        let mut inner = self.lock();
        if !inner.world.complete() || (patient && !inner.world.settled(T::KIND, id)) {
            return None;
        }
        let view = inner.world.open::<T>(id)?;
        // Beside a process that still has sessions, a new one gets what that one has.
        if hello.fresh && inner.world.is_alone::<T>(id) {
            inner.world.restarted::<T>(id);
        }
        inner.world.welcome::<T>(hello.stream, id);
        restore::save(&mut inner.world, &self.saver);
        self.settle(&mut inner);
        drop(inner);
        self.generation.send_modify(|n| *n += 1);
        Some(view)
    }

    fn note<T: ProxyModel>(&self, stream: u64, event: &Event<T>) {
        let mut inner = self.lock();
        let Some(id) = inner.world.at_stream::<T>(stream).cloned() else { return };
        inner.world.answered(&id, event);
        restore::save(&mut inner.world, &self.saver);
        self.settle(&mut inner);
        drop(inner);
        self.tracer.get().inspect(|tracer| tracer.answered(&id, event));
        self.generation.send_modify(|n| *n += 1);
    }
}

impl<T: ProxyModel> Source<T> for Local {
    fn admit(&self, peer: &Peer) -> Result<StreamGuard, Status> {
        self.door.begin(peer)
    }

    async fn open(&self, hello: Hello) -> Result<Arc<View<T>>, Status> {
        let claimed = &*hello.node.id;
        let id = self.door.proxy(&hello.peer, claimed)?;
        let mut changes = self.changes();
        // While the hub has not said everything there is no answer: an empty one would take listeners away.
        let known = async {
            let patience = tokio::time::sleep(UNANSWERED_NAMES);
            tokio::pin!(patience);
            loop {
                let id = self.read(|world| world.embodied(&id));
                if let Some(view) = self.try_open(&id, &hello, !patience.is_elapsed()) {
                    return (id, view);
                }
                // The sender lives as long as self.
                tokio::select! {
                    _ = changes.changed() => {}
                    () = &mut patience, if !patience.is_elapsed() => {}
                }
            }
        };
        let complete = async {
            let mut changes = self.changes();
            // The sender lives as long as self.
            while !self.read(World::complete) && changes.changed().await.is_ok() {}
            tokio::time::sleep(UNKNOWN_PROXY).await;
        };
        tokio::select! {
            (id, view) = known => {
                tracing::info!(proxy = %id, pid = hello.peer.pid, claimed, "proxy connected");
                Ok(view)
            }
            () = complete => {
                let pid = hello.peer.pid.unwrap_or_default();
                let named = self.read(|world| world.embodied(&id));
                let of = if named == id { id.to_string() } else { format!("{id}, which embodies {named}") };
                Err(self.door.deny(&format!("process {pid} of {of}, which is not known on this node")))
            }
        }
    }

    fn event(&self, stream: &StreamInfo, event: &Event<T>) {
        self.note(stream.id, event);
    }

    fn budget(&self, stream: &StreamInfo) -> Option<Arc<Budget>> {
        self.door.budget(&stream.peer)
    }

    fn exhausted(&self, stream: &StreamInfo, text: &str) {
        self.door.exhausted(&stream.peer, text);
    }

    fn closed(&self, stream: &StreamInfo) {
        let mut inner = self.lock();
        let Some((id, alone)) = inner.world.part::<T>(stream.id, Instant::now()) else { return };
        self.settle(&mut inner);
        drop(inner);
        if alone {
            self.presumptions.notify_one();
        }
        tracing::info!(proxy = %id, "proxy disconnected");
        self.generation.send_modify(|n| *n += 1);
    }
}
