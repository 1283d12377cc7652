//! How much there is ([`Census`]), for the hub's metrics.

use super::Index;

/// How many of each kind the index has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// VirtualServices, refused ones included.
    pub virtual_services: usize,
    /// Of them: those that are refused in their newest version.
    pub refused: usize,
    /// Plans in force.
    pub plans: usize,
    /// Groups of endpoints.
    pub groups: usize,
    /// Pods.
    pub pods: usize,
    /// Nodes.
    pub nodes: usize,
    /// NodeProxies.
    pub node_proxies: usize,
    /// Namespaces.
    pub namespaces: usize,
}

// === impl Index ===

impl Index {
    /// Counts what there is. Only refusals are looked for one by one.
    pub fn census(&self) -> Census {
        let (virtual_services, refused) = self.verdicts.count();
        let [nodes, node_proxies, namespaces] = self.proxies.count();
        Census {
            virtual_services,
            refused,
            plans: self.plans.len(),
            groups: self.groups.len(),
            pods: self.pods.len(),
            nodes,
            node_proxies,
            namespaces,
        }
    }
}
