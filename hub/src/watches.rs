//! The hub's watches on the API server. Each one calls the index's verbs.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::try_join_all;
use k8s_openapi::api::core::v1::{Namespace as KubeNamespace, Node as KubeNode};
use kube::core::{NamespaceResourceScope, PartialObjectMeta as Metadata};
use kube::runtime::watcher;
use kube::{Api, Client, Config, Resource, ResourceExt};
use portreeve_api::pod::Pod;
use portreeve_api::pod_document::PodDocument;
use portreeve_api::refs::ObjectRef;
use portreeve_runtime::apart::apart;
use portreeve_runtime::client::limited;
use portreeve_runtime::watch::{Verbs, revision, run, title};
use portreeve_runtime::{Guard, Readiness, Tasks};

use crate::change::{Arrival, Departing, Fate, News};
use crate::definitions;
use crate::feed::Feed;
use crate::index::{Labels, Name};
use crate::kinds;
use crate::namespaces::Namespaces as Served;
use crate::object::{Object, Rejection};
use crate::owners;
use crate::pod_reader::PodReader;
use crate::portions::{Node, Portions};
use crate::pulse::PATIENCE;
use crate::raw::Raw;
use crate::row::Row;
use crate::settings::Settings;
use crate::watermark::{Watched, WatchedKind};

/// Starts all watches. Pods and namespaced kinds are watched in the `served` namespaces. `readiness` is reached when each
/// watch has its first complete list.
pub fn spawn(
    tasks: &mut Tasks,
    (client, config): (&Client, &Config),
    feed: &Arc<Feed>,
    (served, settings): (&Served, &Settings),
    readiness: &Readiness,
) {
    spawn_pods(tasks, config, feed, (served, settings), readiness);
    let nodes = Api::<KubeNode>::all(client.clone());
    let strip_node = |n: KubeNode| Some((Node(Name::from(n.name_any()), n.labels().clone()), revision(&n)));
    let verbs = Portions::<Node>::new(feed, WatchedKind::NODES);
    tasks.spawn(
        "watch of nodes",
        run(nodes, watcher::Config::default(), readiness.guard("nodes"), strip_node, verbs),
    );
    // Only the namespaces' metadata is requested.
    let namespaces = Api::<Metadata<KubeNamespace>>::all(client.clone());
    let strip_namespace =
        |n: Metadata<KubeNamespace>| Some((Name::from(n.name_any()), n.labels().clone(), revision(&n)));
    let guard = readiness.guard("namespaces");
    tasks.spawn(
        "watch of namespaces",
        run(namespaces, watcher::Config::default(), guard, strip_namespace, Namespaces(feed.clone())),
    );
    for (place, row) in kinds::ALL.into_iter().enumerate() {
        let namespaces = if row.kind.namespaced { served.watched() } else { vec![None] };
        for namespace in namespaces {
            let resource = (row.resource)();
            let objects: Api<Raw> = match &namespace {
                Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
                None => Api::all_with(client.clone(), &resource),
            };
            let of = Watched { kind: WatchedKind::of_row(place), namespace };
            let verbs = Objects { row, of, feed: feed.clone() };
            tasks.spawn(row.watch, verbs.follow(objects, client.clone(), readiness.guard(row.plural)));
        }
    }
}

/// Starts the watches of pods, on a thread of their own. On the threads of hundreds of busy streams, pods would wait behind all of
/// them. The connections belong to that thread, too: an event then wakes no other.
fn spawn_pods(
    tasks: &mut Tasks,
    config: &Config,
    feed: &Arc<Feed>,
    (served, settings): (&Served, &Settings),
    readiness: &Readiness,
) {
    let guarded = |namespace| (namespace, readiness.guard("pods"));
    let watched: Vec<(Option<Name>, Guard)> = served.watched().into_iter().map(guarded).collect();
    let (config, feed, settings) = (config.clone(), feed.clone(), settings.clone());
    let follow = move || async move {
        let client = limited(&config)?;
        let watches = watched.into_iter().map(|(namespace, guard)| {
            let pods: Api<PodDocument> = api(&client, namespace.as_ref());
            let verbs = Portions::<Pod>::new(&feed, Watched { kind: WatchedKind::PODS, namespace });
            let reader = PodReader::new(&settings);
            let strip = move |pod: PodDocument| {
                let revision = revision(&pod);
                reader.read(pod).map(|pod| (pod, revision))
            };
            run(pods, watcher::Config::default(), guard, strip, verbs)
        });
        try_join_all(watches).await.map(drop)
    };
    tasks.spawn("watch of pods", apart("pods", follow));
}

