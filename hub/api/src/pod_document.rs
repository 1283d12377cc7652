//! A pod as the API server sends it, of which only the fields are parsed that [`Pod`](crate::pod::Pod) is made of. Entry
//! point: [`PodDocument`].
//!
//! The remaining fields (managed fields, volumes, environments, probes) are most of a pod's bytes. They are skipped
//! without being stored. Every field may be missing or `null`, as in k8s-openapi's types.

use std::borrow::Cow;

use k8s_openapi::api::core::v1::{self, Pod as KubePod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::Resource;
use serde::Deserialize;

use crate::slim_meta;

/// The name of a container that is an l7mp proxy.
const L7MP_CONTAINER: &str = "l7mp";

/// The fields of a Kubernetes Pod that are read.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct PodDocument {
    /// The metadata without managed fields.
    #[serde(default, deserialize_with = "slim_meta::deserialize")]
    pub metadata: ObjectMeta,
    /// The spec.
    pub spec: Option<Spec>,
    /// The status.
    pub status: Option<Status>,
}

/// The fields of a PodSpec that are read.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Spec {
    /// The node that the pod is bound to.
    pub node_name: Option<String>,
    /// The ServiceAccount.
    pub service_account_name: Option<String>,
    /// Whether the pod shares the node's network namespace.
    pub host_network: Option<bool>,
    /// The containers.
    pub containers: Option<Vec<Container>>,
    /// The init containers, including sidecars.
    pub init_containers: Option<Vec<Container>>,
}

/// A container, of which only the name is read.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct Container {
    /// What the name tells.
    pub name: Option<ContainerName>,
}

/// The name of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum ContainerName {
    /// An l7mp proxy.
    #[serde(rename = "l7mp")]
    L7mp,
    /// Any other name.
    #[serde(other)]
    Other,
}

/// The fields of a PodStatus that are read.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// The phase.
    pub phase: Option<String>,
    /// The primary IP address.
    #[serde(rename = "podIP")]
    pub pod_ip: Option<String>,
    /// All IP addresses.
    #[serde(rename = "podIPs")]
    pub pod_ips: Option<Vec<Ip>>,
    /// The node's IP address.
    #[serde(rename = "hostIP")]
    pub host_ip: Option<String>,
    /// The conditions.
    pub conditions: Option<Vec<Condition>>,
    /// The states of the containers, without the init containers.
    pub container_statuses: Option<Vec<ContainerStatus>>,
}

/// An IP address of a pod.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct Ip {
    /// The address.
    pub ip: Option<String>,
}

/// A condition of a pod.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// The type.
    #[serde(rename = "type")]
    pub kind: Option<ConditionType>,
    /// The status.
    pub status: Option<ConditionStatus>,
    /// The time since which it has this status.
    pub last_transition_time: Option<Time>,
}

/// The type of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum ConditionType {
    /// Ready.
    Ready,
    /// Any other type.
    #[serde(other)]
    Other,
}

/// The status of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum ConditionStatus {
    /// True.
    True,
    /// False or unknown.
    #[serde(other)]
    Other,
}

/// The state of a container.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerStatus {
    /// The present state.
    pub state: Option<ContainerState>,
    /// The state before the last restart.
    pub last_state: Option<ContainerState>,
}

/// What a container is doing.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct ContainerState {
    /// Set while it runs.
    pub running: Option<Run>,
    /// Set when it has ended.
    pub terminated: Option<Run>,
}

/// A run of a container.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Run {
    /// When it started.
    pub started_at: Option<Time>,
}

// === impl PodDocument ===

impl Resource for PodDocument {
    type DynamicType = ();
    type Scope = <KubePod as Resource>::Scope;

    fn kind(of: &()) -> Cow<'_, str> {
        KubePod::kind(of)
    }

    fn group(of: &()) -> Cow<'_, str> {
        KubePod::group(of)
    }

    fn version(of: &()) -> Cow<'_, str> {
        KubePod::version(of)
    }

    fn plural(of: &()) -> Cow<'_, str> {
        KubePod::plural(of)
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

impl From<&KubePod> for PodDocument {
    fn from(pod: &KubePod) -> Self {
        Self {
            metadata: ObjectMeta { managed_fields: None, self_link: None, ..pod.metadata.clone() },
            spec: pod.spec.as_ref().map(Into::into),
            status: pod.status.as_ref().map(Into::into),
        }
    }
}

// === impl Spec ===

impl From<&v1::PodSpec> for Spec {
    fn from(spec: &v1::PodSpec) -> Self {
        Self {
            node_name: spec.node_name.clone(),
            service_account_name: spec.service_account_name.clone(),
            host_network: spec.host_network,
            containers: Some(spec.containers.iter().map(Into::into).collect()),
            init_containers: spec.init_containers.as_ref().map(|all| all.iter().map(Into::into).collect()),
        }
    }
}

impl From<&v1::Container> for Container {
    fn from(container: &v1::Container) -> Self {
        let is_l7mp = container.name == L7MP_CONTAINER;
        Self { name: Some(if is_l7mp { ContainerName::L7mp } else { ContainerName::Other }) }
    }
}

// === impl Status ===

impl From<&v1::PodStatus> for Status {
    fn from(status: &v1::PodStatus) -> Self {
        let ips = |all: &Vec<v1::PodIP>| all.iter().map(|one| Ip { ip: Some(one.ip.clone()) }).collect();
        Self {
            phase: status.phase.clone(),
            pod_ip: status.pod_ip.clone(),
            pod_ips: status.pod_ips.as_ref().map(ips),
            host_ip: status.host_ip.clone(),
            conditions: status.conditions.as_ref().map(|all| all.iter().map(Into::into).collect()),
            container_statuses: status
                .container_statuses
                .as_ref()
                .map(|all| all.iter().map(Into::into).collect()),
        }
    }
}

