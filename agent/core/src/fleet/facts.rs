//! A local proxy's identity and the Plans that apply to it: [`Facts`].

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use portreeve_api::model::{Listener, Namespaces, NodeProxy, Plan, Protocol, Selector, Socket, Workload};
use portreeve_api::pod::{self, Pod};
use portreeve_xds::Name;

use super::Announced;
use crate::claims::{Port, Transport, Wish};
use crate::translate::bind::Bind;
use crate::translate::{Families, ProxyKind, lacks};

/// The facts that decide which Plans a proxy gets and how they are translated.
#[derive(Clone, Debug, PartialEq)]
pub struct Facts {
    /// The proxy's kind. It takes the Plans for this kind, and those for other kinds that none of `beside` takes.
    pub kind: ProxyKind,
    /// The pod as `<namespace>/<name>`, or the NodeProxy's name.
    pub name: String,
    /// The name for messages: `nodeproxy/<name>` or `pod/<namespace>/<name>`.
    pub title: String,
    /// The name that its pod's annotation or its NodeProxy sets. Plans may choose proxies by name.
    pub set_name: Option<String>,
    /// What it said of itself. Its `node.id` is the proxy's name if none is set.
    pub announced: Announced,
    /// Labels, and the attributes of a pod's annotations and fields, that selectors are matched against.
    pub labels: BTreeMap<String, String>,
    /// The network namespace: "host" or a pod's uid.
    pub netns: Name,
    /// The proxy's address families.
    pub families: Families,
    /// The namespaces whose Plans it takes.
    pub allowed: Allowed,
    /// The proxies of other kinds in the same network namespace, themselves without any beside them.
    pub beside: Vec<Arc<Facts>>,
}

/// The namespaces whose Plans a proxy takes.
#[derive(Clone, Debug, PartialEq)]
pub enum Allowed {
    /// For a pod's proxy: Plans whose workload selects this namespace, or all namespaces.
    Pod(String),
    /// For a NodeProxy: objects of any namespace.
    All,
    /// For a NodeProxy: objects of these namespaces, whatever namespace their workload selects.
    Listed(Vec<String>),
    /// For a NodeProxy from a hub of version 0.1.0: objects of the namespaces that this selector matches.
    /// Later hubs send the names of the matching namespaces.
    Matching(Selector),
}

/// The label that Kubernetes sets on every namespace to its name. The agent knows no other namespace labels.
const NAME_LABEL: &str = "kubernetes.io/metadata.name";

// === impl Facts ===

impl Facts {
    /// Returns the facts of a pod's proxy, which announced this.
    pub fn of_pod(kind: ProxyKind, pod: &Pod, host: Families, announced: Announced) -> Self {
        Self {
            kind,
            name: format!("{}/{}", pod.namespace, pod.name),
            title: format!("pod/{}/{}", pod.namespace, pod.name),
            set_name: pod.extra.get(&pod::annotation_attribute(pod::PROXY_NAME_ANNOTATION)).cloned(),
            announced,
            labels: pod.attributes(),
            netns: if pod.host_network { "host".into() } else { pod.uid.clone() },
            families: if pod.host_network { host } else { families(&pod.ips) },
            allowed: Allowed::Pod(pod.namespace.to_string()),
            beside: Vec::new(),
        }
    }

    /// Returns the facts of a NodeProxy's proxy.
    pub fn of_node_proxy(name: &str, proxy: &NodeProxy, host: Families) -> Self {
        let allowed = match &proxy.allowed {
            Namespaces::All => Allowed::All,
            Namespaces::Listed(names) => Allowed::Listed(names.clone()),
            Namespaces::Matching(selector) => Allowed::Matching(selector.clone()),
        };
        Self {
            kind: proxy.kind(),
            name: name.to_owned(),
            title: format!("nodeproxy/{name}"),
            set_name: proxy.proxy_name.clone(),
            announced: Announced::default(),
            labels: proxy.labels.clone(),
            netns: "host".into(),
            families: host,
            allowed,
            beside: Vec::new(),
        }
    }

