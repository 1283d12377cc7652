//! A folder of manifests in place of an API server: the same objects, the same verbs, only the source differs.
//!
//! Every YAML or JSON file of the folder may hold several documents. A file that breaks keeps its last good content;
//! an edit, an addition and a deletion take effect.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::Context;
use k8s_openapi::api::core::v1::{Namespace, Node as KubeNode, Pod as KubePod, PodCondition, Service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use kube::core::ObjectMeta;
use portreeve_api::conditions::Reason;
use portreeve_api::node_proxy::NodeProxy;
use portreeve_api::pod::Pod;
use portreeve_api::virtual_service::VirtualService;
use serde::Deserialize;
use serde_json::Value;
use xxhash_rust::xxh3::xxh3_128;

use crate::index::{Index, Key, Labels, Name};
use crate::resolve::Rejection;
use crate::services;

/// The objects of a folder, of the kinds that are understood.
#[derive(Clone, Debug, Default)]
pub struct Objects {
    /// API A's VirtualServices, and what could not be read of one.
    pub virtual_services: Vec<(ObjectMeta, Result<VirtualService, Rejection>)>,
    /// NodeProxies.
    pub proxies: Vec<NodeProxy>,
    /// Nodes and their labels.
    pub nodes: Vec<(Name, Labels)>,
    /// Namespaces and their labels. Those that objects name need not be among them.
    pub namespaces: Vec<(Name, Labels)>,
    /// Pods; one without a Ready condition counts as ready: nobody else will say so.
    pub pods: Vec<KubePod>,
    /// Services: host names that stand for pods (see [`crate::services`]).
    pub services: Vec<Service>,
}

/// Something to tell a person about a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complaint {
    /// The file.
    pub file: PathBuf,
    /// Line, object, field, what is wrong.
    pub text: String,
    /// The file's last good content stays in force.
    pub broken: bool,
}

/// A folder, read again and again.
#[derive(Debug)]
pub struct Folder {
    paths: Vec<PathBuf>,
    files: BTreeMap<PathBuf, Content>,
    /// When each object was first seen, in milliseconds since the Unix epoch; 0 for those of the first reading.
    first_seen: BTreeMap<String, i64>,
    readings: u64,
}

/// The label that the API server gives every namespace, with its name.
const NAME_LABEL: &str = "kubernetes.io/metadata.name";

#[derive(Clone, Debug, Default)]
struct Content {
    text: String,
    documents: Vec<Value>,
}

// === impl Objects ===

impl Objects {
    /// Puts all of them into an index as complete lists.
    pub fn reset(&self, index: &mut Index, now_ms: i64) {
        index.reset_nodes(self.nodes.clone(), now_ms);
        index.reset_namespaces(self.all_namespaces(), now_ms);
        index.reset_pods(self.pods.iter().cloned().filter_map(Pod::from_kube).collect(), now_ms);
        index.reset_proxies(&self.proxies, now_ms);
        let keys: BTreeSet<Key> = self.virtual_services.iter().map(|(meta, _)| key(meta)).collect();
        index.keep_virtual_services(&keys);
        for (meta, read) in &self.virtual_services {
            match read {
                Ok(object) => index.apply_virtual_service(object),
                Err(rejection) => index.reject(meta, rejection.clone()),
            }
        }
    }

    /// All namespaces, each with the label that an API server gives it.
    fn all_namespaces(&self) -> Vec<(Name, Labels)> {
        let named = self.virtual_services.iter().map(|(meta, _)| (key(meta).0, Labels::new()));
        // Those in the files come last: their labels hold.
        let mut all: BTreeMap<Name, Labels> = named.chain(self.namespaces.iter().cloned()).collect();
        for (name, labels) in &mut all {
            labels.insert(NAME_LABEL.to_owned(), name.to_string());
        }
        all.into_iter().collect()
    }

    /// The host names that the Services stand for.
    pub fn names(&self, domain: &str) -> BTreeMap<String, Vec<IpAddr>> {
        let pods: Vec<Pod> = self.pods.iter().cloned().filter_map(Pod::from_kube).collect();
        services::names(&self.services, &pods, domain)
    }

