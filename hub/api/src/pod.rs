//! The fields of a Kubernetes Pod that routing needs. A pod is reduced as soon as it arrives, so that the memory of all
//! other fields is freed.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::num::NonZeroU16;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::pod_document::{ContainerName, PodDocument, Spec, Status};
use crate::readiness;

/// The annotation in which a gateway's pod names its NodeProxy.
pub const NODE_PROXY_ANNOTATION: &str = "portreeve.dev/node-proxy";

/// The annotation that sets the name of a pod's proxy, whatever `node.id` the proxy announces.
pub const PROXY_NAME_ANNOTATION: &str = "portreeve.dev/proxy-name";

/// The annotation with the TCP port of the REST API of a pod's l7mp proxy. Without it, a container named
/// `l7mp` is such a proxy at [`L7MP_PORT`].
pub const L7MP_PORT_ANNOTATION: &str = "portreeve.dev/l7mp-port";

/// The port of l7mp's REST API in every published configuration.
pub const L7MP_PORT: NonZeroU16 = NonZeroU16::new(1234).unwrap();

/// The annotation of a mirror pod with the static pod's uid, as its kubelet knows it.
const CONFIG_MIRROR: &str = "kubernetes.io/config.mirror";
/// The annotation of a static pod and of its mirror with the hash of the pod's file, which is the static pod's uid.
const CONFIG_HASH: &str = "kubernetes.io/config.hash";

/// A pod, reduced to what routing needs. A change that leaves it equal needs no work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// `metadata.uid`.
    pub uid: Arc<str>,
    /// Namespace.
    pub namespace: Arc<str>,
    /// Name.
    pub name: Arc<str>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// The node that the pod is bound to; `None` while it is not scheduled.
    pub node: Option<Arc<str>>,
    /// IP addresses, the primary family first.
    pub ips: Vec<IpAddr>,
    /// Whether the Ready condition is True; for a terminating pod, whether it was True when the deletion began. The
    /// value is computed from the object alone, so that all hubs agree on it.
    pub ready: bool,
    /// Whether the pod shares the node's network namespace.
    pub host_network: bool,
    /// Creation time, in milliseconds since the Unix epoch.
    pub created_ms: i64,
    /// The time of the deletion request (deletionTimestamp minus the grace period), in milliseconds since the Unix
    /// epoch; 0 if the pod isn't being deleted.
    pub terminating_ms: i64,
    /// Whether the pod has ended (phase Succeeded or Failed).
    pub finished: bool,
    /// The NodeProxy that this pod claims to run.
    pub node_proxy: Option<String>,
    /// `spec.serviceAccountName`.
    pub service_account: String,
    /// The uid under which the kubelet runs a static pod and names its cgroup. It is set only on the static pod's
    /// mirror, for which the API server chose another uid; `None` for every other pod. See `static_uid` below.
    pub static_uid: Option<Arc<str>>,
    /// The port of the REST API of the pod's l7mp proxy. `None`: it has none.
    pub l7mp: Option<NonZeroU16>,
    /// The annotations and fields by which an object selects pods (see [`Interest`]), under the names returned by
    /// [`annotation_attribute`] and [`field_attribute`].
    pub extra: BTreeMap<String, String>,
}

/// The annotations and fields by which objects select pods, in addition to labels. No other annotation or field of a
/// pod is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interest {
    /// Keys of annotations.
    pub annotations: BTreeSet<String>,
    /// Dotted paths of fields in the pod object: some of [`FIELDS`]. No other field is ever found.
    pub fields: BTreeSet<String>,
}

/// The fields of a pod that the objects of l7mp.io may select by, as dotted paths in the pod object.
pub const FIELDS: [&str; 8] = [
    "metadata.name",
    "metadata.namespace",
    "spec.nodeName",
    "spec.serviceAccountName",
    "spec.hostNetwork",
    "status.podIP",
    "status.hostIP",
    "status.phase",
];

