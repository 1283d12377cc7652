//! The agent's world behind its lock, with what wakes the tasks around it: the feed's sink and the proxies' source.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use portreeve_api::names::WATERMARK_KEY;
use portreeve_api::pod::Pod;
use portreeve_api::{PlanType, plan};
use portreeve_runtime::watch::Verbs;
use portreeve_xds::envoy::EnvoyType;
use portreeve_xds::{
    Delta, Event, Hello, Name, Node, Peer, Sink, Source, StreamGuard, StreamInfo, Version, View,
};
use tokio::sync::watch;
use tonic::Status;

use crate::health::Watched;
use crate::identity::Door;
use crate::link::Link;
use crate::status::{Book, Statuses, plan_of};
use crate::world::{Effects, Host, ProxyId, World};

/// How long a proxy that connects is waited for in the pod watch: its pod may be newer than what was seen.
const UNKNOWN_PROXY: Duration = Duration::from_secs(5);

/// The agent's state, shared by its tasks.
pub struct Local {
    node: String,
    door: Door,
    inner: Mutex<Inner>,
    /// Counts the changes of the world, for those who wait for something in it.
    generation: watch::Sender<u64>,
    /// Counts the changes of the NodeProxies that this node runs.
    proxies: watch::Sender<u64>,
    /// Counts the changes of the host names that are wanted.
    hosts: watch::Sender<u64>,
    /// How far each Plan is.
    statuses: watch::Sender<Statuses>,
    /// What others follow of the health on this node.
    pub health: Watched,
}

struct Inner {
    world: World,
    watermark: Option<Arc<str>>,
    streams: HashMap<u64, ProxyId>,
    answers: BTreeMap<ProxyId, Answers>,
    book: Book,
}

/// What a proxy said of what it was sent.
#[derive(Clone, Debug, Default)]
pub struct Answers {
    /// Streams that are open now.
    pub streams: usize,
    /// The version of each resource that was last accepted.
    pub accepted: BTreeMap<(EnvoyType, Name), Version>,
    /// Resources that were refused.
    pub refused: BTreeMap<(EnvoyType, Name), Refusal>,
}

/// What a proxy refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The version that it refused: of a later one nothing is known yet.
    pub version: Version,
    /// The proxy's own words.
    pub text: String,
}

/// The feed's end in the agent, and how the agent proves to the hub whose it is.
pub struct FeedSink(pub Arc<Local>, pub Link);

/// The verbs of the pod watch.
pub struct PodVerbs(pub Arc<Local>);

// === impl Local ===

