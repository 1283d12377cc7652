//! Selections: distinct (namespace, selector) pairs, the pods and NodeProxies they match, and the nodes that these
//! live on. One selection serves every Plan that asks for the same.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use portreeve_api::model::Selector;
use portreeve_api::pod::Pod;
use portreeve_api::refs::ObjectRef;

use super::listed::Listed;
use super::matches::{Labels, Matches, Name, Shift};
use super::missing::Missing;
use crate::selection::Selection;
use crate::verdict::Refs;

/// Names at most given to a person as examples.
const EXAMPLES: usize = 3;

/// All selections in use.
pub struct Selections {
    pods: Matches<Name, Name>,
    proxies: Matches<Name, Name>,
    known: HashMap<Name, State>,
    /// Selections by the namespace that they look in.
    by_namespace: HashMap<Name, BTreeSet<Name>>,
    /// Endpoints that are no pods.
    listed: Listed,
    missing: Missing,
    leaving: BTreeSet<(i64, Name, Name)>,
    grace_ms: i64,
}

/// What a Plan refers to a selection for. One Plan may do so for both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It selects the proxies that the Plan is for.
    Workload,
    /// It selects endpoints.
    Endpoints,
}

struct State {
    /// The namespace whose pods are looked at; none: those of all.
    namespace: Option<Name>,
    /// What is asked of a pod's attributes.
    requirements: Selector,
    /// Plans whose proxies it selects.
    workload_of: BTreeSet<ObjectRef>,
    /// Plans whose endpoints it selects.
    endpoints_of: BTreeSet<ObjectRef>,
    nodes: BTreeMap<Name, Presence>,
    was_empty: bool,
}

/// A node's members of a selection: how many, or until when the node is kept without any.
#[derive(Clone, Copy)]
struct Presence {
    members: usize,
    until: Option<i64>,
}

// === impl Selections ===

impl Selections {
    /// None in use yet; see [`super::Index::new`] for the grace.
    pub fn new(grace_ms: i64) -> Self {
        Self {
            pods: Matches::default(),
            proxies: Matches::default(),
            known: HashMap::new(),
            by_namespace: HashMap::new(),
            listed: Listed::default(),
            missing: Missing::default(),
            leaving: BTreeSet::new(),
            grace_ms,
        }
    }

    /// A Plan refers to a selection. False when it is new: its members have then to be joined.
    pub fn hold(&mut self, selection: &Selection, key: &ObjectRef, role: Role) -> bool {
        let (name, requirements) = (&selection.name(), selection.requirements());
        let known = self.known.contains_key(name);
        if !known {
            self.pods.add_selector(name.clone(), selection.namespace().cloned(), requirements.clone());
            self.proxies.add_selector(name.clone(), None, requirements.clone());
            if let Some(namespace) = selection.namespace() {
                self.by_namespace.entry(namespace.clone()).or_default().insert(name.clone());
            }
        }
        let was_empty = self.is_empty(name);
        let state = self.known.entry(name.clone()).or_insert_with(|| State {
            namespace: selection.namespace().cloned(),
            requirements: requirements.clone(),
            workload_of: BTreeSet::new(),
            endpoints_of: BTreeSet::new(),
            nodes: BTreeMap::new(),
            was_empty,
        });
        state.users(role).insert(key.clone());
        if !known && was_empty {
            self.missing.insert(name, &requirements);
        }
        known
    }

    /// A Plan does not refer to a selection in this role any more. True when no Plan does; one without any role
    /// is forgotten.
    pub fn let_go(&mut self, name: &Name, key: &ObjectRef, role: Role) -> bool {
        let Some(state) = self.known.get_mut(name) else { return false };
        state.users(role).remove(key);
        let unused = state.users(role).is_empty();
        if state.workload_of.is_empty() && state.endpoints_of.is_empty() {
            if let Some(namespace) = self.known.remove(name).and_then(|state| state.namespace) {
                self.leave_namespace(&namespace, name);
            }
            self.missing.remove(name);
            self.pods.remove_selector(name);
            self.proxies.remove_selector(name);
        }
        unused
    }

    /// Endpoints of selections that are no pods.
    pub fn listed(&self) -> &Listed {
        &self.listed
    }

