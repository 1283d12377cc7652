//! A pod as a few numbers ([`Pod`]), and its JSON as an API server has it ([`Template`]).

use std::net::Ipv4Addr;

use serde_json::{Value, json};

use super::shape::{NAMESPACE, Shape, node_name};

/// Marks a place in the template. It must not occur in the text.
const MARK: char = '\u{1}';
const CREATED: &str = "2026-01-01T00:00:00Z";
/// The end of the grace period of a terminating pod.
const ENDS: &str = "2026-01-01T01:00:30Z";
/// Number of containers of a pod.
const CONTAINERS: usize = 2;

/// A pod. The rest of its object follows from these numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pod {
    /// Its number in the cluster.
    pub number: u32,
    /// How many pods with this number there were before. It is part of name, uid and address.
    pub life: u16,
    /// Its state.
    pub phase: Phase,
}

/// The state of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It has no address yet.
    Pending,
    /// It is ready.
    Ready,
    /// It is not ready.
    Unready,
    /// It was ready until its deletion was requested.
    Terminating,
}

/// What is inserted into the template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Name,
    Uid,
    Node,
    Ip,
    Labels,
    Revision,
    Deletion,
    Phase,
    Ready,
    PodIps,
}

/// The JSON of a pod, about 7.3 kB, as texts with the fields behind them.
#[derive(Debug)]
pub struct Template {
    shape: Shape,
    pieces: Vec<(String, Option<Field>)>,
}

const FIELDS: [Field; 10] = [
    Field::Name,
    Field::Uid,
    Field::Node,
    Field::Ip,
    Field::Labels,
    Field::Revision,
    Field::Deletion,
    Field::Phase,
    Field::Ready,
    Field::PodIps,
];

// === impl Pod ===

impl Pod {
    /// Returns the first pod with a number, which is ready.
    pub fn first(number: u32) -> Self {
        Self { number, life: 0, phase: Phase::Ready }
    }

    /// Returns the pod in another state.
    #[must_use]
    pub fn with(self, phase: Phase) -> Self {
        Self { phase, ..self }
    }

    /// Returns the pod that replaces it, without an address.
    #[must_use]
    pub fn successor(self) -> Self {
        Self { life: self.life + 1, phase: Phase::Pending, ..self }
    }

    /// Returns its name.
    pub fn name(&self) -> String {
        format!("pod-{:06}-{:02}", self.number, self.life)
    }

    /// Returns its uid.
    pub fn uid(&self) -> String {
        format!("0f1e2d3c-4b5a-4697-8879-{:04x}{:08x}", self.life, self.number)
    }

    /// Returns the number by which the pod is recognized in a slice.
    pub fn mark(&self) -> u64 {
        u64::from(self.life) << 32 | u64::from(self.number)
    }

    fn ip(&self) -> Ipv4Addr {
        Ipv4Addr::from(0x0a00_0000 | u32::from(self.life & 0xf) << 20 | self.number & 0xf_ffff)
    }
}

/// Returns the [`Pod::mark`] of the pod with this uid.
pub fn mark(uid: &str) -> Option<u64> {
    u64::from_str_radix(uid.rsplit('-').next()?, 16).ok()
}

// === impl Field ===

impl Field {
    /// Returns the text that stands for the field in the template.
    fn placeholder(self) -> String {
        format!("{MARK}{self:?}{MARK}")
    }

    /// Returns what the field stands for in JSON: quotes belong to the field if it isn't a string.
    fn quoted(self) -> String {
        let text = self.placeholder();
        match self {
            Self::Labels | Self::Deletion | Self::PodIps => format!("\"{text}\""),
            _ => text,
        }
    }

    fn write(self, (shape, pod, revision): (&Shape, &Pod, u64), out: &mut String) {
        use std::fmt::Write as _;
        // Writing to a String can't fail.
        let _ = match self {
            Self::Name => write!(out, "{}", pod.name()),
            Self::Uid => write!(out, "{}", pod.uid()),
            Self::Node => write!(out, "{}", node_name(pod.number / shape.pods_per_node)),
            Self::Labels => write!(out, "{}", shape.labels(pod.number)),
            Self::Revision => write!(out, "{revision}"),
            Self::Phase => write!(out, "{}", if pod.phase == Phase::Pending { "Pending" } else { "Running" }),
            Self::Ready => {
                let ready = matches!(pod.phase, Phase::Ready | Phase::Terminating);
                write!(out, "{}", if ready { "True" } else { "False" })
            }
            Self::Deletion if pod.phase == Phase::Terminating => write!(out, "\"{ENDS}\""),
            Self::Deletion => write!(out, "null"),
            Self::Ip if pod.phase == Phase::Pending => Ok(()),
            Self::Ip => write!(out, "{}", pod.ip()),
            Self::PodIps if pod.phase == Phase::Pending => write!(out, "[]"),
            Self::PodIps => write!(out, "[{{\"ip\":\"{}\"}}]", pod.ip()),
        };
    }
}