impl Local {
    /// The state of the agent of `node`, with the door of its socket.
    pub fn new(node: impl Into<String>, mut world: World, door: Door) -> Arc<Self> {
        let node = node.into();
        world.set_node(&node);
        let inner = Inner {
            world,
            watermark: None,
            streams: HashMap::new(),
            answers: BTreeMap::new(),
            book: Book::default(),
        };
        Arc::new(Self {
            node,
            door,
            inner: Mutex::new(inner),
            generation: watch::Sender::new(0),
            proxies: watch::Sender::new(0),
            hosts: watch::Sender::new(0),
            statuses: watch::Sender::default(),
            health: Watched::default(),
        })
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

    /// What each proxy said.
    pub fn answers(&self) -> BTreeMap<ProxyId, Answers> {
        self.lock().answers.clone()
    }

    /// Looks at the world and at what the proxies said of it, at one moment.
    pub fn survey<R>(&self, look: impl FnOnce(&World, &BTreeMap<ProxyId, Answers>) -> R) -> R {
        let inner = self.lock();
        look(&inner.world, &inner.answers)
    }

    /// How far each Plan is on this node: the newest word, published when one differs.
    pub fn statuses(&self) -> watch::Receiver<Statuses> {
        self.statuses.subscribe()
    }

    /// Replaces the node's pods.
    pub fn reset_pods(&self, pods: Vec<Pod>) {
        self.change(|world| world.reset_pods(pods));
    }

    /// A host name's addresses.
    pub fn set_host(&self, host: &Host, addresses: Vec<IpAddr>) {
        self.change(|world| world.set_host(host, addresses));
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

    /// The NodeProxies that this node runs; none while the hub has not said everything: an incomplete answer would
    /// end proxies that are wanted.
    pub fn node_proxies(&self) -> Option<BTreeMap<Name, plan::NodeProxy>> {
        let inner = self.lock();
        inner.world.complete().then(|| inner.world.node_proxies().clone())
    }

    /// Changes the world, and tells everybody.
    pub(crate) fn change<R>(&self, change: impl FnOnce(&mut World) -> R) -> R {
        let mut inner = self.lock();
        let answer = change(&mut inner.world);
        let faults = inner.world.take_faults();
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
            let Inner { world, answers, book, .. } = inner;
            self.statuses.send_if_modified(|statuses| book.settle(world, answers, statuses));
        }
    }

    /// All Plans of a proxy may stand differently.
    fn touch_proxy(&self, inner: &mut Inner, id: &ProxyId) {
        let Inner { world, book, .. } = &mut *inner;
        if let Some(proxy) = world.proxies().get(id) {
            book.touch(world.taken_by(&proxy.facts));
        }
        self.settle(inner);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn react(&self, effects: &Effects) {
        if effects.proxies {
            self.proxies.send_modify(|n| *n += 1);
        }
        if effects.hosts {
            self.hosts.send_modify(|n| *n += 1);
        }
    }

    fn try_open(&self, id: &ProxyId, stream: u64) -> Option<Arc<View<EnvoyType>>> {
        let mut inner = self.lock();
        if !inner.world.settled() {
            return None;
        }
        let view = inner.world.open(id)?;
        inner.streams.insert(stream, id.clone());
        inner.answers.entry(id.clone()).or_default().streams += 1;
        self.touch_proxy(&mut inner, id);
        drop(inner);
        self.generation.send_modify(|n| *n += 1);
        Some(view)
    }

    fn note(&self, stream: u64, event: &Event<EnvoyType>) {
        let mut inner = self.lock();
        let Some(id) = inner.streams.get(&stream).cloned() else { return };
        let Inner { answers, book, .. } = &mut *inner;
        let answers = answers.entry(id.clone()).or_default();
        match event {
            Event::Acked { ty, resources, removed } => {
                let names = resources.iter().map(|(name, _)| name).chain(removed);
                book.touch(names.map(|name| plan_of(name).into()));
                for (name, version) in resources {
                    answers.refused.remove(&(*ty, name.clone()));
                    answers.accepted.insert((*ty, name.clone()), *version);
                }
                for name in removed {
                    answers.refused.remove(&(*ty, name.clone()));
                    answers.accepted.remove(&(*ty, name.clone()));
                }
            }
            Event::Nacked { ty, names, versions, detail, transient } => {
                tracing::warn!(proxy = %id, resources = ?names, transient, error = detail, "proxy refused resources");
                book.touch(names.iter().map(|name| plan_of(name).into()));
                for (name, version) in names.iter().zip(versions) {
                    let refusal = Refusal { version: *version, text: detail.clone() };
                    answers.refused.insert((*ty, name.clone()), refusal);
                }
            }
            Event::Unknown { type_url } => {
                tracing::debug!(proxy = %id, %type_url, "proxy asked for a type we don't serve")
            }
        }
        self.settle(&mut inner);
        drop(inner);
        self.generation.send_modify(|n| *n += 1);
    }
}

impl Source<EnvoyType> for Local {
    fn admit(&self, peer: &Peer) -> Result<StreamGuard, Status> {
        self.door.begin(peer)
    }

    async fn open(&self, hello: Hello) -> Result<Arc<View<EnvoyType>>, Status> {
        let claimed = &*hello.node.id;
        let id = self.door.proxy(&hello.peer, claimed)?;
        let mut changes = self.changes();
        // While the hub has not said everything there is no answer: an empty one would take listeners away.
        let known = async {
            loop {
                if let Some(view) = self.try_open(&id, hello.stream) {
                    return view;
                }
                if changes.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        };
        let complete = async {
            let mut changes = self.changes();
            // The sender lives as long as self.
            while !self.read(World::settled) && changes.changed().await.is_ok() {}
            tokio::time::sleep(UNKNOWN_PROXY).await;
        };
        tokio::select! {
            view = known => {
                tracing::info!(proxy = %id, pid = hello.peer.pid, claimed, "proxy connected");
                Ok(view)
            }
            () = complete => {
                let pid = hello.peer.pid.unwrap_or_default();
                Err(self.door.deny(&format!("process {pid} of {id}, which is not known on this node")))
            }
        }
    }

    fn event(&self, stream: &StreamInfo, event: &Event<EnvoyType>) {
        self.note(stream.id, event);
    }

    fn closed(&self, stream: &StreamInfo) {
        let mut inner = self.lock();
        let Some(id) = inner.streams.remove(&stream.id) else { return };
        if let Some(answers) = inner.answers.get_mut(&id) {
            answers.streams = answers.streams.saturating_sub(1);
            // A proxy that comes back says anew what it accepts.
            if answers.streams == 0 {
                let gone = inner.answers.remove(&id).unwrap_or_default();
                // Among them may be Plans that were withdrawn and waited for this proxy.
                inner.book.touch(gone.accepted.keys().map(|(_, name)| plan_of(name).into()));
            }
        }
        self.touch_proxy(&mut inner, &id);
        drop(inner);
        tracing::info!(proxy = %id, "proxy disconnected");
        self.generation.send_modify(|n| *n += 1);
    }
}

// === impl FeedSink ===

impl Sink<PlanType> for FeedSink {
    fn node(&self) -> Node {
        let mut node = Node { id: self.0.node.clone(), ..Node::default() };
        if let Some(watermark) = &self.0.lock().watermark {
            node.metadata.insert(WATERMARK_KEY.into(), watermark.to_string());
        }
        node
    }

    fn known(&self) -> Vec<(PlanType, Name, Version)> {
        self.0.lock().world.held().iter().map(|((ty, name), version)| (*ty, name.clone(), *version)).collect()
    }

    fn apply(&mut self, delta: Delta<PlanType>) -> Result<(), String> {
        let upsert: Vec<(Name, Version, Bytes)> =
            delta.upsert.into_iter().map(|u| (u.name, u.version, u.body)).collect();
        let effects = self.0.change(|world| {
            let was_complete = world.complete();
            let effects = world.apply_feed(delta.ty, &upsert, &delta.removed)?;
            // What a complete word does not name is not wanted: that is news of the NodeProxies as well.
            let completed = !was_complete && world.complete();
            Ok::<_, String>(Effects { proxies: effects.proxies || completed, ..effects })
        })?;
        if let Some(watermark) = delta.watermark {
            self.0.lock().watermark = Some(watermark);
        }
        self.0.react(&effects);
        Ok(())
    }

    fn connected(&mut self, connected: bool) {
        tracing::info!(connected, "hub");
        self.0.change(|world| world.hub_connected(connected, Instant::now()));
    }

    fn headers(&self) -> http::HeaderMap {
        self.1.headers()
    }
}

// === impl PodVerbs ===

impl Verbs<Pod> for PodVerbs {
    fn apply(&mut self, pod: Pod) {
        self.0.change(|world| world.apply_pod(pod));
    }

    fn delete(&mut self, pod: Pod) {
        self.0.change(|world| world.delete_pod(&pod.uid));
    }

    fn reset(&mut self, pods: Vec<Pod>) {
        self.0.reset_pods(pods);
    }
}