    /// The pods of one node.
    pub fn pods_on(&self, node: &str) -> Vec<Pod> {
        let pods = self.pods.iter().cloned().filter_map(Pod::from_kube);
        pods.filter(|p| p.node.as_deref() == Some(node)).collect()
    }

    /// The node that pods without a node are put on: the only one, if there is just one.
    pub fn only_node(&self) -> Option<Name> {
        match self.nodes.as_slice() {
            [(name, _)] => Some(name.clone()),
            _ => None,
        }
    }
}

// === impl Folder ===

impl Folder {
    /// A folder that was not read yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self::of_files(&[path.into()])
    }

    /// Some files and folders, taken together.
    pub fn of_files(paths: &[PathBuf]) -> Self {
        Self { paths: paths.to_vec(), files: BTreeMap::new(), first_seen: BTreeMap::new(), readings: 0 }
    }

    /// Reads what changed since the last call and answers with all objects, and complaints about what is new.
    /// `now_ms` dates objects that say no creationTimestamp.
    ///
    /// # Errors
    /// The folder itself can't be read.
    pub fn read(&mut self, now_ms: i64) -> anyhow::Result<(Objects, Vec<Complaint>)> {
        let mut complaints = Vec::new();
        let mut files = BTreeMap::new();
        for path in manifests(&self.paths)? {
            let old = self.files.remove(&path);
            let content = refresh(&path, old.unwrap_or_default(), &mut complaints);
            files.insert(path, content);
        }
        self.files = files;
        self.readings += 1;
        let born = if self.readings == 1 { 0 } else { now_ms };
        let mut objects = Objects::default();
        for (path, content) in &self.files {
            for document in &content.documents {
                let mut complain =
                    |text| complaints.push(Complaint { file: path.clone(), text, broken: false });
                sort(document.clone(), &mut objects, &mut complain);
            }
        }
        objects.date(&mut self.first_seen, born);
        objects.place();
        Ok((objects, complaints))
    }
}

impl Objects {
    /// Gives objects without one a uid and a time of creation: the moment that they were first seen.
    fn date(&mut self, first_seen: &mut BTreeMap<String, i64>, born: i64) {
        let mut stamp = |kind: &str, meta: &mut ObjectMeta| {
            meta.namespace.get_or_insert_with(|| "default".into());
            let title = format!(
                "{kind}/{}/{}",
                meta.namespace.as_deref().unwrap_or_default(),
                meta.name.as_deref().unwrap_or_default()
            );
            let seen = *first_seen.entry(title.clone()).or_insert(born);
            meta.uid.get_or_insert_with(|| uid(&title));
            if let (None, Ok(at)) = (&meta.creation_timestamp, Timestamp::from_millisecond(seen)) {
                meta.creation_timestamp = Some(Time(at));
            }
        };
        for (meta, read) in &mut self.virtual_services {
            stamp("VirtualService", meta);
            if let Ok(object) = read {
                object.metadata = meta.clone();
            }
        }
        self.proxies.iter_mut().for_each(|p| stamp("NodeProxy", &mut p.metadata));
        self.pods.iter_mut().for_each(|p| stamp("Pod", &mut p.metadata));
    }

