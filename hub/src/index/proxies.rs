//! NodeProxies, the nodes that each selects, and the namespaces whose objects each takes.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use portreeve_api::names::NODE_PROXY_ID;
use portreeve_api::node_proxy::{From as NamespacesFrom, NodeProxy, NodeProxySpec};
use portreeve_api::{PlanType, plan, quantity, selector};
use portreeve_xds::Resource;
use prost::Message;
use serde_json::{Map, Value};

use super::matches::{Labels, Matches, Name, Shift};
use crate::status::Served;

/// All NodeProxies and nodes.
#[derive(Default)]
pub struct Proxies {
    known: HashMap<Name, Proxy>,
    nodes: Matches<Name, Name>,
    names: BTreeSet<Name>,
}

struct Proxy {
    spec: NodeProxySpec,
    /// The object's generation with this spec.
    generation: i64,
    /// With `from: Selector`: what a namespace's labels have to meet, as far as it can be told here.
    namespaces: Option<plan::Selector>,
    resource: Arc<Resource>,
}

/// The label that every namespace carries, with its own name. The only one that is known here.
const NAME_LABEL: &str = "kubernetes.io/metadata.name";

// === impl Proxies ===

impl Proxies {
    /// Whether a NodeProxy is known as just this already.
    pub fn holds(&self, proxy: &NodeProxy) -> bool {
        let known = proxy.metadata.name.as_deref().and_then(|name| self.known.get(name));
        known.is_some_and(|k| k.spec == proxy.spec && k.resource == resource(proxy))
    }

    /// The generation of an object that says what is known.
    pub fn confirm(&mut self, proxy: &NodeProxy) {
        let known = proxy.metadata.name.as_deref().and_then(|name| self.known.get_mut(name));
        known.into_iter().for_each(|known| known.generation = proxy.metadata.generation.unwrap_or(0));
    }

    /// Adds or changes a NodeProxy.
    pub fn set(&mut self, proxy: &NodeProxy) {
        let resource = resource(proxy);
        let name = resource.name().clone();
        self.nodes.remove_selector(&name);
        let wanted = selector::from_map(&proxy.spec.node_selector);
        self.nodes.add_selector(name.clone(), None, wanted);
        let namespaces = namespaces(&proxy.spec);
        let generation = proxy.metadata.generation.unwrap_or(0);
        self.known.insert(name, Proxy { spec: proxy.spec.clone(), generation, namespaces, resource });
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

    /// Whether there is such a node.
    pub fn has_node(&self, node: &Name) -> bool {
        self.names.contains(node)
    }

    /// How many nodes there are, and how many NodeProxies.
    pub fn count(&self) -> (usize, usize) {
        (self.names.len(), self.known.len())
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

    /// Whether a NodeProxy takes objects of a namespace. None stands for objects that look everywhere: whose they
    /// are is seen by the agent, which matches exactly.
    pub fn allows(&self, proxy: &Name, namespace: Option<&Name>) -> bool {
        let Some(proxy) = self.known.get(proxy) else { return false };
        let Some(namespace) = namespace else { return true };
        let allowed = &proxy.spec.allowed_namespaces;
        match allowed.from {
            NamespacesFrom::All => true,
            NamespacesFrom::List => allowed.names.iter().any(|listed| **listed == **namespace),
            NamespacesFrom::Selector => {
                let labels = BTreeMap::from([(NAME_LABEL.to_owned(), namespace.to_string())]);
                proxy.namespaces.as_ref().is_some_and(|wanted| wanted.matches(&labels))
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
            plan: format!("{NODE_PROXY_ID}{name}").into(),
            version: known.resource.version().0,
            generation: known.generation,
            nodes: self.nodes_of(name).into_iter().collect(),
        })
    }

    /// The names of all NodeProxies.
    pub fn all(&self) -> impl Iterator<Item = &Name> {
        self.known.keys()
    }

    /// Whether there is such a NodeProxy.
    pub fn knows(&self, name: &Name) -> bool {
        self.known.contains_key(name)
    }

    /// Entries looked at since the start, for the tests of cost.
    pub fn visited(&self) -> u64 {
        self.nodes.visited()
    }
}

/// What `from: Selector` asks of a namespace; none when it is not so, or when it asks for a label that is not known
/// here: such a selector matches no namespace, lest `NotIn` or `DoesNotExist` open the proxy to all of them.
fn namespaces(spec: &NodeProxySpec) -> Option<plan::Selector> {
    let allowed = &spec.allowed_namespaces;
    let wanted = allowed.selector.as_ref().filter(|_| allowed.from == NamespacesFrom::Selector)?;
    let wanted = selector::from_label_selector(wanted).ok()?;
    wanted.labels.iter().all(|requirement| requirement.key == NAME_LABEL).then_some(wanted)
}

fn resource(proxy: &NodeProxy) -> Arc<Resource> {
    let name = Name::from(proxy.metadata.name.as_deref().unwrap_or_default());
    Resource::new(PlanType::NodeProxy, name, &message(proxy).encode_to_vec())
}

/// The same text for the same object, however its fields are ordered: another text restarts proxies.
fn sorted(extra: Map<String, Value>) -> String {
    let mut value = Value::Object(extra);
    value.sort_all_objects();
    value.to_string()
}

fn message(proxy: &NodeProxy) -> plan::NodeProxy {
    let spec = &proxy.spec;
    let envoy = &spec.envoy;
    let listed = spec.allowed_namespaces.from == NamespacesFrom::List;
    plan::NodeProxy {
        uid: proxy.metadata.uid.clone().unwrap_or_default(),
        labels: spec.labels.clone(),
        allowed_namespaces: if listed { spec.allowed_namespaces.names.clone() } else { Vec::new() },
        all_namespaces: spec.allowed_namespaces.from == NamespacesFrom::All,
        namespace_selector: namespaces(spec),
        envoy: Some(plan::EnvoySettings {
            concurrency: u32::try_from(envoy.concurrency).unwrap_or(1),
            extra_args: envoy.extra_args.clone(),
            health_listener: envoy.health_listener.map_or(0, |p| p as u32),
            memory_limit: envoy.memory_limit.as_deref().and_then(quantity::bytes).unwrap_or_default(),
            extra_bootstrap: envoy.extra_bootstrap.clone().map_or_else(String::new, sorted),
        }),
        created_ms: proxy.metadata.creation_timestamp.as_ref().map_or(0, |t| t.0.as_millisecond()),
    }
}
