//! The hub's watches on the API server, each turned into the index's verbs.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use k8s_openapi::api::core::v1::{Namespace as KubeNamespace, Node as KubeNode, Pod as KubePod};
use kube::core::{NamespaceResourceScope, PartialObjectMeta as Metadata};
use kube::runtime::watcher;
use kube::{Api, Client, Resource, ResourceExt};
use portreeve_api::a::virtual_service::VirtualService;
use portreeve_api::conditions::Reason;
use portreeve_api::own::node_proxy::NodeProxy;
use portreeve_api::pod::Pod;
use portreeve_runtime::watch::{Verbs, revision, run, title};
use portreeve_runtime::{Readiness, Tasks};

use crate::conditions::waits_for_us;
use crate::feed::{Departing, Feed};
use crate::index::{Key, Labels, Name};
use crate::namespaces::Namespaces as Served;
use crate::raw::Raw;
use crate::resolve::Rejection;
use crate::traces::{Moments, Tracer};
use crate::watermark::{Kind, Watched};

/// A hub that does not see changes is a hub that serves the past: it looks again soon.
const PATIENCE: Duration = Duration::from_secs(1);

/// Starts all watches: of pods and VirtualServices in the namespaces that are `served`. `readiness` is reached when each has
/// its first complete list.
pub fn spawn(
    tasks: &mut Tasks,
    client: &Client,
    feed: &Arc<Feed>,
    (served, readiness): (&Served, &Readiness),
) {
    let config = watcher::Config::default;
    for namespace in served.watched() {
        let pods: Api<KubePod> = api(client, namespace.as_ref());
        let guard = readiness.guard("pods");
        let verbs = Pods::new(feed, namespace.clone());
        tasks.spawn("watch of pods", run(pods, config(), guard, strip_pod, verbs));
        let services: Api<Raw<VirtualService>> = api(client, namespace.as_ref());
        let guard = readiness.guard("virtualservices");
        let verbs = VirtualServices::new(feed, namespace);
        tasks.spawn("watch of virtualservices", run(services, config(), guard, Some, verbs));
    }
    let nodes = Api::<KubeNode>::all(client.clone());
    let strip_node = |n: KubeNode| Some((Name::from(n.name_any()), n.labels().clone(), revision(&n)));
    tasks.spawn(
        "watch of nodes",
        run(nodes, config(), readiness.guard("nodes"), strip_node, Nodes(feed.clone())),
    );
    // Only their metadata is asked for.
    let namespaces = Api::<Metadata<KubeNamespace>>::all(client.clone());
    let strip_namespace =
        |n: Metadata<KubeNamespace>| Some((Name::from(n.name_any()), n.labels().clone(), revision(&n)));
    let guard = readiness.guard("namespaces");
    tasks.spawn(
        "watch of namespaces",
        run(namespaces, config(), guard, strip_namespace, Namespaces(feed.clone())),
    );
    let proxies = Api::<Raw<NodeProxy>>::all(client.clone());
    let guard = readiness.guard("nodeproxies");
    tasks.spawn("watch of nodeproxies", run(proxies, config(), guard, Some, NodeProxies(feed.clone())));
}

/// The objects of a namespace, or of all. A right in that namespace is enough for the former.
fn api<K>(client: &Client, namespace: Option<&Name>) -> Api<K>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
{
    match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}

fn strip_pod(pod: KubePod) -> Option<(Pod, u64)> {
    let revision = revision(&pod);
    Pod::from_kube(pod).map(|pod| (pod, revision))
}

struct Pods {
    feed: Arc<Feed>,
    of: Watched,
}

struct Nodes(Arc<Feed>);

struct Namespaces(Arc<Feed>);

struct NodeProxies(Arc<Feed>);

struct VirtualServices {
    feed: Arc<Feed>,
    of: Watched,
}

// === impl Pods ===

impl Pods {
    fn new(feed: &Arc<Feed>, namespace: Option<Name>) -> Self {
        Self { feed: feed.clone(), of: Watched { kind: Kind::Pods, namespace } }
    }
}

impl Verbs<(Pod, u64)> for Pods {
    const LONGEST_PAUSE: Duration = PATIENCE;
    const ASKS_REVISION: bool = true;

    fn failed(&mut self) {
        self.feed.watch_failed(Kind::Pods);
    }

    fn up_to(&mut self, revision: u64) {
        self.feed.seen_up_to(&self.of, revision);
    }

    fn apply(&mut self, (pod, revision): (Pod, u64)) {
        self.feed.change(self.of.clone(), revision, |index, now| index.apply_pod(pod, now));
    }