/// Returns the attribute name for an annotation. Like those of fields and Services, it contains a colon, which no label
/// key can have.
pub fn annotation_attribute(key: &str) -> String {
    format!("annotation:{key}")
}

/// Returns the attribute name for the field at a dotted path.
pub fn field_attribute(path: &str) -> String {
    format!("field:{path}")
}

/// Returns the attribute name for the pods in a Service's EndpointSlices.
pub fn service_attribute(namespace: &str, name: &str) -> String {
    format!("service:{namespace}/{name}")
}

/// Returns whether a name was returned by [`service_attribute`].
pub fn is_service_attribute(name: &str) -> bool {
    name.starts_with("service:")
}

// === impl Interest ===

impl Interest {
    /// The interest of agents, which name proxies by [`PROXY_NAME_ANNOTATION`] and find those that an object selects by
    /// [`FIELDS`].
    pub fn of_agents() -> Self {
        Self {
            annotations: BTreeSet::from([PROXY_NAME_ANNOTATION.to_owned()]),
            fields: FIELDS.map(str::to_owned).into(),
        }
    }

    /// Returns the requested annotations and fields of a pod as attributes.
    fn of(&self, pod: &PodDocument) -> BTreeMap<String, String> {
        let annotations = pod.metadata.annotations.iter().flatten();
        let wanted = annotations.filter(|(key, _)| self.annotations.contains(*key));
        let mut found: BTreeMap<String, String> =
            wanted.map(|(key, value)| (annotation_attribute(key), value.clone())).collect();
        let at = |path: &String| Some((field_attribute(path), field(pod, path)?));
        found.extend(self.fields.iter().filter_map(at));
        found
    }
}

/// Returns the text of one of [`FIELDS`]; `None` if the pod doesn't have the field.
fn field(pod: &PodDocument, path: &str) -> Option<String> {
    let (meta, spec, status) = (&pod.metadata, pod.spec.as_ref(), pod.status.as_ref());
    let text = match path {
        "metadata.name" => meta.name.clone(),
        "metadata.namespace" => meta.namespace.clone(),
        "spec.nodeName" => spec?.node_name.clone(),
        "spec.serviceAccountName" => spec?.service_account_name.clone(),
        "spec.hostNetwork" => spec?.host_network.map(|host| host.to_string()),
        "status.podIP" => status?.pod_ip.clone(),
        "status.hostIP" => status?.host_ip.clone(),
        "status.phase" => status?.phase.clone(),
        _ => None,
    };
    text.filter(|text| !text.is_empty())
}

// === impl Pod ===

impl Pod {
    /// Reduces a Kubernetes Pod. Returns `None` if it has no uid or no name, that is, if it doesn't come from an API
    /// server.
    pub fn from_kube(pod: PodDocument) -> Option<Self> {
        Self::from_kube_with(pod, &Interest::default())
    }

    /// Reduces a Kubernetes Pod to what routing needs and to the attributes in `interest`. Returns `None` as in
    /// [`Self::from_kube`].
    pub fn from_kube_with(pod: PodDocument, interest: &Interest) -> Option<Self> {
        let extra = interest.of(&pod);
        let meta = pod.metadata;
        let spec = pod.spec.unwrap_or_default();
        let status = pod.status.unwrap_or_default();
        let static_uid = static_uid(&meta, &spec);
        let l7mp = l7mp_port(&meta, &spec);
        let grace = meta.deletion_grace_period_seconds.unwrap_or(0) * 1000;
        let terminating_ms = meta.deletion_timestamp.map_or(0, |t| t.0.as_millisecond() - grace);
        Some(Self {
            uid: meta.uid?.into(),
            name: meta.name?.into(),
            namespace: meta.namespace.unwrap_or_else(|| "default".into()).into(),
            labels: meta.labels.unwrap_or_default(),
            node: spec.node_name.filter(|n| !n.is_empty()).map(Into::into),
            ips: ips(&status),
            ready: readiness::ready(&status, terminating_ms),
            host_network: spec.host_network.unwrap_or(false),
            created_ms: meta.creation_timestamp.map_or(0, |t| t.0.as_millisecond()),
            terminating_ms,
            finished: matches!(status.phase.as_deref(), Some("Succeeded" | "Failed")),
            node_proxy: meta.annotations.and_then(|mut a| a.remove(NODE_PROXY_ANNOTATION)),
            service_account: spec.service_account_name.unwrap_or_default(),
            static_uid,
            l7mp,
            extra,
        })
    }

