//! How much there is ([`Census`]), for the hub's metrics.

use super::Index;
use crate::kinds;

/// How many of each kind the index has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// Custom resources by the label of their kind, refused ones included.
    pub objects: Vec<(&'static str, usize)>,
    /// Custom resources that are refused in their newest version.
    pub refused: usize,
    /// Plans in force.
    pub plans: usize,
    /// Groups of endpoints.
    pub groups: usize,
    /// Pods.
    pub pods: usize,
    /// Nodes.
    pub nodes: usize,
    /// Namespaces.
    pub namespaces: usize,
}

// === impl Index ===

impl Index {
    /// Counts what there is.
    pub fn census(&self) -> Census {
        let counts = kinds::ALL.map(|row| (row.label, self.verdicts.count(row.kind)));
        let [nodes, namespaces] = self.proxies.count();
        Census {
            objects: counts.iter().map(|(label, count)| (*label, count.all)).collect(),
            refused: counts.iter().map(|(_, count)| count.refused).sum(),
            plans: self.plans.len(),
            groups: self.groups.len(),
            pods: self.pods.len(),
            nodes,
            namespaces,
        }
    }
}
