//! The nodes on which the endpoints of groups run, and the Health that those nodes' agents reported. A node that uses a
//! group needs the Health of every node with an endpoint of the group.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use portreeve_xds::Resource;

use super::matches::Name;
use crate::keyed_sets::KeyedSets;

/// Nodes with at least one endpoint of a group.
#[derive(Default)]
pub struct Places {
    /// Node → groups with an endpoint on it.
    on: KeyedSets<Name, Name>,
    /// The Health of each node whose agent has reported.
    health: HashMap<Name, Arc<Resource>>,
}

/// The number of endpoints of one group on each node.
pub type Counts = BTreeMap<Name, usize>;

// === impl Places ===

impl Places {
    /// Records that a group has its first endpoint on a node.
    pub fn add(&mut self, node: &Name, group: &Name) {
        self.on.insert(node.clone(), group.clone());
    }

    /// Records that a group no longer has an endpoint on a node.
    pub fn remove(&mut self, node: &Name, group: &Name) {
        self.on.remove(node, group);
    }

    /// The groups with an endpoint on a node.
    pub fn groups_on(&self, node: &Name) -> Option<&BTreeSet<Name>> {
        self.on.get(node)
    }

    /// Returns the shared allocation of a node's name, or a new one if no group has an endpoint there.
    pub fn name_of(&self, node: &str) -> Name {
        self.on.key(node).cloned().unwrap_or_else(|| node.into())
    }

    /// A node's reported Health. `None` if its agent never reported.
    pub fn health(&self, node: &Name) -> Option<&Arc<Resource>> {
        self.health.get(node)
    }

    /// The nodes whose agents have reported, with their Health.
    pub fn reported(&self) -> impl Iterator<Item = (&Name, &Arc<Resource>)> {
        self.health.iter()
    }

    /// Sets a node's reported Health; `None` forgets it. Returns whether it changed.
    pub fn set_health(&mut self, node: &Name, health: Option<Arc<Resource>>) -> bool {
        match health {
            Some(new) => {
                let old = self.health.insert(node.clone(), new.clone());
                old.is_none_or(|old| old.version() != new.version())
            }
            None => self.health.remove(node).is_some(),
        }
    }
}

/// Counts endpoints by node.
pub fn count<'n>(nodes: impl IntoIterator<Item = &'n Name>) -> Counts {
    let mut counts = Counts::new();
    nodes.into_iter().for_each(|node| {
        came(&mut counts, node);
    });
    counts
}

/// Counts one more endpoint on a node. Returns the node if it is the first there.
pub fn came(counts: &mut Counts, node: &Name) -> Option<Name> {
    if node.is_empty() {
        return None;
    }
    if let Some(count) = counts.get_mut(node) {
        *count += 1;
        return None;
    }
    counts.insert(node.clone(), 1);
    Some(node.clone())
}

/// Counts one endpoint less on a node. Returns the node if it was the last there.
pub fn went(counts: &mut Counts, node: &str) -> Option<Name> {
    let count = counts.get_mut(node)?;
    *count -= 1;
    match *count {
        0 => counts.remove_entry(node).map(|(node, _)| node),
        _ => None,
    }
}
