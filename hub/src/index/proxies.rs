//! NodeProxies, the nodes that each selects, and the namespaces whose objects each takes.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use portreeve_api::model::Selector;
use portreeve_api::own::node_proxy::{From as NamespacesFrom, NodeProxy, NodeProxySpec};
use portreeve_api::refs::ProxyId;
use portreeve_api::{PlanType, plan, quantity, selector};
use portreeve_xds::Resource;
use prost::Message;
use serde_json::{Map, Value};

use super::matches::{Labels, Matches, Name, Shift};
use crate::subject::Served;

/// All NodeProxies, nodes and namespaces.
#[derive(Default)]
pub struct Proxies {
    known: HashMap<Name, Proxy>,
    nodes: Matches<Name, Name>,
    names: BTreeSet<Name>,
    /// The namespaces that each NodeProxy with `from: Selector` selects.
    namespaces: Matches<Name, Name>,
    namespace_names: BTreeSet<Name>,
}

struct Proxy {
    /// The object without its status.
    object: NodeProxy,
    resource: Arc<Resource>,
}

// === impl Proxies ===

impl Proxies {
    /// Whether a NodeProxy is known as just this already.
    pub fn holds(&self, proxy: &NodeProxy) -> bool {
        let known = proxy.metadata.name.as_deref().and_then(|name| self.known.get(name));
        known.is_some_and(|k| k.object.spec == proxy.spec && birth(&k.object) == birth(proxy))
    }

    /// The generation of an object that says what is known.
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

    /// Takes a NodeProxy away.
    pub fn remove(&mut self, name: &Name) {
        self.known.remove(name);
        self.unselect(name);
    }

    /// Encodes a NodeProxy anew, after the namespaces that it selects changed.
    pub fn renew(&mut self, name: &Name) {
        let Some(known) = self.known.get(name) else { return };
        let resource = self.encode(name, &known.object);
        self.known.entry(name.clone()).and_modify(|known| known.resource = resource);
    }

    /// A namespace and its labels; answers with the NodeProxies that came to select it, or ceased to.
    pub fn set_namespace(&mut self, namespace: &Name, labels: Labels) -> Vec<Shift<Name, Name>> {
        self.namespace_names.insert(namespace.clone());
        self.namespaces.set_member(namespace.clone(), "".into(), labels)
    }

    /// A namespace is gone.
    pub fn remove_namespace(&mut self, namespace: &Name) -> Vec<Shift<Name, Name>> {
        self.namespace_names.remove(namespace);
        self.namespaces.remove_member(namespace)
    }

    /// Names of namespaces that are not in a list.
    pub fn namespaces_except(&self, listed: &BTreeSet<&Name>) -> Vec<Name> {
        self.namespace_names.iter().filter(|n| !listed.contains(n)).cloned().collect()
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

    /// Whether there is such a node.
    pub fn has_node(&self, node: &Name) -> bool {
        self.names.contains(node)
    }

    /// How many nodes and namespaces there are.
    pub fn count(&self) -> [usize; 2] {
        [self.names.len(), self.namespace_names.len()]
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
        self.known.get(proxy).map(|p| p.object.spec.labels.clone()).unwrap_or_default()
    }

    /// Whether a NodeProxy takes objects of a namespace. `None` stands for objects that look everywhere: the agent sees
    /// whose they are and matches exactly. A selector allows no namespace whose labels are not known (yet).
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

    /// Whether a NodeProxy takes objects of these namespaces and of no others. One that could never be read counts as such:
    /// what is wrong with it is the same for every hub.
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

    /// Names of nodes that are not in a list.
    pub fn nodes_except(&self, listed: &BTreeSet<&Name>) -> Vec<Name> {
        self.names.iter().filter(|n| !listed.contains(n)).cloned().collect()
    }

    /// How a NodeProxy is served.
    pub fn served(&self, name: &Name) -> Option<Served> {
        let known = self.known.get(name)?;
        Some(Served {
            plan: ProxyId::Node(name.clone()).to_string().into(),
            version: known.resource.version().0,
            generation: known.object.metadata.generation.unwrap_or(0),
            nodes: self.nodes_of(name).into_iter().collect(),
            closed: Vec::new(),
        })
    }

    /// Whether there is such a NodeProxy.
    pub fn knows(&self, name: &Name) -> bool {
        self.known.contains_key(name)
    }

    /// Entries looked at since the start, for the tests of cost.
    pub fn visited(&self) -> u64 {
        self.nodes.visited() + self.namespaces.visited()
    }

    fn unselect(&mut self, name: &Name) {
        self.nodes.remove_selector(name);
        self.namespaces.remove_selector(name);
    }

    /// A selector travels as the namespaces that it matches: agents know no namespace's labels.
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

/// What `from: Selector` asks of a namespace's labels. `None` without one, and for one that makes no sense: it selects
/// nothing.
fn namespace_selector(spec: &NodeProxySpec) -> Option<Selector> {
    let allowed = &spec.allowed_namespaces;
    let wanted = allowed.selector.as_ref().filter(|_| allowed.from == NamespacesFrom::Selector)?;
    selector::from_label_selector(wanted).ok()
}

/// Which object it is, and since when: what agents are sent beside its spec.
fn birth(proxy: &NodeProxy) -> (Option<&str>, i64) {
    let created = proxy.metadata.creation_timestamp.as_ref();
    (proxy.metadata.uid.as_deref(), created.map_or(0, |t| t.0.as_millisecond()))
}

/// The same text for the same object, however its fields are ordered: another text restarts proxies.
fn sorted(extra: Map<String, Value>) -> String {
    let mut value = Value::Object(extra);
    value.sort_all_objects();
    value.to_string()
}

fn message(proxy: &NodeProxy, allowed_namespaces: Vec<String>) -> plan::NodeProxy {
    let spec = &proxy.spec;
    let envoy = &spec.envoy;
    let (uid, created_ms) = birth(proxy);
    plan::NodeProxy {
        uid: uid.unwrap_or_default().to_owned(),
        labels: spec.labels.clone(),
        allowed_namespaces,
        all_namespaces: spec.allowed_namespaces.from == NamespacesFrom::All,
        namespace_selector: None,
        settings: Some(plan::node_proxy::Settings::Envoy(plan::EnvoySettings {
            concurrency: u32::try_from(envoy.concurrency).unwrap_or(1),
            extra_args: envoy.extra_args.clone(),
            health_listener: envoy.health_listener.map_or(0, |p| p as u32),
            memory_limit: envoy.memory_limit.as_deref().and_then(quantity::bytes).unwrap_or_default(),
            extra_bootstrap: envoy.extra_bootstrap.clone().map_or_else(String::new, sorted),
        })),
        created_ms,
    }
}
