//! The watches of an account's load balancers and endpoints, for the customer's end: [`watch_all`] keeps [`Known`] up to date.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use kube::core::NamespaceResourceScope;
use kube::runtime::watcher;
use kube::{Api, Client, Resource, ResourceExt as _};
use portreeve_api::c::endpoint::Endpoint;
use portreeve_api::c::load_balancer::LoadBalancer;
use portreeve_api::c::remote_endpoint::RemoteEndpoint;
use portreeve_gue::customer::{Customer, Endpoint as Facts, Facts as Balancer, Object, Way};
use portreeve_runtime::watch::{self, Verbs};
use portreeve_runtime::{Guard, Readiness, Tasks};
use serde::de::DeserializeOwned;
use tokio::sync::Notify;

/// What is known of the objects that concern a node.
pub struct Known {
    node: IpAddr,
    customer: Mutex<Customer>,
    /// Waits for the first list of each kind.
    listed: Readiness,
    changed: Notify,
}

/// A kind of objects that the customer's end reads.
trait Read:
    Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned + Send
{
    /// What is kept of an object.
    type Kept: Send;

    /// Returns what is kept of an object, of a node; `None` if it doesn't concern the node.
    fn kept(self, node: IpAddr) -> Option<Self::Kept>;

    /// Replaces what is known of an object.
    fn set(customer: &mut Customer, object: Object, kept: Option<Self::Kept>);

    /// Forgets all objects of the kind but these.
    fn keep(customer: &mut Customer, listed: &BTreeSet<Object>);
}

/// The verbs of the watch of one kind.
struct Watching(Arc<Known>);

// === impl Known ===

impl Known {
    /// Creates the knowledge of a node with this address, before anything is known.
    pub fn new(node: IpAddr) -> Self {
        let (customer, listed) = (Mutex::default(), Readiness::default());
        Self { node, customer, listed, changed: Notify::new() }
    }

    /// Waits until something changes.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Returns the node's tunnels by their numbers; `None` before all objects were listed.
    pub fn tunnels(&self) -> Option<BTreeMap<u32, Way>> {
        let customer = self.customer.lock().unwrap_or_else(PoisonError::into_inner);
        self.listed.waiting().is_empty().then(|| customer.tunnels())
    }

    /// Returns what must be dropped before the tunnels are known.
    pub fn guard(&self, name: &'static str) -> Guard {
        self.listed.guard(name)
    }

    /// Changes what is known.
    pub fn change(&self, change: impl FnOnce(&mut Customer)) {
        change(&mut self.customer.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_one();
    }
}

/// Starts the watches of an account's objects.
pub fn watch_all(tasks: &mut Tasks, client: &Client, namespace: &str, known: &Arc<Known>) {
    let guards = ["load balancers", "endpoints", "document endpoints"].map(|name| known.listed.guard(name));
    let [balancers, remote, document] = guards;
    tasks.spawn("watch of load balancers", follow::<LoadBalancer>(client, namespace, known, balancers));
    tasks.spawn("watch of endpoints", follow::<RemoteEndpoint>(client, namespace, known, remote));
    tasks.spawn("watch of the document's endpoints", follow::<Endpoint>(client, namespace, known, document));
}

fn follow<K: Read + Sync + 'static>(
    client: &Client,
    namespace: &str,
    known: &Arc<Known>,
    guard: Guard,
) -> impl Future<Output = anyhow::Result<()>> + use<K> {
    let api = Api::<K>::namespaced(client.clone(), namespace);
    let (node, verbs) = (known.node, Watching(known.clone()));
    let strip = move |one: K| {
        let object = (one.namespace().unwrap_or_default(), one.name_any());
        Some(Seen::<K> { object, kept: one.kept(node) })
    };
    watch::run(api, watcher::Config::default(), guard, strip, verbs)
}

/// An object as it was seen.
struct Seen<K: Read> {
    object: Object,
    kept: Option<K::Kept>,
}

// === impl Watching ===

impl<K: Read> Verbs<Seen<K>> for Watching {
    fn apply(&mut self, Seen { object, kept }: Seen<K>) {
        self.0.change(|customer| K::set(customer, object, kept));
    }

    fn delete(&mut self, seen: Seen<K>) {
        self.0.change(|customer| K::set(customer, seen.object, None));
    }

    fn reset(&mut self, all: Vec<Seen<K>>) {
        self.0.change(|customer| {
            K::keep(customer, &all.iter().map(|seen| seen.object.clone()).collect());
            all.into_iter().for_each(|Seen { object, kept }| K::set(customer, object, kept));
        });
    }
}

// === impl Read ===

impl Read for LoadBalancer {
    type Kept = Balancer;

    fn kept(self, node: IpAddr) -> Option<Balancer> {
        Balancer::of(&self, node)
    }

    fn set(customer: &mut Customer, object: Object, kept: Option<Balancer>) {
        customer.set_load_balancer(object, kept);
    }

    fn keep(customer: &mut Customer, listed: &BTreeSet<Object>) {
        customer.keep_load_balancers(listed);
    }
}

impl Read for RemoteEndpoint {
    type Kept = Facts;

    fn kept(self, node: IpAddr) -> Option<Facts> {
        Facts::of(self.metadata.namespace.as_deref()?, &self.form().ok()?, self.status.as_ref(), node)
    }

    fn set(customer: &mut Customer, object: Object, kept: Option<Facts>) {
        customer.set_endpoint("RemoteEndpoint", object, kept);
    }

    fn keep(customer: &mut Customer, listed: &BTreeSet<Object>) {
        customer.keep_endpoints("RemoteEndpoint", listed);
    }
}

impl Read for Endpoint {
    type Kept = Facts;

    fn kept(self, node: IpAddr) -> Option<Facts> {
        Facts::of(self.metadata.namespace.as_deref()?, &self.form().ok()?, self.status.as_ref(), node)
    }

    fn set(customer: &mut Customer, object: Object, kept: Option<Facts>) {
        customer.set_endpoint("Endpoint", object, kept);
    }

    fn keep(customer: &mut Customer, listed: &BTreeSet<Object>) {
        customer.keep_endpoints("Endpoint", listed);
    }
}