    fn delete(&mut self, (pod, revision): (Pod, u64)) {
        self.feed.change(self.of.clone(), revision, |index, now| index.delete_pod(&pod.uid, now));
    }

    fn reset(&mut self, pods: Vec<(Pod, u64)>) {
        let revision = pods.iter().map(|(_, r)| *r).max().unwrap_or(0);
        let pods = pods.into_iter().map(|(pod, _)| pod).collect();
        let namespace = self.of.namespace.as_ref();
        self.feed.change(self.of.clone(), revision, |index, now| index.reset_pods(namespace, pods, now));
    }
}

// === impl Nodes ===

impl Verbs<(Name, Labels, u64)> for Nodes {
    const LONGEST_PAUSE: Duration = PATIENCE;
    const ASKS_REVISION: bool = true;

    fn failed(&mut self) {
        self.0.watch_failed(Kind::Nodes);
    }

    fn up_to(&mut self, revision: u64) {
        self.0.seen_up_to(&Kind::Nodes.into(), revision);
    }

    fn apply(&mut self, (name, labels, revision): (Name, Labels, u64)) {
        self.0.change(Kind::Nodes, revision, |index, now| index.apply_node(name, labels, now));
    }

    fn delete(&mut self, (name, _, revision): (Name, Labels, u64)) {
        self.0.change(Kind::Nodes, revision, |index, now| index.delete_node(&name, now));
    }

    fn reset(&mut self, nodes: Vec<(Name, Labels, u64)>) {
        let revision = nodes.iter().map(|(.., r)| *r).max().unwrap_or(0);
        let nodes = nodes.into_iter().map(|(name, labels, _)| (name, labels)).collect();
        self.0.change(Kind::Nodes, revision, |index, now| index.reset_nodes(nodes, now));
    }
}

// === impl Namespaces ===

impl Verbs<(Name, Labels, u64)> for Namespaces {
    const LONGEST_PAUSE: Duration = PATIENCE;
    const ASKS_REVISION: bool = true;

    fn failed(&mut self) {
        self.0.watch_failed(Kind::Namespaces);
    }

    fn up_to(&mut self, revision: u64) {
        self.0.seen_up_to(&Kind::Namespaces.into(), revision);
    }

    fn apply(&mut self, (name, labels, revision): (Name, Labels, u64)) {
        self.0.change(Kind::Namespaces, revision, |index, now| index.apply_namespace(&name, labels, now));
    }

    fn delete(&mut self, (name, _, revision): (Name, Labels, u64)) {
        self.0.change(Kind::Namespaces, revision, |index, now| index.delete_namespace(&name, now));
    }

    fn reset(&mut self, namespaces: Vec<(Name, Labels, u64)>) {
        let revision = namespaces.iter().map(|(.., r)| *r).max().unwrap_or(0);
        let namespaces = namespaces.into_iter().map(|(name, labels, _)| (name, labels)).collect();
        self.0.change(Kind::Namespaces, revision, |index, now| index.reset_namespaces(namespaces, now));
    }
}

// === impl NodeProxies ===

impl NodeProxies {
    /// A NodeProxy, or why it is not accepted.
    fn read(raw: &Raw<NodeProxy>) -> Result<NodeProxy, Rejection> {
        let invalid = |message| {
            tracing::warn!(nodeproxy = title(raw), error = message, "not accepted");
            Rejection { reason: Reason::Invalid, message }
        };
        let (proxy, warnings) = raw.read().map_err(|error| invalid(error.to_string()))?;
        warnings.iter().for_each(|w| tracing::warn!(nodeproxy = title(raw), warning = w, "unusual field"));
        match proxy.validate().as_slice() {
            [] => Ok(proxy),
            wrong => {
                let words = wrong.iter().map(|v| format!("{}: {}", v.path, v.message));
                Err(invalid(words.collect::<Vec<_>>().join("; ")))
            }
        }
    }
}

impl Verbs<Raw<NodeProxy>> for NodeProxies {
    const LONGEST_PAUSE: Duration = PATIENCE;
    const ASKS_REVISION: bool = true;

    fn failed(&mut self) {
        self.0.watch_failed(Kind::NodeProxies);
    }

    fn up_to(&mut self, revision: u64) {
        self.0.seen_up_to(&Kind::NodeProxies.into(), revision);
    }

