//! Selections: distinct (namespace, selector) pairs, the pods and NodeProxies that they match, and the nodes of those.
//! All Plans with the same pair share one selection.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use portreeve_api::plan;
use portreeve_api::refs::ObjectRef;

use super::listed::Listed;
use super::matches::{Labels, Matches, Name, Shift};
use super::missing::Missing;
use super::pod::KnownPod;
pub use super::used_selection::Role;
use super::used_selection::State;
use crate::keyed_sets::KeyedSets;
use crate::selection::Selection;
use crate::verdict::Refs;

/// The maximum number of names given as examples in a message.
const EXAMPLES: usize = 3;

/// All selections in use.
pub struct Selections {
    pods: Matches<KnownPod>,
    proxies: Matches,
    known: HashMap<Name, State>,
    /// Selections by the namespace whose members they match.
    by_namespace: KeyedSets<Name, Name>,
    /// Selections of the members of a cluster, see [`Selection::cluster`].
    of_clusters: BTreeSet<Name>,
    /// Endpoints that are not pods of the index.
    listed: Listed,
    missing: Missing,
    leaving: BTreeSet<(i64, Name, Name)>,
    grace_ms: i64,
}

// === impl Selections ===

impl Selections {
    /// Creates an empty set. See [`super::Index::new`] for the grace.
    pub fn new(grace_ms: i64) -> Self {
        Self {
            pods: Matches::by_used_keys(),
            proxies: Matches::default(),
            known: HashMap::new(),
            by_namespace: KeyedSets::default(),
            of_clusters: BTreeSet::new(),
            listed: Listed::default(),
            missing: Missing::default(),
            leaving: BTreeSet::new(),
            grace_ms,
        }
    }

    /// Records that a Plan refers to a selection. Returns false if the selection is new: the caller then has to join its
    /// members.
    pub fn hold(&mut self, selection: &Selection, key: &ObjectRef, role: Role) -> bool {
        let (name, requirements) = (&selection.name(), selection.requirements());
        let known = self.known.contains_key(name);
        if !known {
            self.pods.add_selector(name.clone(), selection.namespace().cloned(), requirements.clone());
            self.proxies.add_selector(name.clone(), None, requirements.clone());
            if let Some(namespace) = selection.namespace() {
                self.by_namespace.insert(namespace.clone(), name.clone());
            }
            if selection.cluster().is_some() {
                self.of_clusters.insert(name.clone());
            }
        }
        let was_empty = self.is_empty(name);
        let state = self.known.entry(name.clone()).or_insert_with(|| State::new(selection, was_empty));
        state.users(role).insert(key.clone());
        if !known && was_empty && selection.may_mean_elsewhere() {
            self.missing.insert(name, &requirements);
        }
        known
    }

    /// Records that a Plan no longer refers to a selection in this role. Returns true if no Plan does. A selection without
    /// any role is forgotten.
    pub fn let_go(&mut self, name: &Name, key: &ObjectRef, role: Role) -> bool {
        let Some(state) = self.known.get_mut(name) else { return false };
        state.users(role).remove(key);
        let unused = state.users(role).is_empty();
        if state.workload_of.is_empty() && state.endpoints_of.is_empty() {
            let gone = self.known.remove(name);
            if let Some(namespace) = gone.as_ref().and_then(|state| state.selection.namespace()) {
                self.by_namespace.remove(namespace, name);
            }
            self.of_clusters.remove(name);
            self.missing.remove(name);
            self.pods.remove_selector(name);
            self.proxies.remove_selector(name);
        }
        unused
    }

    /// Endpoints that are not pods.
    pub fn listed(&self) -> &Listed {
        &self.listed
    }

    /// Endpoints that are not pods, mutably.
    pub fn listed_mut(&mut self) -> &mut Listed {
        &mut self.listed
    }

    /// See [`Matches::set_member`].
    pub fn set_pod(&mut self, uid: &Name, pod: KnownPod, labels: &Labels) -> Vec<Shift> {
        self.pods.set_member(uid, pod, labels)
    }

    /// A pod.
    pub fn pod(&self, uid: &Name) -> Option<&KnownPod> {
        self.pods.content(uid)
    }

    /// All pods with their uids, in no order.
    pub fn pods(&self) -> impl ExactSizeIterator<Item = (&Name, &KnownPod)> {
        self.pods.members()
    }

