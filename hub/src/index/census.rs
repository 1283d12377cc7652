//! The number of objects of each kind ([`Census`]), for the hub's metrics.

use super::{Index, SourceState};
use crate::kinds;

/// The number of objects of each kind in the index.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// Custom resources by the label of their kind, including rejected ones.
    pub objects: Vec<(&'static str, usize)>,
    /// Custom resources whose newest version is rejected.
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
    /// Other Kubernetes clusters whose pods are read.
    pub sources: Vec<SourceState>,
    /// Such clusters that were given but are not used.
    pub refused_sources: usize,
}

// === impl Index ===

impl Index {
    /// Counts the objects in the index.
    pub fn census(&self) -> Census {
        let counts = kinds::ALL.map(|row| (row.label, self.verdicts.count(row.kind)));
        let [nodes, namespaces] = self.proxies.count();
        Census {
            objects: counts.iter().map(|(label, count)| (*label, count.all)).collect(),
            refused: counts.iter().map(|(_, count)| count.refused).sum(),
            plans: self.plans.len(),
            groups: self.groups.len(),
            pods: self.selections.pods().len(),
            nodes,
            namespaces,
            sources: self.sources(),
            refused_sources: self.sources.refused,
        }
    }
}
