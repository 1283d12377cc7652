//! NodeProxies, the nodes that each selects, and the namespaces whose objects each takes.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use portreeve_api::model::{ProxyKind, Selector};
use portreeve_api::own::node_proxy::{From as NamespacesFrom, NodeProxy, NodeProxySpec};
use portreeve_api::refs::ProxyId;
use portreeve_api::{PlanType, plan, quantity, selector};
use portreeve_xds::Resource;
use prost::Message;
use serde_json::{Map, Value};

use super::matches::{Labels, Matches, Name, Shift};
use super::pod::KnownPod;
use crate::selection::PROXY_NAME_ATTRIBUTE;
use crate::subject::Served;

/// All NodeProxies, nodes and namespaces.
#[derive(Default)]
pub struct Proxies {
    known: HashMap<Name, Proxy>,
    nodes: Matches,
    /// The namespaces that match each NodeProxy with `from: Selector`.
    namespaces: Matches,
}

struct Proxy {
    /// The object without its status.
    object: NodeProxy,
    resource: Arc<Resource>,
}

// === impl Proxies ===

impl Proxies {
    /// Returns whether the stored NodeProxy has the same spec, UID and creation time.
    pub fn holds(&self, proxy: &NodeProxy) -> bool {
        let known = proxy.metadata.name.as_deref().and_then(|name| self.known.get(name));
        known.is_some_and(|k| k.object.spec == proxy.spec && birth(&k.object) == birth(proxy))
    }

    /// Updates the generation of a stored NodeProxy whose content did not change.
    pub fn confirm(&mut self, proxy: &NodeProxy) {
        let known = proxy.metadata.name.as_deref().and_then(|name| self.known.get_mut(name));
        known.into_iter().for_each(|known| known.object.metadata.generation = proxy.metadata.generation);
    }

    /// Adds or changes a NodeProxy.
    pub fn set(&mut self, proxy: &NodeProxy) {
        let name = Name::from(proxy.metadata.name.as_deref().unwrap_or_default());
        self.unselect(&name);
        let wanted = selector::from_map(&proxy.spec.node_selector);
        self.nodes.add_selector(name.clone(), None, wanted);
        if let Some(wanted) = namespace_selector(&proxy.spec) {
            self.namespaces.add_selector(name.clone(), None, wanted);
        }
        let object = NodeProxy { status: None, ..proxy.clone() };
        let resource = self.encode(&name, &object);
        self.known.insert(name, Proxy { object, resource });
    }

    /// Removes a NodeProxy.
    pub fn remove(&mut self, name: &Name) {
        self.known.remove(name);
        self.unselect(name);
    }

    /// Encodes a NodeProxy again after its matching namespaces changed.
    pub fn renew(&mut self, name: &Name) {
        let Some(known) = self.known.get(name) else { return };
        let resource = self.encode(name, &known.object);
        self.known.entry(name.clone()).and_modify(|known| known.resource = resource);
    }

    /// Sets a namespace's labels. Returns the NodeProxies that started or stopped selecting the namespace.
    pub fn set_namespace(&mut self, namespace: &Name, labels: &Labels) -> Vec<Shift> {
        self.namespaces.set_member(namespace, (), labels)
    }

    /// Removes a namespace. Returns the NodeProxies that selected it.
    pub fn remove_namespace(&mut self, namespace: &Name) -> Vec<Shift> {
        self.namespaces.remove_member(namespace)
    }

    /// The known namespaces that are missing from a list.
    pub fn namespaces_except(&self, listed: &BTreeSet<&Name>) -> Vec<Name> {
        self.namespaces
            .members()
            .map(|(name, ())| name)
            .filter(|name| !listed.contains(name))
            .cloned()
            .collect()
    }

    /// Sets a node's labels. Returns the NodeProxies that started or stopped selecting the node.
    pub fn set_node(&mut self, node: &Name, labels: Labels) -> Vec<Shift> {
        self.nodes.set_member(node, (), &labels)
    }