// === impl Template ===

impl Template {
    /// Creates the template of a cluster's pods.
    pub fn new(shape: Shape) -> Self {
        let text = object().to_string();
        let mut text = text.as_str();
        let mut pieces = Vec::new();
        while let Some((at, quoted, field)) = first_field(text) {
            pieces.push((text[..at].to_owned(), Some(field)));
            text = &text[at + quoted..];
        }
        pieces.push((text.to_owned(), None));
        Self { shape, pieces }
    }

    /// Returns the JSON of a pod with this resourceVersion.
    pub fn render(&self, pod: &Pod, revision: u64) -> String {
        let mut out = String::with_capacity(8 << 10);
        for (text, field) in &self.pieces {
            out.push_str(text);
            field.iter().for_each(|field| field.write((&self.shape, pod, revision), &mut out));
        }
        out
    }
}

/// Returns position, length and field of the first field in a JSON text.
fn first_field(text: &str) -> Option<(usize, usize, Field)> {
    let escaped = |field: Field| {
        let quoted = field.quoted().replace(MARK, "\\u0001");
        text.find(&quoted).map(|at| (at, quoted.len(), field))
    };
    FIELDS.into_iter().filter_map(escaped).min_by_key(|(at, ..)| *at)
}

fn object() -> Value {
    let at = Field::placeholder;
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": at(Field::Name), "namespace": NAMESPACE, "uid": at(Field::Uid), "generateName": "worker-7d4f-",
            "resourceVersion": at(Field::Revision), "creationTimestamp": CREATED,
            "deletionTimestamp": at(Field::Deletion), "deletionGracePeriodSeconds": 30,
            "labels": at(Field::Labels),
            "annotations": {"prometheus.io/scrape": "true", "prometheus.io/port": "9090",
                "kubectl.kubernetes.io/restartedAt": CREATED, "checksum/config": "6b2f".repeat(16)},
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "worker-7d4f",
                "uid": "aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee", "controller": true, "blockOwnerDeletion": true}],
            "managedFields": [managed("kube-controller-manager", ""), managed("kubelet", "status")],
        },
        "spec": {
            "nodeName": at(Field::Node), "serviceAccountName": "worker", "serviceAccount": "worker",
            "restartPolicy": "Always", "terminationGracePeriodSeconds": 30, "dnsPolicy": "ClusterFirst",
            "schedulerName": "default-scheduler", "securityContext": {"runAsNonRoot": true, "fsGroup": 2000},
            "priority": 0, "enableServiceLinks": true, "preemptionPolicy": "PreemptLowerPriority",
            "containers": (0..CONTAINERS).map(container).collect::<Vec<_>>(),
            "tolerations": [
                {"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300},
                {"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}],
            "volumes": [
                {"name": "config", "configMap": {"name": "worker-config", "defaultMode": 420}},
                {"name": "cache", "emptyDir": {"sizeLimit": "1Gi"}},
                {"name": "token", "projected": {"defaultMode": 420, "sources": [
                    {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
                    {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}}]}}],
        },
        "status": {
            "phase": at(Field::Phase), "qosClass": "Burstable", "startTime": CREATED, "hostIP": "192.168.0.1",
            "hostIPs": [{"ip": "192.168.0.1"}], "podIP": at(Field::Ip), "podIPs": at(Field::PodIps),
            "conditions": [condition("PodScheduled", "True"), condition("Initialized", "True"),
                condition("PodReadyToStartContainers", "True"), condition("ContainersReady", &at(Field::Ready)),
                condition("Ready", &at(Field::Ready))],
            "containerStatuses": (0..CONTAINERS).map(container_status).collect::<Vec<_>>(),
        },
    })
}