    /// Returns whether this proxy takes a Plan. A Plan whose workload uses a field that this agent does not
    /// support is not taken.
    pub fn takes(&self, plan: &Plan) -> bool {
        self.may_take(plan) && lacks::workload(plan).is_empty()
    }

    /// Returns whether a Plan may apply to this proxy, by the workload fields that this agent supports.
    pub fn may_take(&self, plan: &Plan) -> bool {
        let first = plan.workload.first_kind();
        let stands_in = || plan.workload.is_for_other_kinds() && !self.has_beside(first, plan);
        self.matches(plan) && (self.kind == first || stands_in())
    }

    /// Returns whether a Plan is for this kind first, would apply to this proxy, and to no proxy beside it.
    pub fn is_needed_for(&self, plan: &Plan) -> bool {
        let replaced = plan.workload.is_for_other_kinds() && self.beside.iter().any(|one| one.matches(plan));
        plan.workload.first_kind() == self.kind && self.takes(plan) && !replaced
    }

    fn has_beside(&self, kind: ProxyKind, plan: &Plan) -> bool {
        self.beside.iter().any(|one| one.kind == kind && one.matches(plan))
    }

    /// Returns whether a Plan's workload matches the proxy, whatever its kind.
    fn matches(&self, plan: &Plan) -> bool {
        let workload = &plan.workload;
        workload.selector.matches(&self.labels)
            && workload.proxy_name.as_ref().is_none_or(|name| self.proxy_name() == Some(name))
            && self.allows(plan, workload)
    }

    /// Returns the name by which Plans may choose the proxy; `None` if it has none.
    pub fn proxy_name(&self) -> Option<&str> {
        self.set_name.as_deref().or(Some(&*self.announced.node_id)).filter(|name| !name.is_empty())
    }

    fn allows(&self, plan: &Plan, workload: &Workload) -> bool {
        let whose = &plan.origin.namespace;
        match &self.allowed {
            Allowed::Pod(own) => workload.namespace.as_ref().is_none_or(|namespace| namespace == own),
            Allowed::All => true,
            Allowed::Listed(names) => names.contains(whose),
            Allowed::Matching(selector) => {
                selector.matches(&BTreeMap::from([(NAME_LABEL.to_owned(), whose.clone())]))
            }
        }
    }

    /// Returns the ports that a Plan's listeners want on this proxy.
    pub fn wishes(&self, plan: &Plan) -> Vec<Wish> {
        let wish = |listener: &Listener| {
            let socket = carrier(listener.socket.as_ref()?);
            let transport = match socket.protocol {
                Protocol::Udp => Transport::Udp,
                Protocol::Tcp | Protocol::Http | Protocol::Websocket => Transport::Tcp,
                _ => return None,
            };
            let port = Port { netns: self.netns.clone(), transport, number: socket.port?.get().into() };
            // A listener with an unsupported address may still run in an earlier version, on an address that
            // is not known here. So its claim covers all addresses.
            let bind = Bind::of(socket, self.families).unwrap_or_else(|_| Bind::wildcard(self.families));
            Some(Wish { port, bind, listener: listener.name.clone() })
        };
        plan.listeners.iter().filter_map(wish).collect()
    }
}

/// Returns the socket that has the port: a JSONSocket's transport, or the socket itself.
fn carrier(socket: &Socket) -> &Socket {
    socket.transport.as_deref().unwrap_or(socket)
}

fn families(ips: &[IpAddr]) -> Families {
    match (ips.iter().any(IpAddr::is_ipv4), ips.iter().any(IpAddr::is_ipv6)) {
        (true, true) if ips[0].is_ipv6() => Families::DualV6First,
        (true, true) => Families::Dual,
        (false, true) => Families::V6,
        _ => Families::V4,
    }
}