impl From<&v1::PodCondition> for Condition {
    fn from(condition: &v1::PodCondition) -> Self {
        let is_true = condition.status == "True";
        Self {
            kind: Some(if condition.type_ == "Ready" { ConditionType::Ready } else { ConditionType::Other }),
            status: Some(if is_true { ConditionStatus::True } else { ConditionStatus::Other }),
            last_transition_time: condition.last_transition_time.clone(),
        }
    }
}

impl From<&v1::ContainerStatus> for ContainerStatus {
    fn from(status: &v1::ContainerStatus) -> Self {
        let state = |state: &v1::ContainerState| ContainerState {
            running: state.running.as_ref().map(|run| Run { started_at: run.started_at.clone() }),
            terminated: state.terminated.as_ref().map(|run| Run { started_at: run.started_at.clone() }),
        };
        Self { state: status.state.as_ref().map(state), last_state: status.last_state.as_ref().map(state) }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::pod::{Interest, Pod};

    /// A pod with every field that is read, and some that aren't.
    fn full() -> Value {
        let run = json!({"startedAt": "2026-01-01T00:00:02Z"});
        json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {
                "name": "w-1", "generateName": "w-", "namespace": "ns", "uid": "u", "resourceVersion": "7",
                "creationTimestamp": "2026-01-01T00:00:00Z", "deletionTimestamp": "2026-01-01T01:00:30Z",
                "deletionGracePeriodSeconds": 30, "labels": {"app": "w"},
                "annotations": {"portreeve.dev/node-proxy": "p", "portreeve.dev/proxy-name": "q", "other": "x"},
                "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "w", "uid": "r"}],
                "managedFields": [{"manager": "kubelet", "operation": "Update", "apiVersion": "v1",
                    "fieldsType": "FieldsV1", "fieldsV1": {"f:status": {"f:podIP": {}}}}],
            },
            "spec": {
                "nodeName": "n", "serviceAccountName": "sa", "hostNetwork": true, "volumes": [{"name": "v"}],
                "containers": [{"name": "app", "image": "i", "env": [{"name": "A", "value": "b"}]}],
                "initContainers": [{"name": "l7mp", "restartPolicy": "Always"}],
            },
            "status": {
                "phase": "Running", "podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}],
                "hostIP": "10.0.0.9",
                "conditions": [
                    {"type": "PodScheduled", "status": "True", "lastTransitionTime": "2026-01-01T00:00:01Z"},
                    {"type": "Ready", "status": "False", "lastTransitionTime": "2026-01-01T01:00:10Z"},
                ],
                "containerStatuses": [
                    {"name": "app", "image": "i", "imageID": "", "ready": true, "restartCount": 1,
                        "state": {"running": run}, "lastState": {"terminated": {"exitCode": 1, "startedAt": null}}},
                    {"name": "l7mp", "image": "i", "imageID": "", "ready": true, "restartCount": 0,
                        "state": {"terminated": {"exitCode": 0, "startedAt": "2026-01-01T00:00:03Z"}}},
                ],
            },
        })
    }

    /// The document from its text, and by way of the full type.
    fn both(object: &Value) -> [PodDocument; 2] {
        let kube: KubePod = serde_json::from_value(object.clone()).unwrap();
        [serde_json::from_str(&object.to_string()).unwrap(), PodDocument::from(&kube)]
    }

    #[test]
    fn document_is_the_same_from_its_text_and_from_the_full_type() {
        let [read, converted] = both(&full());
        assert_eq!(read, converted);
        let pod = Pod::from_kube_with(read, &Interest::of_agents()).unwrap();
        assert!(pod.ready && pod.host_network && pod.l7mp.is_some() && pod.extra.len() == 9, "{pod:?}");
    }

    #[test]
    fn any_field_may_be_missing_or_null() {
        let full = full();
        let mut pointers = Vec::new();
        walk(&full, String::new(), &mut pointers);
        for pointer in &pointers {
            let mut object = full.clone();
            *object.pointer_mut(pointer).unwrap() = Value::Null;
            // Items and texts in maps can't be null.
            if serde_json::from_value::<KubePod>(object.clone()).is_err() {
                continue;
            }
            let [read, converted] = both(&object);
            let reduced = |document| Pod::from_kube_with(document, &Interest::of_agents());
            assert_eq!(reduced(read), reduced(converted), "{pointer}");
        }
        assert!(pointers.len() > 50);
    }

    /// The pointers to all fields and items but the type's, which only the full type checks.
    fn walk(value: &Value, at: String, found: &mut Vec<String>) {
        let below: Vec<(String, &Value)> = match value {
            Value::Object(fields) => {
                fields.iter().map(|(key, field)| (key.replace('/', "~1"), field)).collect()
            }
            Value::Array(all) => all.iter().enumerate().map(|(i, one)| (i.to_string(), one)).collect(),
            _ => Vec::new(),
        };
        let below = below.into_iter().map(|(key, field)| (format!("{at}/{key}"), field));
        for (pointer, field) in below.filter(|(pointer, _)| pointer != "/apiVersion" && pointer != "/kind") {
            found.push(pointer.clone());
            walk(field, pointer, found);
        }
    }

    #[test]
    fn fields_that_are_not_read_may_have_any_type() {
        let object =
            json!({"metadata": {"name": "w", "uid": "u", "managedFields": 1}, "spec": {"volumes": "none"}});
        let document: PodDocument = serde_json::from_value(object).unwrap();
        assert_eq!(document.metadata.name.as_deref(), Some("w"));
    }
}