fn condition(kind: &str, status: &str) -> Value {
    json!({"type": kind, "status": status, "lastProbeTime": null, "lastTransitionTime": CREATED})
}

fn container(number: usize) -> Value {
    let variable =
        |i: usize| json!({"name": format!("WORKER_SETTING_{i}"), "value": format!("value-of-{i}")});
    let mount = |name: &str, path: &str| json!({"name": name, "mountPath": path, "readOnly": true});
    let probe = |path: &str| {
        json!({"httpGet": {"path": path, "port": 8080, "scheme": "HTTP"}, "timeoutSeconds": 1, "periodSeconds": 10,
            "successThreshold": 1, "failureThreshold": 3})
    };
    json!({
        "name": format!("worker-{number}"), "image": format!("registry.example.com/team/worker-{number}:v1.2.3"),
        "args": ["--config=/etc/worker/config.yaml", "--listen=0.0.0.0:6000", "--log-level=info"],
        "imagePullPolicy": "IfNotPresent", "terminationMessagePath": "/dev/termination-log",
        "env": (0..6).map(variable).collect::<Vec<_>>(),
        "ports": [{"name": "media", "containerPort": 6000, "protocol": "UDP"},
            {"name": "metrics", "containerPort": 9090, "protocol": "TCP"}],
        "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "256Mi"}},
        "livenessProbe": probe("/livez"), "readinessProbe": probe("/readyz"),
        "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
        "volumeMounts": [mount("config", "/etc/worker"), mount("cache", "/var/cache"),
            mount("token", "/var/run/secrets/kubernetes.io/serviceaccount")],
    })
}

fn container_status(number: usize) -> Value {
    let image = format!("registry.example.com/team/worker-{number}:v1.2.3");
    json!({
        "name": format!("worker-{number}"), "ready": true, "started": true, "restartCount": 0, "image": image,
        "imageID": format!("registry.example.com/team/worker@sha256:{}", "5e1d".repeat(16)),
        "containerID": format!("containerd://{}", "c0de".repeat(16)), "lastState": {},
        "state": {"running": {"startedAt": CREATED}},
    })
}

/// An entry of `managedFields`, as large as usual.
fn managed(manager: &str, subresource: &str) -> Value {
    let fields = |of: &str, count: usize| -> Value {
        (0..count).map(|i| (format!("f:{of}Setting{i}"), json!({".": {}, "f:value": {}}))).collect()
    };
    json!({
        "manager": manager, "operation": "Update", "apiVersion": "v1", "time": CREATED, "subresource": subresource,
        "fieldsType": "FieldsV1", "fieldsV1": {"f:metadata": fields("labels", 6), "f:spec": fields("spec", 14)},
    })
}

#[cfg(test)]
mod tests {
    use portreeve_api::pod::Pod as Read;
    use portreeve_api::pod_document::PodDocument;

    use super::*;

    const SHAPE: Shape =
        Shape { nodes: 4, pods_per_node: 10, services: 2, group_size: 10, gateways: 1, agents: 1 };

    fn read(pod: &Pod) -> Read {
        let text = Template::new(SHAPE).render(pod, 7);
        let pod: PodDocument = serde_json::from_str(&text).unwrap();
        assert_eq!(pod.metadata.resource_version.as_deref(), Some("7"));
        Read::from_kube(pod).unwrap()
    }

    #[test]
    fn pod_is_as_large_as_a_real_one() {
        let size = Template::new(SHAPE).render(&Pod::first(39), 123_456).len();
        assert!((7_000..8_200).contains(&size), "{size} bytes");
    }

    #[test]
    fn state_of_a_pod_is_the_one_that_the_hub_reads() {
        let pod = Pod::first(39);
        let found = read(&pod);
        assert_eq!((found.node.as_deref(), found.ready), (Some("node-00003"), true));
        assert_eq!(found.labels["app"], "app-3");
        assert_eq!(mark(&found.uid), Some(pod.mark()));
        assert!(found.is_endpoint() && !read(&pod.with(Phase::Unready)).is_endpoint());
        let terminating = read(&pod.with(Phase::Terminating));
        assert!(terminating.is_endpoint() && terminating.terminating_ms > 0);
        let next = pod.successor();
        assert!(!read(&next).is_endpoint() && read(&next).ips.is_empty());
        assert_eq!(mark(&read(&next.with(Phase::Ready)).uid), Some(next.mark()));
    }
}