    /// Removes a node. Returns the NodeProxies that selected it.
    pub fn remove_node(&mut self, node: &Name) -> Vec<Shift> {
        self.nodes.remove_member(node)
    }

    /// Replaces the names of a pod's node and namespace by those of the known ones, so that all pods share them.
    pub fn share_names(&self, mut pod: KnownPod) -> KnownPod {
        let node = pod.node.as_ref().and_then(|node| self.nodes.member(node)).cloned();
        pod.node = node.or(pod.node);
        if let Some(namespace) = self.namespaces.member(&pod.namespace) {
            pod.namespace = namespace.clone();
        }
        pod
    }

    /// Returns whether the node is known.
    pub fn has_node(&self, node: &Name) -> bool {
        self.nodes.has_member(node)
    }

    /// The number of nodes and the number of namespaces.
    pub fn count(&self) -> [usize; 2] {
        [self.nodes.members().len(), self.namespaces.members().len()]
    }

    /// The nodes that a NodeProxy selects.
    pub fn nodes_of(&self, proxy: &Name) -> Vec<Name> {
        self.nodes.matched(proxy).iter().cloned().collect()
    }

    /// The encoded NodeProxy that agents are sent.
    pub fn resource(&self, proxy: &Name) -> Option<Arc<Resource>> {
        self.known.get(proxy).map(|p| p.resource.clone())
    }

    /// The attributes by which a NodeProxy is selected: its labels, and its name in [`PROXY_NAME_ATTRIBUTE`].
    pub fn attributes(&self, proxy: &Name) -> Labels {
        let Some(NodeProxySpec { labels, proxy_name, .. }) = self.known.get(proxy).map(|p| &p.object.spec)
        else {
            return Labels::new();
        };
        let named = proxy_name.iter().map(|name| (PROXY_NAME_ATTRIBUTE.to_owned(), name.clone()));
        labels.clone().into_iter().chain(named).collect()
    }

    /// Returns whether a NodeProxy takes objects of a namespace. `None` stands for objects that look in all namespaces: the
    /// agent knows their namespace and matches exactly. A selector matches no namespace whose labels are not known yet.
    pub fn allows(&self, proxy: &Name, namespace: Option<&Name>) -> bool {
        let Some(known) = self.known.get(proxy) else { return false };
        let Some(namespace) = namespace else { return true };
        let allowed = &known.object.spec.allowed_namespaces;
        match allowed.from {
            NamespacesFrom::All => true,
            NamespacesFrom::List => allowed.names.iter().any(|listed| **listed == **namespace),
            NamespacesFrom::Selector => self.namespaces.matched(proxy).contains(namespace),
        }
    }

    /// Returns whether a NodeProxy takes objects of these namespaces only. An unreadable NodeProxy counts as such, because
    /// every hub rejects it for the same reason.
    pub fn is_within(&self, proxy: &Name, namespaces: &BTreeSet<Name>) -> bool {
        let Some(known) = self.known.get(proxy) else { return true };
        let allowed = &known.object.spec.allowed_namespaces;
        match allowed.from {
            NamespacesFrom::All => false,
            NamespacesFrom::List => {
                let mut names = allowed.names.iter();
                names.len() > 0 && names.all(|name| namespaces.contains(name.as_str()))
            }
            NamespacesFrom::Selector => {
                let matched = self.namespaces.matched(proxy);
                !matched.is_empty() && matched.is_subset(namespaces)
            }
        }
    }

    /// The known nodes that are missing from a list.
    pub fn nodes_except(&self, listed: &BTreeSet<&Name>) -> Vec<Name> {
        self.nodes.members().map(|(name, ())| name).filter(|name| !listed.contains(name)).cloned().collect()
    }

    /// The version of a NodeProxy that is served, and its nodes.
    pub fn served(&self, name: &Name) -> Option<Served> {
        let known = self.known.get(name)?;
        Some(Served {
            plan: ProxyId::Node(name.clone()).to_string().into(),
            version: known.resource.version().0,
            generation: known.object.metadata.generation.unwrap_or(0),
            nodes: Arc::new(self.nodes_of(name).into_iter().collect()),
            proxy_name: None,
            closed: Vec::new(),
        })
    }

