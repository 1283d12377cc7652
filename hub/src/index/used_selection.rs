//! A selection that Plans use ([`State`]), and the nodes of its members.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};

use portreeve_api::model::Selector;
use portreeve_api::refs::ObjectRef;

use super::matches::Name;
use crate::selection::Selection;

/// The purpose for which a Plan refers to a selection. One Plan may refer to a selection in both roles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The selection matches the proxies that the Plan is for.
    Workload,
    /// The selection matches endpoints.
    Endpoints,
}

/// A selection in use.
pub struct State {
    /// The selection itself.
    pub selection: Selection,
    /// The requirements on a pod's attributes.
    pub requirements: Selector,
    /// Plans that use the selection for their proxies.
    pub workload_of: BTreeSet<ObjectRef>,
    /// Plans that use the selection for endpoints.
    pub endpoints_of: BTreeSet<ObjectRef>,
    /// The nodes that receive the Plans of the selection.
    pub nodes: BTreeMap<Name, Presence>,
    /// The nodes with members now, once somebody asked for them.
    present: OnceLock<Arc<BTreeSet<Name>>>,
    /// Whether it matched nothing when somebody last asked.
    pub was_empty: bool,
}

/// A node's presence in a selection: the number of members, or when the grace period of a node without any ends.
#[derive(Clone, Copy)]
pub struct Presence {
    /// The number of members on the node.
    pub members: usize,
    /// When the grace period ends, in milliseconds since the Unix epoch. `None` while there are members.
    pub until: Option<i64>,
}

// === impl State ===

impl State {
    /// A selection that nothing uses yet.
    pub fn new(selection: &Selection, was_empty: bool) -> Self {
        Self {
            selection: selection.clone(),
            requirements: selection.requirements(),
            workload_of: BTreeSet::new(),
            endpoints_of: BTreeSet::new(),
            nodes: BTreeMap::new(),
            present: OnceLock::new(),
            was_empty,
        }
    }

    /// Records a member on a node. Returns whether the node was not kept, and when the node's grace period would have
    /// ended.
    pub fn join(&mut self, node: &Name) -> (bool, Option<i64>) {
        let new = !self.nodes.contains_key(node);
        let presence = self.nodes.entry(node.clone()).or_insert(Presence { members: 0, until: None });
        presence.members += 1;
        if presence.members == 1 {
            self.present.take();
        }
        (new, presence.until.take())
    }

    /// Records that a member left a node. Returns whether it was the last, so that the node is kept until then.
    pub fn leave(&mut self, node: &Name, until: i64) -> bool {
        let Some(presence) = self.nodes.get_mut(node) else { return false };
        presence.members = presence.members.saturating_sub(1);
        let last = presence.members == 0 && presence.until.is_none();
        if last {
            self.present.take();
            presence.until = Some(until);
        }
        last
    }

    /// The nodes with members now.
    pub fn present(&self) -> Arc<BTreeSet<Name>> {
        let present = self.nodes.iter().filter(|(_, presence)| presence.members > 0);
        self.present.get_or_init(|| Arc::new(present.map(|(node, _)| node.clone()).collect())).clone()
    }

    /// The Plans that use the selection in a role.
    pub fn users(&mut self, role: Role) -> &mut BTreeSet<ObjectRef> {
        match role {
            Role::Workload => &mut self.workload_of,
            Role::Endpoints => &mut self.endpoints_of,
        }
    }
}