    /// The same, to change them.
    pub fn listed_mut(&mut self) -> &mut Listed {
        &mut self.listed
    }

    /// See [`Matches::set_member`].
    pub fn set_pod(&mut self, uid: &Name, namespace: Name, labels: Labels) -> Vec<Shift<Name, Name>> {
        self.pods.set_member(uid.clone(), namespace, labels)
    }

    /// See [`Matches::remove_member`].
    pub fn remove_pod(&mut self, uid: &Name) -> Vec<Shift<Name, Name>> {
        self.pods.remove_member(uid)
    }

    /// A NodeProxy's labels, matched like a pod's in every namespace.
    pub fn set_proxy(&mut self, name: &Name, labels: Labels) {
        self.proxies.set_member(name.clone(), "".into(), labels);
    }

    /// A NodeProxy is gone.
    pub fn remove_proxy(&mut self, name: &Name) {
        self.proxies.remove_member(name);
    }

    /// A member of the selection appeared on a node. True when the node had none: it needs the Plans now.
    pub fn join(&mut self, name: &Name, node: Option<&Name>) -> bool {
        let (Some(state), Some(node)) = (self.known.get_mut(name), node) else { return false };
        let mut new = false;
        let presence = state.nodes.entry(node.clone()).or_insert_with(|| {
            new = true;
            Presence { members: 0, until: None }
        });
        presence.members += 1;
        if let Some(until) = presence.until.take() {
            self.leaving.remove(&(until, name.clone(), node.clone()));
        }
        new
    }

    /// A member left a node; after the last one the node is kept for the grace.
    pub fn leave(&mut self, name: &Name, node: Option<&Name>, now_ms: i64) {
        let (Some(state), Some(node)) = (self.known.get_mut(name), node) else { return };
        let Some(presence) = state.nodes.get_mut(node) else { return };
        presence.members = presence.members.saturating_sub(1);
        if presence.members == 0 && presence.until.is_none() {
            let until = now_ms + self.grace_ms;
            presence.until = Some(until);
            self.leaving.insert((until, name.clone(), node.clone()));
        }
    }

    /// Whether a node has members of the selection now.
    pub fn is_present(&self, name: &Name, node: Option<&Name>) -> bool {
        let presence = node.and_then(|node| self.known.get(name)?.nodes.get(node));
        presence.is_some_and(|presence| presence.members > 0)
    }

    /// Nodes with members now: without those that are only kept for the grace.
    pub fn present_nodes_of(&self, name: &Name) -> BTreeSet<Name> {
        let nodes = self.known.get(name).map(|state| &state.nodes).into_iter().flatten();
        nodes.filter(|(_, presence)| presence.members > 0).map(|(node, _)| node.clone()).collect()
    }

    /// Takes the (selection, node) pairs whose grace is over.
    pub fn expired(&mut self, now_ms: i64) -> Vec<(Name, Name)> {
        let mut over = Vec::new();
        while let Some(first) = self.leaving.first().filter(|(until, ..)| *until <= now_ms).cloned() {
            self.leaving.remove(&first);
            let (until, name, node) = first;
            let Some(state) = self.known.get_mut(&name) else { continue };
            if state.nodes.get(&node).is_some_and(|p| p.until == Some(until)) {
                state.nodes.remove(&node);
                over.push((name, node));
            }
        }
        over
    }

    /// When the next grace is over, in milliseconds since the Unix epoch.
    pub fn deadline(&self) -> Option<i64> {
        self.leaving.first().map(|(until, ..)| *until)
    }

    /// Nodes that get the Plans of a selection.
    pub fn nodes_of(&self, name: &Name) -> Vec<Name> {
        self.known.get(name).map(|s| s.nodes.keys().cloned().collect()).unwrap_or_default()
    }

    /// Plans whose proxies a selection selects.
    pub fn plans_of(&self, name: &Name) -> Vec<ObjectRef> {
        self.known.get(name).map(|s| s.workload_of.iter().cloned().collect()).unwrap_or_default()
    }

    /// Plans that refer to a selection in any way.
    pub fn holders_of(&self, name: &Name) -> Vec<ObjectRef> {
        self.known
            .get(name)
            .map(|s| s.workload_of.union(&s.endpoints_of).cloned().collect())
            .unwrap_or_default()
    }

