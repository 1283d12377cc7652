//! Where the endpoints of groups lie, and what the agents of those nodes said of them: who uses a group with an
//! endpoint on a node needs that node's Health.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use portreeve_api::plan;
use portreeve_xds::Resource;

use super::matches::Name;

/// Nodes with endpoints of some group.
#[derive(Default)]
pub struct Places {
    /// Node → groups with an endpoint on it.
    on: HashMap<Name, BTreeSet<Name>>,
    /// The Health of each node whose agent was heard.
    told: HashMap<Name, Arc<Resource>>,
}

/// Endpoints of one group on each node.
pub type Counts = BTreeMap<Name, usize>;

// === impl Places ===

impl Places {
    /// A group has its first endpoint on a node.
    pub fn add(&mut self, node: &Name, group: &Name) {
        self.on.entry(node.clone()).or_default().insert(group.clone());
    }

    /// A group has no endpoint on a node any more.
    pub fn remove(&mut self, node: &Name, group: &Name) {
        let Some(groups) = self.on.get_mut(node) else { return };
        groups.remove(group);
        if groups.is_empty() {
            self.on.remove(node);
        }
    }

    /// The groups with an endpoint on a node.
    pub fn groups_on(&self, node: &Name) -> Option<&BTreeSet<Name>> {
        self.on.get(node)
    }

    /// What a node's agent said; none: it was never heard, and nothing is sent of it.
    pub fn health(&self, node: &Name) -> Option<&Arc<Resource>> {
        self.told.get(node)
    }

    /// A node's agent said something (none: it is forgotten); answers whether that is news.
    pub fn set_health(&mut self, node: &Name, health: Option<Arc<Resource>>) -> bool {
        match health {
            Some(new) => {
                let old = self.told.insert(node.clone(), new.clone());
                old.is_none_or(|old| old.version() != new.version())
            }
            None => self.told.remove(node).is_some(),
        }
    }
}

/// How many of some endpoints lie on each node.
pub fn count<'e>(endpoints: impl IntoIterator<Item = &'e plan::Endpoint>) -> Counts {
    let mut counts = Counts::new();
    endpoints.into_iter().for_each(|endpoint| {
        came(&mut counts, &endpoint.node);
    });
    counts
}

/// One more endpoint on a node; answers with the node if it is the first there.
pub fn came(counts: &mut Counts, node: &str) -> Option<Name> {
    if node.is_empty() {
        return None;
    }
    if let Some(count) = counts.get_mut(node) {
        *count += 1;
        return None;
    }
    let node = Name::from(node);
    counts.insert(node.clone(), 1);
    Some(node)
}

/// One endpoint less on a node; answers with the node if it was the last there.
pub fn went(counts: &mut Counts, node: &str) -> Option<Name> {
    let count = counts.get_mut(node)?;
    *count -= 1;
    match *count {
        0 => counts.remove_entry(node).map(|(node, _)| node),
        _ => None,
    }
}