    /// Returns the known uid that equals this one, so that all share one allocation; or this one.
    pub fn uid_of(&self, uid: &Name) -> Name {
        self.pods.member(uid).unwrap_or(uid).clone()
    }

    /// Returns whether a pod was set with exactly these labels.
    pub fn carries(&self, uid: &Name, labels: &Labels) -> bool {
        self.pods.carries(uid, labels)
    }

    /// The labels that a pod was set with.
    pub fn labels_of(&self, uid: &Name) -> Labels {
        self.pods.labels_of(uid)
    }

    /// See [`Matches::remove_member`].
    pub fn remove_pod(&mut self, uid: &Name) -> Vec<Shift> {
        self.pods.remove_member(uid)
    }

    /// Sets a NodeProxy's labels. They are matched like a pod's, in every namespace.
    pub fn set_proxy(&mut self, name: &Name, labels: Labels) {
        self.proxies.set_member(name, (), &labels);
    }

    /// Removes a NodeProxy.
    pub fn remove_proxy(&mut self, name: &Name) {
        self.proxies.remove_member(name);
    }

    /// Records a member of the selection on a node. Returns true if the node had none: it then needs the Plans.
    pub fn join(&mut self, name: &Name, node: Option<&Name>) -> bool {
        let (Some(state), Some(node)) = (self.known.get_mut(name), node) else { return false };
        let (new, until) = state.join(node);
        if let Some(until) = until {
            self.leaving.remove(&(until, name.clone(), node.clone()));
        }
        new
    }

    /// Records that a member left a node. After the last one the node is kept for the grace period.
    pub fn leave(&mut self, name: &Name, node: Option<&Name>, now_ms: i64) {
        let (Some(state), Some(node)) = (self.known.get_mut(name), node) else { return };
        let until = now_ms + self.grace_ms;
        if state.leave(node, until) {
            self.leaving.insert((until, name.clone(), node.clone()));
        }
    }

    /// Returns whether a node has members of the selection now.
    pub fn is_present(&self, name: &Name, node: Option<&Name>) -> bool {
        let presence = node.and_then(|node| self.known.get(name)?.nodes.get(node));
        presence.is_some_and(|presence| presence.members > 0)
    }

    /// Nodes with members now, without those in their grace period.
    pub fn present_nodes_of(&self, name: &Name) -> Arc<BTreeSet<Name>> {
        self.known.get(name).map(State::present).unwrap_or_default()
    }

    /// Removes and returns the nodes whose grace period is over, by selection.
    pub fn expired(&mut self, now_ms: i64) -> BTreeMap<Name, Vec<Name>> {
        let mut over: BTreeMap<Name, Vec<Name>> = BTreeMap::new();
        while let Some(first) = self.leaving.first().filter(|(until, ..)| *until <= now_ms).cloned() {
            self.leaving.remove(&first);
            let (until, name, node) = first;
            let Some(state) = self.known.get_mut(&name) else { continue };
            if state.nodes.get(&node).is_some_and(|p| p.until == Some(until)) {
                state.nodes.remove(&node);
                over.entry(name).or_default().push(node);
            }
        }
        over
    }

    /// When the next grace period ends, in milliseconds since the Unix epoch.
    pub fn deadline(&self) -> Option<i64> {
        self.leaving.first().map(|(until, ..)| *until)
    }

    /// Nodes that receive the Plans of a selection.
    pub fn nodes_of(&self, name: &Name) -> Vec<Name> {
        self.known.get(name).map(|s| s.nodes.keys().cloned().collect()).unwrap_or_default()
    }

    /// Plans that use a selection for their proxies.
    pub fn plans_of(&self, name: &Name) -> Vec<ObjectRef> {
        self.known.get(name).map(|s| s.workload_of.iter().cloned().collect()).unwrap_or_default()
    }

    /// Plans that refer to a selection in any role.
    pub fn holders_of(&self, name: &Name) -> Vec<ObjectRef> {
        self.known
            .get(name)
            .map(|s| s.workload_of.union(&s.endpoints_of).cloned().collect())
            .unwrap_or_default()
    }

    /// UIDs of the matching pods.
    pub fn pods_of(&self, name: &Name) -> Vec<Name> {
        self.pods.matched(name).iter().cloned().collect()
    }