/// Returns the API for a namespace, or for all. A Role in that namespace suffices for the former.
pub(crate) fn api<K>(client: &Client, namespace: Option<&Name>) -> Api<K>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
{
    match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}

struct Namespaces(Arc<Feed>);

/// The custom resources of one kind, in one namespace or in all namespaces.
struct Objects {
    row: &'static Row,
    of: Watched,
    feed: Arc<Feed>,
}

// === impl Namespaces ===

impl Verbs<(Name, Labels, u64)> for Namespaces {
    const LONGEST_PAUSE: Duration = PATIENCE;
    const ASKS_REVISION: bool = true;

    fn failed(&mut self, _error: &watcher::Error) {
        self.0.watch_failed(WatchedKind::NAMESPACES);
    }

    fn up_to(&mut self, revision: u64) {
        self.0.seen_up_to(&WatchedKind::NAMESPACES.into(), revision);
    }

    fn apply(&mut self, (name, labels, revision): (Name, Labels, u64)) {
        self.0.change(WatchedKind::NAMESPACES, revision, |index, now| {
            index.apply_namespace(&name, labels, now)
        });
    }

    fn delete(&mut self, (name, _, revision): (Name, Labels, u64)) {
        self.0.change(WatchedKind::NAMESPACES, revision, |index, now| index.delete_namespace(&name, now));
    }

    fn reset(&mut self, namespaces: Vec<(Name, Labels, u64)>) {
        let revision = namespaces.iter().map(|(.., r)| *r).max().unwrap_or(0);
        let namespaces = namespaces.into_iter().map(|(name, labels, _)| (name, labels)).collect();
        self.0
            .change(WatchedKind::NAMESPACES, revision, |index, now| index.reset_namespaces(namespaces, now));
    }
}

// === impl Objects ===

impl Objects {
    /// Watches the objects from the moment at which their kind's definition is installed. Until then there are none.
    async fn follow(mut self, objects: Api<Raw>, client: Client, guard: Guard) -> anyhow::Result<()> {
        let (resource, mut guard) = ((self.row.resource)(), Some(guard));
        let absent = || {
            self.reset(Vec::new());
            guard = None;
        };
        definitions::wait(&client, &resource, absent).await;
        run(objects, watcher::Config::default(), guard, Some, self).await
    }

    fn key(&self, raw: &Raw) -> ObjectRef {
        ObjectRef::of(self.row.kind, &raw.metadata)
    }

    /// Converts an object from the API server.
    fn arrival(&self, raw: Raw) -> Arrival {
        Arrival {
            key: self.key(&raw),
            meta: raw.metadata.clone(),
            conditions: raw.conditions(),
            children: owners::children(raw.children()),
            revision: revision(&raw),
            fate: self.fate(&raw),
            read: self.read(raw),
        }
    }

    fn fate(&self, raw: &Raw) -> Fate {
        if !self.row.ends_with_deletion() || raw.metadata.deletion_timestamp.is_none() {
            return Fate::Stays;
        }
        let finalizers = raw.finalizers();
        match finalizers.iter().any(|one| (self.row.removes)(one)) {
            true => {
                Fate::Departs(Departing { finalizers: finalizers.to_vec(), revision: raw.resource_version() })
            }
            false => Fate::Leaves,
        }
    }

    /// Parses an object, or returns why it is rejected.
    fn read(&self, raw: Raw) -> Result<Box<dyn Object>, Rejection> {
        let (kind, object) = (self.row.kind.name, title(&raw));
        let (read, warnings) = raw.read(self.row).inspect_err(|rejection| {
            tracing::warn!(kind, object, error = rejection.message, "object can't be read")
        })?;
        warnings.iter().for_each(|warning| tracing::warn!(kind, object, warning, "unusual field"));
        Ok(read)
    }
}

impl Verbs<Raw> for Objects {
    const LONGEST_PAUSE: Duration = PATIENCE;
    const ASKS_REVISION: bool = true;

    fn failed(&mut self, _error: &watcher::Error) {
        self.feed.watch_failed(self.of.kind);
    }

    fn up_to(&mut self, revision: u64) {
        self.feed.seen_up_to(&self.of, revision);
    }

    fn apply(&mut self, raw: Raw) {
        let at = Instant::now();
        self.feed.take_in(&self.of, News::Put { object: Box::new(self.arrival(raw)), at });
    }

    fn delete(&mut self, raw: Raw) {
        self.feed.take_in(&self.of, News::Gone { key: self.key(&raw), revision: revision(&raw) });
    }

    fn reset(&mut self, raws: Vec<Raw>) {
        let objects = raws.into_iter().map(|raw| self.arrival(raw)).collect();
        self.feed.take_in(&self.of, News::Listed { kind: self.row.kind, objects });
    }
}