    /// UIDs of the pods that match.
    pub fn pods_of(&self, name: &Name) -> Vec<Name> {
        self.pods.matched(name).iter().cloned().collect()
    }

    /// NodeProxies whose labels match.
    pub fn proxies_of(&self, name: &Name) -> Vec<Name> {
        self.proxies.matched(name).iter().cloned().collect()
    }

    /// Selections that match a pod.
    pub fn of_pod(&self, uid: &Name) -> Vec<Name> {
        self.pods.selectors_of(uid)
    }

    /// Selections that match a NodeProxy's labels.
    pub fn of_proxy(&self, proxy: &Name) -> Vec<Name> {
        self.proxies.selectors_of(proxy)
    }

    /// Selections that look in a namespace and match a NodeProxy's labels.
    pub fn of_proxy_in(&self, proxy: &Name, namespace: &Name) -> Vec<Name> {
        let near = self.by_namespace.get(namespace).into_iter().flatten();
        near.filter(|name| self.proxies.matched(name).contains(proxy)).cloned().collect()
    }

    /// The namespace that a selection looks in; none: all.
    pub fn namespace_of(&self, name: &Name) -> Option<Name> {
        self.known.get(name).and_then(|s| s.namespace.clone())
    }

    /// Whether the selection turned from empty to not, or back, since this was last asked.
    pub fn turned(&mut self, name: &Name) -> bool {
        let is_empty = self.is_empty(name);
        let Some(state) = self.known.get_mut(name) else { return false };
        let turned = std::mem::replace(&mut state.was_empty, is_empty) != is_empty;
        match is_empty {
            true if turned => self.missing.insert(name, &state.requirements),
            false if turned => self.missing.remove(name),
            _ => {}
        }
        turned
    }

    /// Plans with a selection that finds nothing, but would find a pod with these labels in its namespace.
    pub fn longing_for(&self, labels: &Labels) -> Vec<ObjectRef> {
        self.missing.matching(labels).iter().flat_map(|name| self.holders_of(name)).collect()
    }

    /// Whether a selection finds endpoints, and if not, where it would.
    pub fn group_refs(&self, name: &Name, pods: &HashMap<Name, Pod>) -> Refs {
        let Some(state) = self.known.get(name) else { return Refs::Resolved };
        if !self.is_empty(name) {
            return Refs::Resolved;
        }
        let elsewhere = self.pods.found_anywhere(&state.requirements, EXAMPLES);
        let full = |p: &Pod| format!("{}/{}", p.namespace, p.name);
        let found: Vec<String> = elsewhere.iter().filter_map(|uid| pods.get(uid)).map(full).collect();
        match found.is_empty() {
            true => Refs::Empty(name.clone()),
            false => Refs::Elsewhere(name.clone(), found),
        }
    }

    /// Whether a selection of proxies looks in the wrong namespace. That it finds none at all is no fault of the
    /// object: they may come.
    pub fn workload_refs(&self, name: &Name, pods: &HashMap<Name, Pod>) -> Refs {
        if !self.proxies.matched(name).is_empty() {
            return Refs::Resolved;
        }
        match self.group_refs(name, pods) {
            Refs::Empty(_) => Refs::Resolved,
            found => found,
        }
    }

    /// Entries looked at since the start, for the tests of cost.
    pub fn visited(&self) -> u64 {
        self.pods.visited() + self.proxies.visited()
    }

    /// Whether the selection finds neither pods nor other endpoints.
    fn is_empty(&self, name: &Name) -> bool {
        self.pods.matched(name).is_empty() && self.listed.of(name).next().is_none()
    }

    fn leave_namespace(&mut self, namespace: &Name, name: &Name) {
        let Some(names) = self.by_namespace.get_mut(namespace) else { return };
        names.remove(name);
        if names.is_empty() {
            self.by_namespace.remove(namespace);
        }
    }
}

// === impl State ===

impl State {
    fn users(&mut self, role: Role) -> &mut BTreeSet<ObjectRef> {
        match role {
            Role::Workload => &mut self.workload_of,
            Role::Endpoints => &mut self.endpoints_of,
        }
    }
}