    /// Fills in what a kubelet and a scheduler would have.
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

fn manifests(paths: &[PathBuf]) -> anyhow::Result<Vec<PathBuf>> {
    let mut all = Vec::new();
    for path in paths {
        match path.is_dir() {
            true => all.extend(in_folder(path)?),
            false => all.push(path.clone()),
        }
    }
    Ok(all)
}

fn in_folder(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries =
        fs::read_dir(folder).with_context(|| format!("{}: can't read the folder", folder.display()))?;
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.with_context(|| format!("{}: can't list the folder", folder.display()))?.path();
        let extension = path.extension().and_then(|e| e.to_str());
        if matches!(extension, Some("yaml" | "yml" | "json")) && path.is_file() {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn refresh(path: &Path, old: Content, complaints: &mut Vec<Complaint>) -> Content {
    let complain = |text| Complaint { file: path.to_path_buf(), text, broken: true };
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => {
            complaints.push(complain(error.to_string()));
            return old;
        }
    };
    if text == old.text && !old.text.is_empty() {
        return old;
    }
    match documents(&text) {
        Ok(documents) => Content { text, documents },
        Err(error) => {
            complaints.push(complain(error));
            Content { text, documents: old.documents }
        }
    }
}

/// Reads the documents of a file; the error says the line.
fn documents(text: &str) -> Result<Vec<Value>, String> {
    let mut all = Vec::new();
    for document in serde_yaml::Deserializer::from_str(text) {
        let value = Value::deserialize(document).map_err(|e| e.to_string())?;
        match value {
            Value::Null => {}
            Value::Object(ref map) if map.get("kind").is_some_and(|k| k == "List") => {
                all.extend(map.get("items").and_then(Value::as_array).into_iter().flatten().cloned());
            }
            value => all.push(value),
        }
    }
    Ok(all)
}

fn sort(document: Value, objects: &mut Objects, complain: &mut impl FnMut(String)) {
    let text = |field: &str| document.get(field).and_then(Value::as_str).unwrap_or_default().to_string();
    let (api, kind) = (text("apiVersion"), text("kind"));
    let name = document.pointer("/metadata/name").and_then(Value::as_str).unwrap_or("(no name)").to_string();
    let title = format!("{kind} {name}");
    match (api.as_str(), kind.as_str()) {
        ("servicemesh.l7mp.io/v1", "VirtualService") => virtual_service(document, objects, complain),
        ("portreeve.dev/v1alpha1", "NodeProxy") => match NodeProxy::parse(document) {
            Ok((proxy, warnings)) => {
                warnings.into_iter().for_each(|w| complain(format!("{title}: {w}")));
                let violations = proxy.validate();
                violations.iter().for_each(|v| complain(format!("{title}: {}: {}", v.path, v.message)));
                if violations.is_empty() {
                    objects.proxies.push(proxy);
                }
            }
            Err(error) => complain(format!("{title}: {error}")),
        },
        ("v1", "Pod") => match serde_json::from_value::<KubePod>(document) {
            Ok(pod) => objects.pods.push(pod),
            Err(error) => complain(format!("{title}: {error}")),
        },
        ("v1", "Node") => match serde_json::from_value::<KubeNode>(document) {
            Ok(node) => objects.nodes.push((node.name_any().into(), node.labels().clone())),
            Err(error) => complain(format!("{title}: {error}")),
        },
        ("v1", "Namespace") => match serde_json::from_value::<Namespace>(document) {
            Ok(namespace) => {
                objects.namespaces.push((namespace.name_any().into(), namespace.labels().clone()));
            }
            Err(error) => complain(format!("{title}: {error}")),
        },
        ("v1", "Service") => match serde_json::from_value::<Service>(document) {
            Ok(service) => objects.services.push(service),
            Err(error) => complain(format!("{title}: {error}")),
        },
        _ => complain(format!(
            "{title}: apiVersion {api:?} with kind {kind:?} is not understood here, passed over"
        )),
    }
}

fn virtual_service(document: Value, objects: &mut Objects, complain: &mut impl FnMut(String)) {
    let metadata = document.get("metadata").cloned().unwrap_or_default();
    let meta: ObjectMeta = serde_json::from_value(metadata).unwrap_or_default();
    let title = format!("VirtualService {}", meta.name.as_deref().unwrap_or("(no name)"));
    let read = match VirtualService::parse(document) {
        Ok((object, warnings)) => {
            warnings.into_iter().for_each(|w| complain(format!("{title}: {w}")));
            object.validate().iter().for_each(|v| complain(format!("{title}: {}: {}", v.path, v.message)));
            Ok(object)
        }
        Err(error) => {
            complain(format!("{title}: {error}"));
            Err(Rejection { reason: Reason::Invalid, message: error.to_string() })
        }
    };
    if meta.name.is_some() {
        objects.virtual_services.push((meta, read));
    }
}

fn key(meta: &ObjectMeta) -> Key {
    let namespace = meta.namespace.as_deref().unwrap_or("default");
    (namespace.into(), meta.name.as_deref().unwrap_or_default().into())
}

/// A uid that is the same at every reading.
fn uid(title: &str) -> String {
    let hex = format!("{:032x}", xxh3_128(title.as_bytes()));
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}