    /// Returns the attributes by which the pod can be selected: its labels, and the kept annotations and fields.
    pub fn attributes(&self) -> BTreeMap<String, String> {
        let mut all = self.labels.clone();
        all.extend(self.extra.iter().map(|(key, value)| (key.clone(), value.clone())));
        all
    }

    /// Returns whether the pod is an endpoint of the groups that select it: it is ready, or was ready when its deletion
    /// began.
    ///
    /// A terminating pod that was an endpoint stays one until it is gone, because existing sessions still need it. The
    /// translation decides whether it gets new sessions.
    pub fn is_endpoint(&self) -> bool {
        self.ready && !self.finished && !self.ips.is_empty()
    }
}

/// Returns the uid of the static pod that this pod mirrors.
///
/// For a mirror, a kubelet writes the uid into both annotations, sets its node as the owner, and sets no ServiceAccount
/// (the API server rejects one). Other users who may create pods can write the same fields. The kubelet deletes such a
/// pod without running it, so it has no processes. The uid is only used if no other pod has it and no older mirror
/// claims it.
fn static_uid(meta: &ObjectMeta, spec: &Spec) -> Option<Arc<str>> {
    let annotation = |name| meta.annotations.as_ref()?.get(name).filter(|value| !value.is_empty());
    let uid = annotation(CONFIG_MIRROR).filter(|uid| annotation(CONFIG_HASH) == Some(uid))?;
    let node = spec.node_name.as_ref().filter(|node| !node.is_empty())?;
    let owners = meta.owner_references.as_deref().unwrap_or_default();
    let [owner] = owners else { return None };
    let of_node = (owner.api_version.as_str(), owner.kind.as_str(), &owner.name) == ("v1", "Node", node);
    let mirror = of_node && owner.controller == Some(true) && no_account(spec);
    mirror.then(|| uid.as_str().into())
}

/// Returns the port of the REST API of the pod's l7mp proxy. An annotation without a valid port counts as missing.
fn l7mp_port(meta: &ObjectMeta, spec: &Spec) -> Option<NonZeroU16> {
    let annotation = meta.annotations.as_ref().and_then(|all| all.get(L7MP_PORT_ANNOTATION));
    let mut containers = spec.containers.iter().chain(&spec.init_containers).flatten();
    let named = || containers.any(|one| one.name == Some(ContainerName::L7mp)).then_some(L7MP_PORT);
    annotation.and_then(|port| port.parse().ok()).or_else(named)
}

fn no_account(spec: &Spec) -> bool {
    spec.service_account_name.as_deref().is_none_or(str::is_empty)
}

