//! The simulated cluster: how many objects it has, and how they select each other. Entry point: [`Shape`].
//!
//! Pod `i` is on node `i / pods_per_node` and in group `i % groups`, so that the pods of a group are on different nodes.
//! Each service is a VirtualService with one listener, whose endpoints are the pods of one group. All services select the
//! same NodeProxy, which runs on the gateway nodes.

use std::time::Duration;

use portreeve_api::a::virtual_service;
use portreeve_api::own::node_proxy;
use serde_json::{Value, json};

/// Namespace of all pods and services.
pub const NAMESPACE: &str = "default";
/// Name of the NodeProxy.
pub const PROXY: &str = "gateway";
/// Name of the additional service of the scenario `hot`.
pub const HOT: &str = "hot";
/// Port of all endpoints before the first edit.
pub const FIRST_PORT: u16 = 6000;

/// One of this number of pods is an endpoint of the service [`HOT`].
const HOT_SHARE: u32 = 50;
/// Port of the first service's listener. The others follow.
const LISTENERS: u32 = 10_000;
/// Port of the listener of the service [`HOT`].
const HOT_LISTENER: u32 = 9_999;
/// Label of the proxies that the services select.
const GATEWAY_APP: &str = "envoy-ingress";
const CREATED: &str = "2026-01-01T00:00:00Z";

/// The numbers of objects of a simulated cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::Args)]
pub struct Shape {
    /// Number of nodes.
    #[arg(long, default_value_t = 1000)]
    pub nodes: u32,
    /// Number of pods on each node.
    #[arg(long, default_value_t = 30)]
    pub pods_per_node: u32,
    /// Number of VirtualServices.
    #[arg(long, default_value_t = 1000)]
    pub services: u32,
    /// Number of pods that a VirtualService selects as endpoints.
    #[arg(long, default_value_t = 100)]
    pub group_size: u32,
    /// Number of nodes with a gateway: the first ones.
    #[arg(long, default_value_t = 10)]
    pub gateways: u32,
    /// Number of nodes with an agent: the first ones.
    #[arg(long, default_value_t = 10)]
    pub agents: u32,
}

// === impl Shape ===

impl Shape {
    /// Returns the number of pods.
    pub fn pods(&self) -> u32 {
        self.nodes * self.pods_per_node
    }

    /// Returns the number of groups of pods.
    pub fn groups(&self) -> u32 {
        (self.pods() / self.group_size.max(1)).max(1)
    }

    /// Returns the number of groups that are a service's endpoints.
    pub fn used_groups(&self) -> u32 {
        self.groups().min(self.services)
    }

    /// Returns whether a pod is an endpoint of a service.
    pub fn is_used(&self, pod: u32) -> bool {
        pod % self.groups() < self.used_groups()
    }

    /// Returns the pods that are endpoints of a service, group after group: neighbours are on different nodes.
    pub fn used_pods(&self) -> impl Iterator<Item = u32> {
        let shape = *self;
        let group = move |group| (group..shape.pods()).step_by(shape.groups() as usize);
        (0..self.used_groups()).flat_map(group)
    }

    /// Returns the pods that are endpoints of the service [`HOT`].
    pub fn hot_pods(&self) -> impl Iterator<Item = u32> {
        (0..self.pods()).step_by(HOT_SHARE as usize)
    }

    /// Returns whether a pod is an endpoint of the service [`HOT`].
    pub fn is_hot(&self, pod: u32) -> bool {
        pod.is_multiple_of(HOT_SHARE)
    }

    /// Returns the number of connected agents whose node has a gateway.
    pub fn concerned(&self) -> usize {
        self.agents.min(self.gateways) as usize
    }

    /// Returns the limit of every wait.
    pub fn bound(&self) -> Duration {
        Duration::from_secs(30 + u64::from(self.pods() / 200))
    }

