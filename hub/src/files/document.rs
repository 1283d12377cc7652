//! Converts the bytes of a manifest into objects or reasons for rejection, each document separately. Entry point:
//! [`parse`], a pure function.

use std::net::IpAddr;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Namespace, Node as KubeNode, Pod as KubePod, Secret, Service};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::Resource;
use kube::core::ObjectMeta;
use portreeve_api::{door, kind};
use portreeve_xds::Name;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::manifest_kind::ManifestKind;
use super::{metadata, secret, text};
use crate::lookup::SecretFacts;
use crate::{kinds, object};

/// An object's identity. The namespace of cluster-scoped kinds is empty.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Id {
    pub(super) kind: ManifestKind,
    pub(super) namespace: String,
    pub(super) name: String,
}

/// A valid object.
#[derive(Clone, Debug)]
pub(super) enum Object {
    Namespace(Box<Namespace>),
    Node(Box<KubeNode>),
    Pod(Box<KubePod>),
    /// A Secret's namespace and name, and its content.
    Secret((Name, Name), SecretFacts),
    Service(Box<Service>),
    Custom(Arc<dyn object::Object>),
}

/// The known parts of the identity of an object that can't be parsed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Claim {
    pub(super) kind: Option<ManifestKind>,
    pub(super) namespace: Option<String>,
    pub(super) name: Option<String>,
}

/// The reason why a document is not an object that the hub accepts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The document has another kind.
    Foreign(String),
    /// The document breaks rules; the text lists fields and reasons.
    Broken(String),
}

/// One document of a file.
#[derive(Clone, Debug)]
pub(super) struct Document {
    /// Kind and name, for messages.
    pub(super) title: String,
    pub(super) claim: Claim,
    pub(super) read: Result<(Id, Object), Refusal>,
    /// Warnings about the document.
    pub(super) warnings: Vec<String>,
}

/// The content of a file.
#[derive(Clone, Debug, Default)]
pub(super) struct Parsed {
    pub(super) documents: Vec<Document>,
    /// Warnings about the file.
    pub(super) warnings: Vec<String>,
}

/// Parses a file's content.
///
/// # Errors
/// Returns an error if the content is neither JSON nor YAML. The text begins with the line number.
pub(super) fn parse(bytes: &[u8]) -> Result<Parsed, String> {
    let values = text::values(bytes)?;
    let documents = values.documents.into_iter().flat_map(expand).map(Document::of).collect();
    Ok(Parsed { documents, warnings: values.warnings })
}

/// Returns the items of a list. In a list of one kind, items may omit their kind.
fn expand(value: Value) -> Vec<Value> {
    let text = |field: &str| value.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (api, kind) = (text("apiVersion"), text("kind"));
    let (Some(of), Some(items)) = (kind.strip_suffix("List"), value.get("items").and_then(Value::as_array))
    else {
        return vec![value];
    };
    let mut items = items.clone();
    for fields in items.iter_mut().filter_map(Value::as_object_mut).filter(|_| !of.is_empty()) {
        fields.entry("apiVersion").or_insert_with(|| api.clone().into());
        fields.entry("kind").or_insert_with(|| of.into());
    }
    items
}

// === impl Id ===

impl std::fmt::Display for Id {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.namespace.as_str() {
            "" => write!(f, "{} {}", self.kind.title(), self.name),
            namespace => write!(f, "{} {namespace}/{}", self.kind.title(), self.name),
        }
    }
}

// === impl Claim ===

impl Claim {
    fn of(value: &Value) -> Self {
        let text = |pointer: &str| value.pointer(pointer).and_then(Value::as_str);
        let kind =
            ManifestKind::of(text("/apiVersion").unwrap_or_default(), text("/kind").unwrap_or_default());
        let namespace = match value.pointer("/metadata/namespace") {
            _ if kind.is_some_and(|kind| !kind.is_namespaced()) => Some(String::new()),
            None | Some(Value::Null) => Some("default".to_owned()),
            Some(Value::String(empty)) if empty.is_empty() => Some("default".to_owned()),
            Some(given) => given.as_str().map(str::to_owned),
        };
        Self {
            kind,
            namespace: namespace.filter(|_| kind.is_some()),
            name: text("/metadata/name").map(str::to_owned),
        }
    }

    /// Returns the identity if it is fully known.
    pub(super) fn id(&self) -> Option<Id> {
        Some(Id { kind: self.kind?, namespace: self.namespace.clone()?, name: self.name.clone()? })
    }

    /// Returns whether the document may be this object.
    pub(super) fn may_be(&self, id: &Id) -> bool {
        self.kind.is_none_or(|kind| kind == id.kind)
            && self.namespace.as_ref().is_none_or(|namespace| *namespace == id.namespace)
            && self.name.as_ref().is_none_or(|name| *name == id.name)
    }
}

// === impl Document ===