    /// The kind of a NodeProxy.
    pub fn kind(&self, proxy: &Name) -> Option<ProxyKind> {
        let l7mp = self.known.get(proxy)?.object.spec.l7mp.is_some();
        Some(if l7mp { ProxyKind::L7mp } else { ProxyKind::Envoy })
    }

    /// Returns whether the NodeProxy is known.
    pub fn knows(&self, name: &Name) -> bool {
        self.known.contains_key(name)
    }

    /// The number of entries visited since the start, for the tests of cost.
    pub fn visited(&self) -> u64 {
        self.nodes.visited() + self.namespaces.visited()
    }

    fn unselect(&mut self, name: &Name) {
        self.nodes.remove_selector(name);
        self.namespaces.remove_selector(name);
    }

    /// Encodes a NodeProxy. Its namespace selector is replaced by the matching namespaces, because agents don't know the
    /// labels of namespaces.
    fn encode(&self, name: &Name, proxy: &NodeProxy) -> Arc<Resource> {
        let allowed = &proxy.spec.allowed_namespaces;
        let namespaces = match allowed.from {
            NamespacesFrom::All => Vec::new(),
            NamespacesFrom::List => allowed.names.clone(),
            NamespacesFrom::Selector => {
                self.namespaces.matched(name).iter().map(ToString::to_string).collect()
            }
        };
        Resource::new(PlanType::NodeProxy, name.clone(), &message(proxy, namespaces).encode_to_vec())
    }
}

/// The namespace selector of `from: Selector`. `None` if there is none or if it is invalid: it then selects nothing.
fn namespace_selector(spec: &NodeProxySpec) -> Option<Selector> {
    let allowed = &spec.allowed_namespaces;
    let wanted = allowed.selector.as_ref().filter(|_| allowed.from == NamespacesFrom::Selector)?;
    selector::from_label_selector(wanted).ok()
}

/// The UID and creation time that agents are sent with the spec.
fn birth(proxy: &NodeProxy) -> (Option<&str>, i64) {
    let created = proxy.metadata.creation_timestamp.as_ref();
    (proxy.metadata.uid.as_deref(), created.map_or(0, |t| t.0.as_millisecond()))
}

/// Serializes with sorted keys, so that equal objects give equal text. A changed text restarts proxies.
fn sorted(extra: Map<String, Value>) -> String {
    let mut value = Value::Object(extra);
    value.sort_all_objects();
    value.to_string()
}

fn message(proxy: &NodeProxy, allowed_namespaces: Vec<String>) -> plan::NodeProxy {
    let spec = &proxy.spec;
    let (uid, created_ms) = birth(proxy);
    plan::NodeProxy {
        uid: uid.unwrap_or_default().to_owned(),
        labels: spec.labels.clone(),
        allowed_namespaces,
        all_namespaces: spec.allowed_namespaces.from == NamespacesFrom::All,
        namespace_selector: None,
        settings: Some(settings(spec)),
        created_ms,
        proxy_name: spec.proxy_name.clone().unwrap_or_default(),
    }
}

fn settings(NodeProxySpec { envoy, l7mp, .. }: &NodeProxySpec) -> plan::node_proxy::Settings {
    if let Some(l7mp) = l7mp {
        return plan::node_proxy::Settings::L7mp(plan::L7mpSettings {
            extra_args: l7mp.extra_args.clone(),
            api_port: u32::try_from(l7mp.api_port).unwrap_or_default(),
            strict: l7mp.strict,
        });
    }
    plan::node_proxy::Settings::Envoy(plan::EnvoySettings {
        concurrency: u32::try_from(envoy.concurrency).unwrap_or(1),
        extra_args: envoy.extra_args.clone(),
        health_listener: envoy.health_listener.map_or(0, |p| p as u32),
        memory_limit: envoy.memory_limit.as_deref().and_then(quantity::bytes).unwrap_or_default(),
        extra_bootstrap: envoy.extra_bootstrap.clone().map_or_else(String::new, sorted),
    })
}
