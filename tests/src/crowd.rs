//! Many agents in one process: a [`Member`] uses an agent's own client code (feed, reports, TLS) with a book instead of
//! proxies. It accepts and acknowledges everything that the hub sends, and reports like an agent with healthy proxies.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use hyper::http::{HeaderMap, Uri};
use portreeve_agent::link::Link;
use portreeve_agent::replicas::{Places, Replicas, run_feed};
use portreeve_agent::reports::Reports;
use portreeve_api::PlanType;
use portreeve_api::plan::{EndpointSlice, Health, Plan, Unhealthy};
use portreeve_api::report::PlanStatus;
use portreeve_runtime::Shutdown;
use portreeve_xds::{Delta, Name, Node, Sink, Version};
use prost::Message;
use tokio::task::JoinSet;

/// The epoch of all members. No member is started twice.
const EPOCH: u64 = 1;

/// One agent, which ends on drop.
pub struct Member {
    /// The agent's node.
    pub node: String,
    reports: Reports,
    held: Arc<Mutex<Held>>,
    _tasks: JoinSet<()>,
}

/// Sees everything that a member receives.
pub trait Observer: Send + Sync {
    /// Called with each response before the member acknowledges it.
    fn received(&self, delta: &Delta<PlanType>);
}

/// The resources that a member received.
#[derive(Debug, Default)]
pub struct Held {
    /// The newest version of each resource.
    pub resources: HashMap<(PlanType, Name), Version>,
    /// The resources of type Health, by node.
    pub health: HashMap<Name, Health>,
    /// The resources of type Plan.
    pub plans: HashMap<Name, Plan>,
    /// The slices of groups.
    pub slices: HashMap<Name, EndpointSlice>,
    /// Number of received resources, including repeated ones.
    pub received: u64,
    /// Number of feed streams on which the hub answered.
    pub streams: u64,
}

/// Stores the resources that a member receives.
struct Book {
    node: String,
    link: Link,
    reports: Reports,
    held: Arc<Mutex<Held>>,
    observer: Option<Arc<dyn Observer>>,
}

// === impl Member ===

impl Member {
    /// Starts the agent of a node.
    pub fn start(node: &str, hub: Uri, link: Link) -> Self {
        Self::start_with(node, hub, link, None)
    }

    /// Starts the agent of a node with an observer. It keeps only the resources' versions, so that thousands of agents fit
    /// into one process.
    pub fn observed(node: &str, hub: Uri, link: Link, observer: Arc<dyn Observer>) -> Self {
        Self::start_with(node, hub, link, Some(observer))
    }

    fn start_with(node: &str, hub: Uri, link: Link, observer: Option<Arc<dyn Observer>>) -> Self {
        let (reports, replicas) = (Reports::new(EPOCH), Replicas::new(node, link.clone()));
        let held = Arc::<Mutex<Held>>::default();
        let mut tasks = JoinSet::new();
        let (places, told) = (Places::Uris(vec![hub]).follow(replicas.clone()), replicas.clone());
        tasks.spawn(async move { drop(places.await) });
        let reporting = reports.clone().run(node.to_owned(), told);
        tasks.spawn(async move { drop(reporting.await) });
        let (owner, books, said) = (node.to_owned(), held.clone(), reports.clone());
        let book = move || Book {
            node: owner.clone(),
            link: link.clone(),
            reports: said.clone(),
            held: books.clone(),
            observer: observer.clone(),
        };
        tasks.spawn(run_feed(replicas, book, Shutdown::default()));
        Self { node: node.to_owned(), reports, held, _tasks: tasks }
    }

    /// Reports these endpoints of the member's node as unhealthy, and all others as healthy.
    pub fn report(&self, unhealthy: Vec<Unhealthy>) {
        self.reports.set_health(unhealthy, Vec::new());
    }

    /// Returns the received resources.
    pub fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Held ===

impl Held {
    fn take(&mut self, delta: &Delta<PlanType>) -> Result<(), String> {
        for one in &delta.upsert {
            let (name, body) = (one.name.clone(), one.body.clone());
            match delta.ty {
                PlanType::Health => drop(self.health.insert(name, read(body)?)),
                PlanType::Plan => drop(self.plans.insert(name, read(body)?)),
                PlanType::Slice => drop(self.slices.insert(name, read(body)?)),
                _ => {}
            }
        }
        for name in &delta.removed {
            match delta.ty {
                PlanType::Health => drop(self.health.remove(name)),
                PlanType::Plan => drop(self.plans.remove(name)),
                PlanType::Slice => drop(self.slices.remove(name)),
                _ => {}
            }
        }
        Ok(())
    }

    /// Records the versions.
    fn count(&mut self, delta: &Delta<PlanType>) {
        self.received += delta.upsert.len() as u64;
        for one in &delta.upsert {
            self.resources.insert((delta.ty, one.name.clone()), one.version);
        }
        for name in &delta.removed {
            self.resources.remove(&(delta.ty, name.clone()));
        }
    }

    /// Returns a status for every Plan, as if one proxy had acknowledged it.
    fn statuses(&self) -> BTreeMap<Name, Arc<PlanStatus>> {
        let plans = self.resources.iter().filter(|((ty, _), _)| *ty == PlanType::Plan);
        let status = |((_, name), version): (&(PlanType, Name), &Version)| {
            let (plan, version) = (name.to_string(), version.0);
            let status = PlanStatus { plan, version, wanted: 1, acked: 1, ..Default::default() };
            (name.clone(), Arc::new(status))
        };
        plans.map(status).collect()
    }
}

fn read<M: Message + Default>(body: Bytes) -> Result<M, String> {
    M::decode(body).map_err(|error| error.to_string())
}

// === impl Book ===

impl Sink<PlanType> for Book {
    fn node(&self) -> Node {
        Node { id: self.node.clone(), ..Node::default() }
    }

    fn known(&self) -> Vec<(PlanType, Name, Version)> {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.resources.iter().map(|((ty, name), version)| (*ty, name.clone(), *version)).collect()
    }

    fn apply(&mut self, delta: Delta<PlanType>) -> Result<(), String> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let asked = |held: &Held| held.resources.keys().any(|(ty, _)| *ty == PlanType::Probe);
        let before = asked(&held);
        match &self.observer {
            Some(observer) => observer.received(&delta),
            None => held.take(&delta)?,
        }
        held.count(&delta);
        if delta.ty == PlanType::Plan {
            self.reports.set_plans(held.statuses());
        }
        if !before && asked(&held) {
            self.reports.set_health(Vec::new(), Vec::new());
        }
        Ok(())
    }

    fn connected(&mut self, connected: bool) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.streams += u64::from(connected);
    }

    fn headers(&self) -> HeaderMap {
        self.link.headers()
    }
}
