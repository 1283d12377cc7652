//! NodeProxies, the nodes that each selects, and the namespaces whose objects each takes.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use portreeve_api::node_proxy::{From as NamespacesFrom, NodeProxy, NodeProxySpec};
use portreeve_api::{PlanType, plan, selector};
use portreeve_xds::Resource;
use prost::Message;

use super::matches::{Labels, Matches, Name, Shift};

/// All NodeProxies and nodes.
#[derive(Default)]
pub struct Proxies {
    known: HashMap<Name, Proxy>,
    nodes: Matches<Name, Name>,
    names: BTreeSet<Name>,
}

struct Proxy {
    spec: NodeProxySpec,
    resource: Arc<Resource>,
}

// === impl Proxies ===

impl Proxies {
    /// Adds or changes a NodeProxy.
    pub fn set(&mut self, proxy: &NodeProxy) {
        let name = Name::from(proxy.metadata.name.as_deref().unwrap_or_default());
        let body = message(proxy).encode_to_vec();
        let resource = Resource::new(PlanType::NodeProxy, name.clone(), &body);
        self.nodes.remove_selector(&name);
        let wanted = selector::from_map(&proxy.spec.node_selector);
        self.nodes.add_selector(name.clone(), None, wanted);
        self.known.insert(name, Proxy { spec: proxy.spec.clone(), resource });
    }

    /// Takes a NodeProxy away.
    pub fn remove(&mut self, name: &Name) {
        self.known.remove(name);
        self.nodes.remove_selector(name);
    }

    /// A node and its labels; answers with the NodeProxies that it joined or left.
    pub fn set_node(&mut self, node: &Name, labels: Labels) -> Vec<Shift<Name, Name>> {
        self.names.insert(node.clone());
        self.nodes.set_member(node.clone(), "".into(), labels)
    }

    /// A node is gone.
    pub fn remove_node(&mut self, node: &Name) -> Vec<Shift<Name, Name>> {
        self.names.remove(node);
        self.nodes.remove_member(node)
    }

    /// The nodes that a NodeProxy is on.
    pub fn nodes_of(&self, proxy: &Name) -> Vec<Name> {
        self.nodes.matched(proxy).iter().cloned().collect()
    }

    /// What agents are sent of a NodeProxy.
    pub fn resource(&self, proxy: &Name) -> Option<Arc<Resource>> {
        self.known.get(proxy).map(|p| p.resource.clone())
    }

    /// A NodeProxy's labels.
    pub fn labels(&self, proxy: &Name) -> Labels {
        self.known.get(proxy).map(|p| p.spec.labels.clone()).unwrap_or_default()
    }

    /// Whether a NodeProxy takes objects of a namespace; none stands for objects that look everywhere.
    pub fn allows(&self, proxy: &Name, namespace: Option<&Name>) -> bool {
        let Some(proxy) = self.known.get(proxy) else { return false };
        let allowed = &proxy.spec.allowed_namespaces;
        namespace.is_none_or(|name| allowed.allows(name, &BTreeMap::new()))
    }

    /// Names of nodes that are not in a list.
    pub fn nodes_except(&self, listed: &BTreeSet<&Name>) -> Vec<Name> {
        self.names.iter().filter(|n| !listed.contains(n)).cloned().collect()
    }

    /// Names of NodeProxies that are not in a list.
    pub fn names_except(&self, listed: &BTreeSet<&str>) -> Vec<Name> {
        self.known.keys().filter(|n| !listed.contains(n.as_ref())).cloned().collect()
    }
}

fn message(proxy: &NodeProxy) -> plan::NodeProxy {
    let spec = &proxy.spec;
    let envoy = &spec.envoy;
    plan::NodeProxy {
        uid: proxy.metadata.uid.clone().unwrap_or_default(),
        labels: spec.labels.clone().into_iter().collect::<BTreeMap<_, _>>(),
        allowed_namespaces: spec.allowed_namespaces.names.clone(),
        all_namespaces: spec.allowed_namespaces.from == NamespacesFrom::All,
        namespace_selector: None,
        envoy: Some(plan::EnvoySettings {
            concurrency: u32::try_from(envoy.concurrency).unwrap_or(1),
            extra_args: envoy.extra_args.clone(),
            health_listener: envoy.health_listener.map_or(0, |p| p as u32),
        }),
        created_ms: proxy.metadata.creation_timestamp.as_ref().map_or(0, |t| t.0.as_millisecond()),
    }
}