impl Document {
    fn of(mut value: Value) -> Self {
        let claim = Claim::of(&value);
        let kind = value.get("kind").and_then(Value::as_str).unwrap_or("(no kind)");
        let title = format!("{kind} {}", claim.name.as_deref().unwrap_or("(no name)"));
        let Some(kind) = claim.kind else {
            let refusal = foreign(&value);
            return Self { title, claim, read: Err(refusal), warnings: Vec::new() };
        };
        lenient(&mut value);
        let (read, warnings) = match read(kind, value) {
            Ok((object, warnings)) => {
                let id = claim.id().ok_or_else(|| Refusal::Broken("metadata: must be a name".into()));
                (id.map(|id| (id, object)), warnings)
            }
            Err(wrong) => (Err(Refusal::Broken(wrong.join("; "))), Vec::new()),
        };
        Self { title, claim, read, warnings }
    }
}

fn foreign(value: &Value) -> Refusal {
    let text = |field: &str| value.get(field).and_then(Value::as_str).unwrap_or_default();
    match value {
        Value::Object(_) => Refusal::Foreign(format!(
            "apiVersion {:?} with kind {:?} is not supported",
            text("apiVersion"),
            text("kind")
        )),
        _ => Refusal::Broken("is not an object".into()),
    }
}

/// Removes labels and annotations with the value null, as kubectl and the API server do.
fn lenient(value: &mut Value) {
    for pointer in ["/metadata/labels", "/metadata/annotations"] {
        if let Some(texts) = value.pointer_mut(pointer).and_then(Value::as_object_mut) {
            texts.retain(|_, text| !text.is_null());
        }
    }
}

type Read = Result<(Object, Vec<String>), Vec<String>>;

fn read(kind: ManifestKind, value: Value) -> Read {
    match kind {
        ManifestKind::Namespace => typed::<Namespace>(kind, value, |_| Vec::new(), Object::Namespace),
        ManifestKind::Node => typed::<KubeNode>(kind, value, |_| Vec::new(), Object::Node),
        ManifestKind::Pod => typed::<KubePod>(kind, value, pod, Object::Pod),
        ManifestKind::Secret => typed::<Secret>(kind, value, secret::wrong, |read| {
            let (at, facts) = secret::named(*read);
            Object::Secret(at, facts)
        }),
        ManifestKind::Service => typed::<Service>(kind, value, service, Object::Service),
        ManifestKind::Custom(of) => custom(of, value),
    }
}

fn custom(kind: &'static kind::Kind, value: Value) -> Read {
    let row = kinds::row(kind).ok_or_else(|| vec![format!("kind {} is not supported", kind.name)])?;
    let (object, warnings) = (row.read)(value).map_err(|error| vec![error.to_string()])?;
    let mut wrong = metadata::check(ManifestKind::Custom(kind), object.meta());
    wrong.extend(object.violations().iter().map(ToString::to_string));
    if wrong.is_empty() { Ok((Object::Custom(object.into()), warnings)) } else { Err(wrong) }
}

/// Parses an object, and checks the rules of all kinds and of its own kind.
fn typed<K>(
    kind: ManifestKind,
    value: Value,
    rules: impl Fn(&K) -> Vec<String>,
    wrap: fn(Box<K>) -> Object,
) -> Read
where
    K: Resource<DynamicType = ()> + DeserializeOwned,
{
    let (object, warnings) = door::parse::<K>(value).map_err(|error| vec![error.to_string()])?;
    let meta: &ObjectMeta = object.meta();
    let mut wrong = metadata::check(kind, meta);
    wrong.extend(rules(&object));
    if wrong.is_empty() { Ok((wrap(Box::new(object)), warnings)) } else { Err(wrong) }
}

fn pod(pod: &KubePod) -> Vec<String> {
    let status = pod.status.clone().unwrap_or_default();
    let listed = status.pod_ips.unwrap_or_default().into_iter().enumerate();
    let all = listed.map(|(i, ip)| (format!("status.podIPs[{i}].ip"), ip.ip));
    let all = all.chain(status.pod_ip.into_iter().map(|ip| ("status.podIP".to_owned(), ip)));
    let wrong = all.filter(|(_, ip)| !ip.is_empty() && ip.parse::<IpAddr>().is_err());
    wrong.map(|(path, ip)| format!("{path}: {ip:?} is not an IP address")).collect()
}

fn service(service: &Service) -> Vec<String> {
    let is_port = |port: i32| (1..=65_535).contains(&port);
    let mut wrong = Vec::new();
    let ports = service.spec.iter().flat_map(|spec| spec.ports.iter().flatten());
    for (i, port) in ports.enumerate() {
        if !is_port(port.port) {
            wrong.push(format!("spec.ports[{i}].port: must be from 1 to 65535, is {}", port.port));
        }
        if let Some(IntOrString::Int(target)) =
            port.target_port.as_ref().filter(|t| !matches!(t, IntOrString::Int(t) if is_port(*t)))
        {
            wrong.push(format!("spec.ports[{i}].targetPort: must be from 1 to 65535, is {target}"));
        }
    }
    wrong
}
