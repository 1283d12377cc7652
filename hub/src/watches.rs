//! The hub's watches on the API server, each turned into the index's verbs.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use k8s_openapi::api::core::v1::{Namespace as KubeNamespace, Node as KubeNode, Pod as KubePod};
use kube::core::PartialObjectMeta as Metadata;
use kube::runtime::watcher;
use kube::{Api, Client, ResourceExt};
use portreeve_api::a::virtual_service::VirtualService;
use portreeve_api::conditions::Reason;
use portreeve_api::own::node_proxy::NodeProxy;
use portreeve_api::pod::Pod;
use portreeve_runtime::watch::{Verbs, revision, run, title};
use portreeve_runtime::{Readiness, Tasks};

use crate::conditions::waits_for_us;
use crate::feed::{Departing, Feed};
use crate::index::{Key, Labels, Name};
use crate::raw::Raw;
use crate::resolve::Rejection;
use crate::traces::{Moments, Tracer};
use crate::watermark::Kind;

/// A hub that does not see changes is a hub that serves the past: it looks again soon.
const PATIENCE: Duration = Duration::from_secs(1);

/// Starts all watches. `readiness` is reached when each has its first complete list.
pub fn spawn(tasks: &mut Tasks, client: &Client, feed: &Arc<Feed>, readiness: &Readiness) {
    let config = watcher::Config::default;
    let pods = Api::<KubePod>::all(client.clone());
    let strip_pod = |p: KubePod| {
        let revision = revision(&p);
        Pod::from_kube(p).map(|pod| (pod, revision))
    };
    tasks.spawn("watch of pods", run(pods, config(), readiness.guard("pods"), strip_pod, Pods(feed.clone())));
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
    let services = Api::<Raw<VirtualService>>::all(client.clone());
    let guard = readiness.guard("virtualservices");
    tasks.spawn(
        "watch of virtualservices",
        run(services, config(), guard, Some, VirtualServices(feed.clone())),
    );
}

struct Pods(Arc<Feed>);

struct Nodes(Arc<Feed>);

struct Namespaces(Arc<Feed>);

struct NodeProxies(Arc<Feed>);

struct VirtualServices(Arc<Feed>);

// === impl Pods ===

impl Verbs<(Pod, u64)> for Pods {
    const LONGEST_PAUSE: Duration = PATIENCE;
    const ASKS_REVISION: bool = true;

    fn failed(&mut self) {
        self.0.watch_failed(Kind::Pods);
    }

    fn up_to(&mut self, revision: u64) {
        self.0.seen_up_to(Kind::Pods, revision);
    }

    fn apply(&mut self, (pod, revision): (Pod, u64)) {
        self.0.change(Kind::Pods, revision, |index, now| index.apply_pod(pod, now));
    }

    fn delete(&mut self, (pod, revision): (Pod, u64)) {
        self.0.change(Kind::Pods, revision, |index, now| index.delete_pod(&pod.uid, now));
    }

    fn reset(&mut self, pods: Vec<(Pod, u64)>) {
        let revision = pods.iter().map(|(_, r)| *r).max().unwrap_or(0);
        let pods = pods.into_iter().map(|(pod, _)| pod).collect();
        self.0.change(Kind::Pods, revision, |index, now| index.reset_pods(pods, now));
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
        self.0.seen_up_to(Kind::Nodes, revision);
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
        self.0.seen_up_to(Kind::Namespaces, revision);
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
        self.0.seen_up_to(Kind::NodeProxies, revision);
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
    /// Takes one in; `began` is when it came as news.
    fn put(feed: &Feed, raw: &Raw<VirtualService>, began: Option<Instant>) {
        // Being deleted: what it asked for ends now, whatever its finalizers wait for.
        if raw.metadata.deletion_timestamp.is_some() {
            feed.change(Kind::VirtualServices, revision(raw), |index, _| {
                index.delete_virtual_service(&key(raw))
            });
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
        let moments = feed.change(Kind::VirtualServices, revision(raw), |index, _| {
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
        self.0.watch_failed(Kind::VirtualServices);
    }

    fn up_to(&mut self, revision: u64) {
        self.0.seen_up_to(Kind::VirtualServices, revision);
    }

    fn apply(&mut self, raw: Raw<VirtualService>) {
        Self::put(&self.0, &raw, Some(Instant::now()));
    }

    fn delete(&mut self, raw: Raw<VirtualService>) {
        let key = key(&raw);
        self.0.course(|course| course.forget(&key));
        self.0.tracer().inspect(|tracer| tracer.forget(&key));
        self.0.change(Kind::VirtualServices, revision(&raw), |index, _| index.delete_virtual_service(&key));
        self.0.depart(key, None);
    }

    fn reset(&mut self, raws: Vec<Raw<VirtualService>>) {
        let listed: BTreeSet<Key> = raws.iter().map(key).collect();
        self.0.course(|course| course.keep(&listed));
        self.0.change(Kind::VirtualServices, 0, |index, _| index.keep_virtual_services(&listed));
        raws.iter().for_each(|raw| Self::put(&self.0, raw, None));
    }
}

fn key(raw: &Raw<VirtualService>) -> Key {
    (raw.namespace().unwrap_or_default().into(), raw.name_any().into())
}