    fn apply(&mut self, raw: Raw<NodeProxy>) {
        self.0.observe(("".into(), raw.name_any().into()), raw.conditions());
        let read = Self::read(&raw);
        self.0.change(Kind::NodeProxies, revision(&raw), |index, now| match read {
            Ok(proxy) => index.apply_proxy(&proxy, now),
            Err(rejection) => index.reject_proxy(&raw.metadata, rejection),
        });
    }

    fn delete(&mut self, raw: Raw<NodeProxy>) {
        let name = raw.name_any().into();
        self.0.change(Kind::NodeProxies, revision(&raw), |index, now| index.delete_proxy(&name, now));
    }

    fn reset(&mut self, raws: Vec<Raw<NodeProxy>>) {
        let listed: BTreeSet<Name> = raws.iter().map(|raw| raw.name_any().into()).collect();
        self.0.change(Kind::NodeProxies, 0, |index, now| index.keep_proxies(&listed, now));
        raws.into_iter().for_each(|raw| self.apply(raw));
    }
}

// === impl VirtualServices ===

impl VirtualServices {
    fn new(feed: &Arc<Feed>, namespace: Option<Name>) -> Self {
        Self { feed: feed.clone(), of: Watched { kind: Kind::VirtualServices, namespace } }
    }

    /// Takes one in; `began` is when it came as news.
    fn put(&self, raw: &Raw<VirtualService>, began: Option<Instant>) {
        let feed = &self.feed;
        // Being deleted: what it asked for ends now, whatever its finalizers wait for.
        if raw.metadata.deletion_timestamp.is_some() {
            feed.change(self.of.clone(), revision(raw), |index, _| index.delete_virtual_service(&key(raw)));
            if waits_for_us(raw) {
                let (finalizers, revision) = (raw.finalizers().to_vec(), raw.resource_version());
                feed.depart(key(raw), Some(Departing { finalizers, revision }));
            }
            return;
        }
        feed.observe(key(raw), raw.conditions());
        let version = (raw.metadata.uid.as_deref().unwrap_or_default(), raw.metadata.generation.unwrap_or(0));
        let fresh = feed.course(|course| course.seen(&key(raw), version, began));
        let began = began.filter(|_| fresh).map(|_| SystemTime::now());
        let (read, mut trace) = (raw.read(), None);
        let moments = feed.change(self.of.clone(), revision(raw), |index, _| {
            match &read {
                Ok((object, warnings)) => {
                    warnings.iter().for_each(|w| {
                        tracing::warn!(virtualservice = title(raw), warning = w, "unusual field")
                    });
                    index.apply_virtual_service(object);
                }
                Err(error) => {
                    let message = error.to_string();
                    index.reject(&raw.metadata, Rejection { reason: Reason::Invalid, message });
                }
            }
            // Before it is published: an answer must find it.
            let look = |tracer: &Tracer| tracer.resolved(&key(raw), index.subject(&key(raw)), began);
            trace = feed.tracer().filter(|_| fresh).and_then(look);
        });
        if let (Some(tracer), Some(trace), Some(begun)) = (feed.tracer(), trace, began) {
            tracer.published(trace, &key(raw), Moments { begun, ..moments });
        }
    }
}

impl Verbs<Raw<VirtualService>> for VirtualServices {
    const LONGEST_PAUSE: Duration = PATIENCE;
    const ASKS_REVISION: bool = true;

    fn failed(&mut self) {
        self.feed.watch_failed(Kind::VirtualServices);
    }

    fn up_to(&mut self, revision: u64) {
        self.feed.seen_up_to(&self.of, revision);
    }

    fn apply(&mut self, raw: Raw<VirtualService>) {
        self.put(&raw, Some(Instant::now()));
    }

    fn delete(&mut self, raw: Raw<VirtualService>) {
        let key = key(&raw);
        self.feed.course(|course| course.forget(&key));
        self.feed.tracer().inspect(|tracer| tracer.forget(&key));
        self.feed.change(self.of.clone(), revision(&raw), |index, _| index.delete_virtual_service(&key));
        self.feed.depart(key, None);
    }

    fn reset(&mut self, raws: Vec<Raw<VirtualService>>) {
        let listed: BTreeSet<Key> = raws.iter().map(key).collect();
        let namespace = self.of.namespace.as_ref();
        self.feed.course(|course| course.keep(namespace, &listed));
        self.feed.change(self.of.clone(), 0, |index, _| index.keep_virtual_services(namespace, &listed));
        raws.iter().for_each(|raw| self.put(raw, None));
    }
}

fn key(raw: &Raw<VirtualService>) -> Key {
    (raw.namespace().unwrap_or_default().into(), raw.name_any().into())
}
