//! One local proxy: who it is, which Plans are meant for it, and what it holds of each.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use portreeve_api::pod::Pod;
use portreeve_api::plan;
use portreeve_xds::envoy::EnvoyType;
use portreeve_xds::{Name, Resource, View};

use super::claims::{Port, Transport, Wish};
use crate::translate::{Families, Output, Remark};

/// A proxy of this node.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ProxyId {
    /// The proxy of a NodeProxy, by its name.
    Node(Name),
    /// The proxy in a pod, by the pod's uid.
    Pod(Name),
}

/// What decides which Plans a proxy gets and how they are translated.
#[derive(Clone, Debug, PartialEq)]
pub struct Facts {
    /// For people: "nodeproxy/<name>" or "pod/<namespace>/<name>".
    pub title: String,
    /// Labels that selectors are matched against.
    pub labels: BTreeMap<String, String>,
    /// The network namespace: "host" or a pod's uid.
    pub netns: Name,
    /// Its address families.
    pub families: Families,
    /// Whose Plans it takes.
    pub allowed: Allowed,
}

/// The namespaces whose Plans a proxy takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Allowed {
    /// Any.
    All,
    /// These.
    Only(Vec<String>),
}

/// A proxy's present state.
pub struct Proxy {
    /// What it is.
    pub facts: Facts,
    /// What it is sent.
    pub view: Arc<View<EnvoyType>>,
    /// What each Plan contributes.
    pub plans: BTreeMap<Name, Contribution>,
}

/// A Plan's part of a proxy's configuration.
#[derive(Default)]
pub struct Contribution {
    /// Resources by type and name.
    pub resources: BTreeMap<(EnvoyType, Name), Arc<Resource>>,
    /// What could not be expressed.
    pub remarks: Vec<Remark>,
    /// Listeners that lost their port.
    pub denied: BTreeMap<String, super::claims::Denied>,
}

// === impl ProxyId ===

impl fmt::Display for ProxyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ProxyId::Node(name) => write!(f, "nodeproxy/{name}"),
            ProxyId::Pod(uid) => write!(f, "pod/{uid}"),
        }
    }
}

// === impl Facts ===

impl Facts {
    /// A pod's proxy.
    pub fn of_pod(pod: &Pod, host: Families) -> Self {
        Self {
            title: format!("pod/{}/{}", pod.namespace, pod.name),
            labels: pod.labels.clone(),
            netns: if pod.host_network { "host".into() } else { pod.uid.clone() },
            families: if pod.host_network { host } else { families(&pod.ips) },
            allowed: Allowed::Only(vec![pod.namespace.to_string()]),
        }
    }

    /// A NodeProxy's proxy.
    pub fn of_node_proxy(name: &str, proxy: &plan::NodeProxy, host: Families) -> Self {
        let allowed = match proxy.all_namespaces {
            true => Allowed::All,
            false => Allowed::Only(proxy.allowed_namespaces.clone()),
        };
        let labels = proxy.labels.clone();
        Self { title: format!("nodeproxy/{name}"), labels, netns: "host".into(), families: host, allowed }
    }

    /// Whether a Plan is meant for this proxy.
    pub fn takes(&self, plan: &plan::Plan) -> bool {
        let Some(workload) = &plan.workload else { return false };
        let everywhere = workload.namespace.is_empty();
        let allowed = match &self.allowed {
            Allowed::All => true,
            Allowed::Only(names) => everywhere || names.contains(&workload.namespace),
        };
        let matches = workload.selector.as_ref().is_some_and(|s| s.matches(&self.labels));
        let kind = matches!(workload.proxy_kind(), plan::ProxyKind::Unspecified | plan::ProxyKind::Envoy);
        allowed && matches && kind
    }

    /// The ports that a Plan wants on this proxy.
    pub fn wishes(&self, plan: &plan::Plan) -> Vec<Wish> {
        let wish = |listener: &plan::Listener| {
            let socket = listener.socket.as_ref()?;
            let transport = match socket.protocol() {
                plan::Protocol::Udp => Transport::Udp,
                plan::Protocol::Tcp | plan::Protocol::Http | plan::Protocol::Websocket => Transport::Tcp,
                _ => return None,
            };
            let port = Port { netns: self.netns.clone(), transport, number: socket.port };
            Some(Wish { port, listener: listener.name.clone() })
        };
        plan.listeners.iter().filter_map(wish).collect()
    }
}

// === impl Contribution ===

impl Contribution {
    /// A contribution of these resources.
    pub fn of(outputs: Vec<Output>, remarks: Vec<Remark>) -> Self {
        let resources = outputs.into_iter().map(|(ty, r)| ((ty, r.name().clone()), r)).collect();
        Self { resources, remarks, denied: BTreeMap::new() }
    }

    /// Names of this one's resources that another lacks.
    pub fn missing_in(&self, other: &Self) -> BTreeSet<(EnvoyType, Name)> {
        self.resources.keys().filter(|k| !other.resources.contains_key(*k)).cloned().collect()
    }
}

fn families(ips: &[IpAddr]) -> Families {
    match (ips.iter().any(IpAddr::is_ipv4), ips.iter().any(IpAddr::is_ipv6)) {
        (true, true) if ips[0].is_ipv6() => Families::DualV6First,
        (true, true) => Families::Dual,
        (false, true) => Families::V6,
        _ => Families::V4,
    }
}