fn ips(status: &Status) -> Vec<IpAddr> {
    let listed = status.pod_ips.iter().flatten().filter_map(|ip| ip.ip.as_deref());
    let primary = status.pod_ip.as_deref();
    let mut found: Vec<IpAddr> = Vec::new();
    for ip in primary.into_iter().chain(listed).filter_map(|text| text.parse().ok()) {
        if !found.contains(&ip) {
            found.push(ip);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(status: serde_json::Value, deletion: Option<&str>) -> Pod {
        let object = json!({
            "metadata": {"name": "w", "namespace": "ns", "uid": "u", "labels": {"app": "w"},
                "creationTimestamp": "2026-01-01T00:00:00Z", "deletionTimestamp": deletion,
                "deletionGracePeriodSeconds": deletion.map(|_| 30)},
            "spec": {"nodeName": "n", "containers": []},
            "status": status,
        });
        Pod::from_kube(serde_json::from_value(object).unwrap()).unwrap()
    }

    fn ready_status() -> serde_json::Value {
        json!({"phase": "Running", "podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}],
            "conditions": [{"type": "Ready", "status": "True"}]})
    }

    #[test]
    fn ready_pod_is_an_endpoint_with_each_address_once() {
        let pod = pod(ready_status(), None);
        assert!(pod.is_endpoint());
        assert_eq!(pod.ips, ["10.0.0.1", "fd00::1"].map(|ip| ip.parse::<IpAddr>().unwrap()));
        assert_eq!(pod.terminating_ms, 0);
    }

    #[test]
    fn unready_pod_and_pod_without_address_are_no_endpoints() {
        let mut unready = ready_status();
        unready["conditions"][0]["status"] = "False".into();
        assert!(!pod(unready, None).is_endpoint());
        let without = json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]});
        assert!(!pod(without, None).is_endpoint());
    }

    #[test]
    fn terminating_pod_stays_an_endpoint_from_the_moment_its_deletion_was_asked_for() {
        let mut status = ready_status();
        status["conditions"][0]["status"] = "False".into();
        status["conditions"][0]["lastTransitionTime"] = "2026-01-01T01:00:04Z".into();
        let pod = pod(status, Some("2026-01-01T01:00:30Z"));
        assert!(pod.is_endpoint());
        assert_eq!(pod.terminating_ms, 1_767_229_200_000);
    }

    #[test]
    fn pod_that_was_not_ready_when_its_deletion_began_does_not_become_an_endpoint_by_it() {
        let mut status = ready_status();
        status["conditions"][0]["status"] = "False".into();
        status["conditions"][0]["lastTransitionTime"] = "2026-01-01T00:59:59Z".into();
        assert!(!pod(status.clone(), Some("2026-01-01T01:00:30Z")).is_endpoint());
        status["conditions"] = json!([]);
        assert!(!pod(status, Some("2026-01-01T01:00:30Z")).is_endpoint());
    }

    #[test]
    fn l7mp_proxy_is_a_container_of_that_name_or_announced_by_its_port() {
        for (containers, init, annotation, expected) in [
            (json!([{"name": "app"}]), json!([]), None, None),
            (json!([{"name": "app"}, {"name": "l7mp"}]), json!([]), None, Some(1234)),
            (
                json!([{"name": "app"}]),
                json!([{"name": "l7mp", "restartPolicy": "Always"}]),
                None,
                Some(1234),
            ),
            (json!([{"name": "l7mp"}]), json!([]), Some("8080"), Some(8080)),
            (json!([{"name": "app"}]), json!([]), Some("1234"), Some(1234)),
            (json!([{"name": "app"}]), json!([]), Some("0"), None),
            (json!([{"name": "l7mp"}]), json!([]), Some("none"), Some(1234)),
        ] {
            let object = json!({
                "metadata": {"name": "w", "uid": "u", "annotations": {"portreeve.dev/l7mp-port": annotation}},
                "spec": {"containers": containers, "initContainers": init},
            });
            let mut object = object;
            if annotation.is_none() {
                object["metadata"]["annotations"] = json!({});
            }
            let pod = Pod::from_kube(serde_json::from_value(object.clone()).unwrap()).unwrap();
            assert_eq!(pod.l7mp.map(NonZeroU16::get), expected, "{object}");
        }
    }

    #[test]
    fn only_a_mirror_pod_of_its_own_node_has_a_static_pods_uid() {
        let hash = "0123456789abcdef0123456789abcdef";
        let mirror = json!({
            "metadata": {"name": "w-n", "namespace": "ns", "uid": "u",
                "annotations": {"kubernetes.io/config.hash": hash, "kubernetes.io/config.mirror": hash},
                "ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": "n", "uid": "nu", "controller": true}]},
            "spec": {"nodeName": "n", "containers": []},
        });
        let static_uid = |change: &dyn Fn(&mut serde_json::Value)| {
            let mut object = mirror.clone();
            change(&mut object);
            Pod::from_kube(serde_json::from_value(object).unwrap()).unwrap().static_uid
        };
        assert_eq!(static_uid(&|_| ()).as_deref(), Some(hash));
        for (pointer, value) in [
            ("/metadata/annotations/kubernetes.io~1config.mirror", json!("")),
            ("/metadata/annotations/kubernetes.io~1config.mirror", json!("other")),
            ("/metadata/annotations", json!({"kubernetes.io/config.hash": hash})),
            ("/metadata/annotations", json!({"kubernetes.io/config.mirror": hash})),
            ("/metadata/ownerReferences", json!([])),
            ("/metadata/ownerReferences/0/kind", json!("ReplicaSet")),
            ("/metadata/ownerReferences/0/apiVersion", json!("example.com/v1")),
            ("/metadata/ownerReferences/0/controller", json!(false)),
            ("/metadata/ownerReferences/0/name", json!("other")),
            ("/spec", json!({"containers": []})),
            ("/spec", json!({"nodeName": "other", "containers": []})),
            ("/spec", json!({"nodeName": "n", "serviceAccountName": "default", "containers": []})),
        ] {
            let found = static_uid(&|object| *object.pointer_mut(pointer).unwrap() = value.clone());
            assert_eq!(found, None, "{pointer} {value}");
        }
    }

    #[test]
    fn pod_keeps_of_its_annotations_and_fields_what_is_asked_for() {
        let object = json!({
            "metadata": {"name": "w", "uid": "u", "annotations": {"mine": "a", "other": "b"}},
            "spec": {"nodeName": "n", "hostNetwork": true, "containers": []},
        });
        let interest = Interest {
            annotations: ["mine".to_owned(), "missing".to_owned()].into(),
            fields: ["spec.nodeName", "spec.hostNetwork", "spec.containers", "spec.none"]
                .map(str::to_owned)
                .into(),
        };
        let pod = Pod::from_kube_with(serde_json::from_value(object).unwrap(), &interest).unwrap();
        let kept: Vec<_> = pod.attributes().into_iter().collect();
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        let wanted = [
            pair("annotation:mine", "a"),
            pair("field:spec.hostNetwork", "true"),
            pair("field:spec.nodeName", "n"),
        ];
        assert_eq!(kept, wanted);
    }

    #[test]
    fn every_known_field_has_the_text_at_its_path() {
        let full = json!({
            "metadata": {"name": "w", "namespace": "ns", "uid": "u"},
            "spec": {"nodeName": "n", "serviceAccountName": "sa", "hostNetwork": false, "containers": []},
            "status": {"podIP": "10.0.0.1", "hostIP": "10.0.0.9", "phase": "Running"},
        });
        let read = |object: &serde_json::Value| {
            let pod = serde_json::from_value(object.clone()).unwrap();
            Pod::from_kube_with(pod, &Interest::of_agents()).unwrap().extra
        };
        let kept = read(&full);
        assert_eq!(kept.len(), FIELDS.len());
        for path in FIELDS {
            let value = full.pointer(&format!("/{}", path.replace('.', "/"))).unwrap();
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            assert_eq!(kept.get(&field_attribute(path)), Some(&text), "{path}");
        }
        let bare = json!({"metadata": {"name": "w", "uid": "u"}, "spec": {"containers": [], "nodeName": ""}});
        assert_eq!(read(&bare).into_keys().collect::<Vec<_>>(), ["field:metadata.name"]);
    }

    #[test]
    fn finished_pod_is_gone() {
        let mut status = ready_status();
        status["phase"] = "Failed".into();
        assert!(!pod(status, None).is_endpoint());
    }
}
