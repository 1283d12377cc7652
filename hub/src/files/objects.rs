//! The objects of a folder, completed with the fields that an API server, a scheduler and kubelets would set.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Pod as KubePod, PodCondition, Service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use kube::core::ObjectMeta;
use portreeve_api::pod::{Interest, Pod};
use portreeve_api::selector;
use xxhash_rust::xxh3::xxh3_128;

use super::document::Object;
use crate::index::{Index, Labels, ListedService, Name, Slices};
use crate::lookup::SecretFacts;
use crate::pod_reader::PodReader;
use crate::services::{Names, Services};
use crate::{kinds, object};

/// The valid objects of a folder, of all supported kinds.
#[derive(Clone, Debug, Default)]
pub struct Objects {
    /// Custom resources of the kinds in the registry.
    pub customs: Vec<Arc<dyn object::Object>>,
    /// Nodes and their labels.
    pub nodes: Vec<(Name, Labels)>,
    /// Namespaces and their labels. A namespace that objects use may be missing.
    pub namespaces: Vec<(Name, Labels)>,
    /// Pods. A pod without a Ready condition counts as ready, because no kubelet will set one.
    pub pods: Vec<KubePod>,
    /// Services, which resolve host names to pods (see [`crate::services`]).
    pub services: Vec<Service>,
    /// Secrets, by namespace and name.
    pub secrets: BTreeMap<(Name, Name), SecretFacts>,
}

/// The label with the namespace's name that the API server sets on every namespace.
const NAME_LABEL: &str = "kubernetes.io/metadata.name";

// === impl Objects ===

impl Objects {
    /// Replaces the content of an index with these objects.
    pub fn reset(&self, index: &mut Index, now_ms: i64) {
        index.reset_nodes(self.nodes.clone(), now_ms);
        index.reset_namespaces(self.all_namespaces(), now_ms);
        let reader = PodReader::new(index.settings());
        let pods = self.pods.iter().filter_map(|pod| reader.read(pod.into()));
        index.reset_pods(None, pods.collect(), now_ms);
        index.reset_services(self.listed_services(), now_ms);
        for row in kinds::ALL {
            let of_kind = || self.customs.iter().filter(|object| object.kind() == row.kind);
            let listed = of_kind().map(|object| object.reference()).collect();
            index.keep_objects(row.kind, None, &listed, now_ms);
            of_kind().for_each(|object| index.apply_object(&**object, now_ms));
        }
        self.reset_secrets(index);
    }

    /// Returns each Service with the pods that it lists. Without a selector it lists none, because a folder has no
    /// EndpointSlices.
    fn listed_services(&self) -> Vec<ListedService> {
        let listed = self.services.iter().map(|service| {
            let namespace = namespace_of(&service.metadata);
            let spec = service.spec.clone().unwrap_or_default();
            let wanted = spec.selector.as_ref().filter(|labels| !labels.is_empty()).map(selector::from_map);
            let lists = |pod: &&KubePod| {
                namespace_of(&pod.metadata) == namespace
                    && wanted.as_ref().is_some_and(|wanted| wanted.matches(pod.labels()))
            };
            let uids = self.pods.iter().filter(lists).filter_map(|pod| pod.uid());
            let slices = Slices { pods: uids.map(Name::from).collect(), addresses: Vec::new() };
            ((namespace, service.name_any().into()), Arc::new(spec), slices)
        });
        listed.collect()
    }

    /// Sets the Secrets that the index wants. An object may ask for more once it has been told of one.
    pub(crate) fn reset_secrets(&self, index: &mut Index) {
        loop {
            let wanted: Vec<(Name, Name)> = index.wanted_secrets().keys().cloned().collect();
            for at in wanted {
                let found = self.secrets.get(&at).cloned();
                index.set_secret(at, found);
            }
            if index.take_wanted_secrets().is_none() {
                return;
            }
        }
    }

    /// Returns all namespaces, each with the label that an API server sets.
    fn all_namespaces(&self) -> Vec<(Name, Labels)> {
        let namespaces = self.customs.iter().map(|object| object.reference().namespace);
        let named = namespaces.filter(|name| !name.is_empty()).map(|name| (name, Labels::new()));
        // Namespaces in the files come last, so that their labels win.
        let mut all: BTreeMap<Name, Labels> = named.chain(self.namespaces.iter().cloned()).collect();
        for (name, labels) in &mut all {
            labels.insert(NAME_LABEL.to_owned(), name.to_string());
        }
        all.into_iter().collect()
    }