    /// Returns the number of matching pods that meet a condition, at most 2.
    pub fn some(&self, name: &Name, meets: impl Fn(&KnownPod) -> bool) -> usize {
        self.pods.matched(name).iter().filter(|uid| self.pod(uid).is_some_and(&meets)).take(2).count()
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

    /// Selections that match a NodeProxy's labels and look in the given namespace.
    pub fn of_proxy_in(&self, proxy: &Name, namespace: &Name) -> Vec<Name> {
        let near = self.by_namespace.of(namespace);
        near.filter(|name| self.proxies.matched(name).contains(proxy)).cloned().collect()
    }

    /// The namespace that a selection looks in. `None`: all namespaces.
    pub fn namespace_of(&self, name: &Name) -> Option<Name> {
        self.known.get(name).and_then(|state| state.selection.namespace().cloned())
    }

    /// The name by which a selection finds proxies; `None` if it finds them by something else.
    pub fn proxy_name_of(&self, name: &Name) -> Option<&str> {
        match &self.known.get(name)?.selection {
            Selection::Named { proxy_name, .. } => Some(proxy_name),
            Selection::Pods(_) | Selection::Service { .. } | Selection::Objects(_) => None,
        }
    }

    /// Selections of the members of a cluster.
    pub fn of_clusters(&self) -> impl Iterator<Item = &Name> {
        self.of_clusters.iter()
    }

    /// The cluster whose members a selection selects; see [`Selection::cluster`].
    pub fn cluster_of(&self, name: &Name) -> Option<Name> {
        self.known.get(name)?.selection.cluster().map(Name::from)
    }

    /// Returns whether the selection became empty or non-empty since the last call.
    pub fn turned(&mut self, name: &Name) -> bool {
        let is_empty = self.is_empty(name);
        let Some(state) = self.known.get_mut(name) else { return false };
        let turned = std::mem::replace(&mut state.was_empty, is_empty) != is_empty;
        match is_empty {
            true if turned && state.selection.may_mean_elsewhere() => {
                self.missing.insert(name, &state.requirements);
            }
            false if turned => self.missing.remove(name),
            _ => {}
        }
        turned
    }

    /// Plans with an empty selection that would match a pod with these labels if the pod were in its namespace.
    pub fn unmatched_with(&self, labels: &Labels) -> Vec<ObjectRef> {
        self.missing.matching(labels).iter().flat_map(|name| self.holders_of(name)).collect()
    }

    /// Tells whether a selection matches endpoints, and if not, where it would.
    pub fn group_refs(&self, name: &Name) -> Refs {
        let Some(state) = self.known.get(name) else { return Refs::Resolved };
        if !self.is_empty(name) || !state.selection.may_mean_elsewhere() {
            return Refs::Resolved;
        }
        let elsewhere = self.pods.found_anywhere(&state.requirements, EXAMPLES);
        let full = |uid: &Name| self.pod(uid).map(|pod| format!("{}/{}", pod.namespace, pod.name));
        let found: Vec<String> = elsewhere.iter().filter_map(full).collect();
        match found.is_empty() {
            true if state.selection.has_unready() => Refs::Nobody(state.selection.title()),
            true => Refs::Empty(state.selection.title()),
            false => Refs::Elsewhere(state.selection.title(), found),
        }
    }

    /// Tells whether a selection of proxies looks in the wrong namespace. A selection without proxies is not an error of
    /// the object: proxies may still be added.
    pub fn workload_refs(&self, name: &Name) -> Refs {
        if !self.proxies.matched(name).is_empty() {
            return Refs::Resolved;
        }
        match self.group_refs(name) {
            Refs::Empty(_) => Refs::Resolved,
            found => found,
        }
    }

    /// Returns a pod as a member of a selection. `None` while it is none.
    pub fn member_of(&self, name: &Name, uid: &Name) -> Option<plan::Endpoint> {
        let pod = self.pod(uid)?;
        match self.known.get(name).is_some_and(|state| state.selection.has_unready()) {
            true => pod.peer(uid),
            false => pod.endpoint(uid),
        }
    }

    /// The number of entries visited since the start, for the tests of cost.
    pub fn visited(&self) -> u64 {
        self.pods.visited() + self.proxies.visited()
    }

    /// Returns whether the selection matches neither pods nor other endpoints.
    fn is_empty(&self, name: &Name) -> bool {
        self.pods.matched(name).is_empty() && self.listed.of(name).next().is_none()
    }
}