    /// Returns the labels of a pod, as a JSON object.
    pub fn labels(&self, pod: u32) -> String {
        let (group, zone) = (pod % self.groups(), pod % HOT_SHARE);
        format!(r#"{{"app":"app-{group}","pod-template-hash":"7d4f{group:06}","zone":"z{zone}"}}"#)
    }

    /// Returns the object of a node.
    pub fn node(&self, node: u32) -> Value {
        let gateway = if node < self.gateways { "yes" } else { "no" };
        let name = node_name(node);
        let labels = json!({"kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "gateway": gateway});
        let meta = json!({"name": name, "uid": format!("node-{node}"), "creationTimestamp": CREATED,
            "labels": labels});
        let ready = json!({"type": "Ready", "status": "True", "lastTransitionTime": CREATED});
        let status =
            json!({"conditions": [ready], "capacity": {"cpu": "8", "memory": "32Gi", "pods": "110"}});
        json!({"apiVersion": "v1", "kind": "Node", "metadata": meta, "spec": {}, "status": status})
    }

    /// Returns the object of a service, whose endpoints have this port.
    pub fn service(&self, service: u32, port: u16) -> Value {
        let labels = json!({"app": format!("app-{}", service % self.groups())});
        virtual_service(&service_name(service), LISTENERS + service, (&labels, port))
    }
}

/// Returns the service that all gateways use in addition in the scenario `hot`.
pub fn hot_service() -> Value {
    virtual_service(HOT, HOT_LISTENER, (&json!({"zone": "z0"}), FIRST_PORT))
}

/// Returns the NodeProxy, on all nodes or on the gateway nodes only.
pub fn node_proxy(on_all_nodes: bool) -> Value {
    let selector = if on_all_nodes { json!({}) } else { json!({"gateway": "yes"}) };
    json!({
        "apiVersion": "portreeve.dev/v1alpha1", "kind": node_proxy::KIND.name,
        "metadata": {"name": PROXY, "uid": PROXY, "generation": 1, "creationTimestamp": CREATED},
        "spec": {"nodeSelector": selector, "labels": {"app": GATEWAY_APP}},
    })
}

/// Returns the name of a node.
pub fn node_name(node: u32) -> String {
    format!("node-{node:05}")
}

/// Returns the name of a service.
pub fn service_name(service: u32) -> String {
    format!("service-{service:05}")
}

/// Returns the number of the service that a listener's port belongs to.
pub fn service_of(listener: u32) -> Option<u32> {
    listener.checked_sub(LISTENERS)
}

fn virtual_service(name: &str, listener: u32, (labels, port): (&Value, u16)) -> Value {
    let endpoint = json!({"name": "pods", "host": {"selector": labels}, "port": port});
    let cluster = json!({"name": format!("{name}-out"), "service_discovery": "eds", "endpoints": [endpoint]});
    json!({
        "apiVersion": "servicemesh.l7mp.io/v1", "kind": virtual_service::KIND.name,
        "metadata": {"name": name, "namespace": NAMESPACE, "uid": name, "generation": 1,
            "creationTimestamp": CREATED},
        "spec": {"selector": {"app": GATEWAY_APP},
            "listeners": [{"name": "l", "udp": {"port": listener, "cluster": cluster}}]},
    })
}

#[cfg(test)]
mod tests {
    use portreeve_api::a::virtual_service::VirtualService;
    use portreeve_api::own::node_proxy::NodeProxy;

    use super::*;

    const SMALL: Shape =
        Shape { nodes: 40, pods_per_node: 10, services: 20, group_size: 10, gateways: 4, agents: 8 };

    #[test]
    fn each_used_pod_is_in_exactly_one_group() {
        let pods: Vec<u32> = SMALL.used_pods().collect();
        assert_eq!((SMALL.groups(), SMALL.used_groups(), pods.len()), (40, 20, 200));
        assert!(pods.iter().all(|pod| SMALL.is_used(*pod)));
        assert_eq!(pods.iter().collect::<std::collections::BTreeSet<_>>().len(), 200);
    }

    #[test]
    fn objects_are_valid() {
        for object in [SMALL.service(19, FIRST_PORT), hot_service()] {
            let (object, warnings) = VirtualService::parse(object).unwrap();
            assert!(object.validate().is_empty() && warnings.is_empty());
        }
        for on_all_nodes in [true, false] {
            let (object, warnings) = NodeProxy::parse(node_proxy(on_all_nodes)).unwrap();
            assert!(object.validate().is_empty() && warnings.is_empty());
            assert_eq!(object.spec.node_selector.is_empty(), on_all_nodes);
        }
    }
}