    /// Replaces the ports of endpoints that name a Service with those of its pods. Returns the addresses of all host
    /// names of Services, and the references that lead to no pod.
    pub fn route(&mut self, domain: &str) -> (Names, Vec<String>) {
        let services = Services::new(&self.services, &self.pods, domain);
        let (mut names, mut told) = (services.names(), Vec::new());
        for object in &mut self.customs {
            let mut routed = object.boxed();
            let wrong = routed.route(&services, &mut names);
            let title = routed.reference().title();
            told.extend(wrong.into_iter().map(|wrong| format!("{title}: {wrong}")));
            *object = routed.into();
        }
        (names, told)
    }

    /// Returns the pods of one node, as its agent reads them.
    pub fn pods_on(&self, node: &str) -> Vec<Pod> {
        let interest = Interest::of_agents();
        let pods = self.pods.iter().filter_map(|pod| Pod::from_kube_with(pod.into(), &interest));
        pods.filter(|p| p.node.as_deref() == Some(node)).collect()
    }

    /// Returns the only node, or `None` if there are several. Pods without a node are placed on it.
    pub fn only_node(&self) -> Option<Name> {
        match self.nodes.as_slice() {
            [(name, _)] => Some(name.clone()),
            _ => None,
        }
    }

    /// Completes the objects of files.
    pub(super) fn of<'a>(
        found: impl Iterator<Item = &'a Object>,
        first_seen: &mut BTreeMap<String, i64>,
        born: i64,
    ) -> Self {
        let mut objects = Self::default();
        found.for_each(|object| objects.push(object));
        objects.date(first_seen, born);
        objects.place();
        objects
    }

    fn push(&mut self, object: &Object) {
        match object {
            Object::Namespace(namespace) => {
                self.namespaces.push((namespace.name_any().into(), namespace.labels().clone()));
            }
            Object::Node(node) => self.nodes.push((node.name_any().into(), node.labels().clone())),
            Object::Pod(pod) => self.pods.push((**pod).clone()),
            Object::Secret(at, facts) => drop(self.secrets.insert(at.clone(), facts.clone())),
            Object::Service(service) => self.services.push((**service).clone()),
            Object::Custom(object) => self.customs.push(object.clone()),
        }
    }

    /// Sets a uid and a creation time on objects without them. The creation time is when the object was first seen.
    fn date(&mut self, first_seen: &mut BTreeMap<String, i64>, born: i64) {
        let mut stamp = |title: String, meta: &mut ObjectMeta| {
            let seen = *first_seen.entry(title.clone()).or_insert(born);
            meta.uid.get_or_insert_with(|| uid(&title));
            if let (None, Ok(at)) = (&meta.creation_timestamp, Timestamp::from_millisecond(seen)) {
                meta.creation_timestamp = Some(Time(at));
            }
        };
        for object in &mut self.customs {
            let mut dated = object.boxed();
            if dated.kind().namespaced {
                dated.meta_mut().namespace.get_or_insert_with(|| "default".into());
            }
            stamp(dated.reference().to_string(), dated.meta_mut());
            *object = dated.into();
        }
        for pod in &mut self.pods {
            let namespace = pod.metadata.namespace.get_or_insert_with(|| "default".into());
            let title = format!("Pod/{namespace}/{}", pod.metadata.name.as_deref().unwrap_or_default());
            stamp(title, &mut pod.metadata);
        }
    }

    /// Sets the fields that a scheduler and a kubelet would set.
    fn place(&mut self) {
        let only = self.only_node();
        for pod in &mut self.pods {
            let spec = pod.spec.get_or_insert_default();
            if spec.node_name.is_none() {
                spec.node_name = only.as_deref().map(str::to_string);
            }
            let conditions = pod.status.get_or_insert_default().conditions.get_or_insert_default();
            if !conditions.iter().any(|c| c.type_ == "Ready") {
                conditions.push(PodCondition {
                    type_: "Ready".into(),
                    status: "True".into(),
                    ..Default::default()
                });
            }
        }
    }
}

fn namespace_of(meta: &ObjectMeta) -> Name {
    meta.namespace.as_deref().unwrap_or("default").into()
}

/// Returns a uid that is the same at every reading.
fn uid(title: &str) -> String {
    let hex = format!("{:032x}", xxh3_128(title.as_bytes()));
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}
