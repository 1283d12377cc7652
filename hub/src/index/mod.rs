//! The hub's index: watched state in by three verbs (apply, delete, reset), what each node is to be sent out.
//!
//! Pure and synchronous; the clock is passed in. No verb iterates all pods, nodes or custom resources: an event
//! visits what shares a label with it, and the nodes that use what changed. [`Index::take`] is the way out.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use portreeve_api::node_proxy::NodeProxy;
use portreeve_api::pod::Pod;
use portreeve_api::virtual_service::VirtualService;
use portreeve_api::{PlanType, names, plan};
use portreeve_xds::{Changes, Resource};
use prost::Message;

use crate::resolve::{self, Rejection, Resolved, Selection, SelectorScope};

mod groups;
mod matches;
mod node_sets;
mod proxies;
mod selections;
mod verdicts;

pub use matches::{Labels, Name};
pub use verdicts::{Refs, Verdict};

use groups::Groups;
use node_sets::{Encoded, NodeSets};
use proxies::Proxies;
use selections::Selections;
use verdicts::Verdicts;

/// Namespace and name of an object.
pub type Key = (Name, Name);

/// The hub's whole state.
pub struct Index {
    scope: SelectorScope,
    pods: HashMap<Name, Pod>,
    proxies: Proxies,
    selections: Selections,
    groups: Groups,
    plans: HashMap<Key, PlanEntry>,
    nodes: NodeSets,
    verdicts: Verdicts,
}

struct PlanEntry {
    encoded: Encoded,
    workload: Name,
}

// === impl Index ===

impl Index {
    /// An empty index. A Plan stays on a node for `grace_ms` after its last workload left.
    pub fn new(scope: SelectorScope, grace_ms: i64) -> Self {
        Self {
            scope,
            pods: HashMap::new(),
            proxies: Proxies::default(),
            selections: Selections::new(grace_ms),
            groups: Groups::default(),
            plans: HashMap::new(),
            nodes: NodeSets::default(),
            verdicts: Verdicts::default(),
        }
    }

    /// A pod was created or changed.
    pub fn apply_pod(&mut self, pod: Pod, now_ms: i64) {
        if pod.finished {
            return self.delete_pod(&pod.uid.clone(), now_ms);
        }
        let uid = pod.uid.clone();
        let endpoint = pod.endpoint();
        let (node, scope, labels) = (pod.node.clone(), pod.namespace.clone(), pod.labels.clone());
        let old = self.pods.insert(uid.clone(), pod);
        let moved = old.as_ref().is_some_and(|o| o.node != node);
        let old_node = old.as_ref().and_then(|o| o.node.clone());
        if moved {
            for selection in self.selections.of_pod(&uid) {
                self.leave(&selection, old_node.as_ref(), now_ms);
                self.join(&selection, node.as_ref());
            }
        }
        for shift in self.selections.set_pod(&uid, scope, labels) {
            match shift.joined {
                true => self.join(&shift.selector, node.as_ref()),
                false => {
                    // A pod that moved has left its old node above, as a member of what it matched before.
                    let at = if moved { node.as_ref() } else { old_node.as_ref() };
                    self.leave(&shift.selector, at, now_ms);
                    self.set_endpoint(&shift.selector, &uid, None);
                }
            }
        }
        for selection in self.selections.of_pod(&uid) {
            self.set_endpoint(&selection, &uid, endpoint.clone());
        }
    }

    /// A pod is gone.
    pub fn delete_pod(&mut self, uid: &Name, now_ms: i64) {
        let Some(old) = self.pods.remove(uid) else { return };
        for shift in self.selections.remove_pod(uid) {
            self.leave(&shift.selector, old.node.as_ref(), now_ms);
            self.set_endpoint(&shift.selector, uid, None);
        }
    }

    /// The complete list of pods, after a disconnect: what is not in it is gone.
    pub fn reset_pods(&mut self, pods: Vec<Pod>, now_ms: i64) {
        let listed: BTreeSet<Name> = pods.iter().map(|p| p.uid.clone()).collect();
        let gone: Vec<Name> = self.pods.keys().filter(|uid| !listed.contains(*uid)).cloned().collect();
        for uid in gone {
            self.delete_pod(&uid, now_ms);
        }
        for pod in pods {
            self.apply_pod(pod, now_ms);
        }
    }

    /// A node was created or its labels changed.
    pub fn apply_node(&mut self, name: Name, labels: Labels, now_ms: i64) {
        let shifts = self.proxies.set_node(&name, labels);
        self.shift_nodes(shifts, now_ms);
    }

    /// A node is gone.
    pub fn delete_node(&mut self, name: &Name, now_ms: i64) {
        let shifts = self.proxies.remove_node(name);
        self.shift_nodes(shifts, now_ms);
    }

    /// The complete list of nodes.
    pub fn reset_nodes(&mut self, nodes: Vec<(Name, Labels)>, now_ms: i64) {
        let listed: BTreeSet<&Name> = nodes.iter().map(|(n, _)| n).collect();
        for name in self.proxies.nodes_except(&listed) {
            self.delete_node(&name, now_ms);
        }
        for (name, labels) in nodes {
            self.apply_node(name, labels, now_ms);
        }
    }

    /// A NodeProxy was created or changed.
    pub fn apply_proxy(&mut self, proxy: &NodeProxy, now_ms: i64) {
        let name = Name::from(proxy.metadata.name.as_deref().unwrap_or_default());
        self.withdraw_proxy(&name, now_ms);
        self.proxies.set(proxy);
        let Some(resource) = self.proxies.resource(&name) else { return };
        self.selections.set_proxy(&name, self.proxies.labels(&name));
        for node in self.proxies.nodes_of(&name) {
            self.nodes.put(&node, PlanType::NodeProxy, resource.clone());
            for selection in self.proxy_selections(&name) {
                self.join(&selection, Some(&node));
            }
        }
    }

    /// A NodeProxy is gone.
    pub fn delete_proxy(&mut self, name: &Name, now_ms: i64) {
        let nodes = self.proxies.nodes_of(name);
        self.withdraw_proxy(name, now_ms);
        self.proxies.remove(name);
        self.selections.remove_proxy(name);
        for node in nodes {
            self.nodes.take_away(&node, PlanType::NodeProxy, name.clone());
        }
    }

    /// The complete list of NodeProxies.
    pub fn reset_proxies(&mut self, proxies: &[NodeProxy], now_ms: i64) {
        let listed: BTreeSet<&str> = proxies.iter().filter_map(|p| p.metadata.name.as_deref()).collect();
        for name in self.proxies.names_except(&listed) {
            self.delete_proxy(&name, now_ms);
        }
        for proxy in proxies {
            self.apply_proxy(proxy, now_ms);
        }
    }

    /// A VirtualService of API A was created or changed. One that is not accepted leaves the last accepted
    /// version in force; the verdict says so.
    pub fn apply_virtual_service(&mut self, object: &VirtualService) {
        let outcome = resolve::a::resolve(object, self.scope);
        self.settle(&object.metadata, outcome);
    }

    /// An object that could not even be read.
    pub fn reject(&mut self, meta: &kube::core::ObjectMeta, rejection: Rejection) {
        self.settle(meta, Err(rejection));
    }

    /// A VirtualService is gone.
    pub fn delete_virtual_service(&mut self, key: &Key) {
        self.verdicts.remove(key);
        let Some(entry) = self.plans.remove(key) else { return };
        for node in self.selections.nodes_of(&entry.workload) {
            self.nodes.drop_plan(&node, &entry.encoded, &self.groups);
        }
        self.let_go(&entry.workload, key);
        for group in &entry.encoded.groups {
            self.let_go(group, key);
        }
    }

    /// The complete list of VirtualServices (readable or not): every other one is gone.
    pub fn keep_virtual_services(&mut self, listed: &BTreeSet<Key>) {
        let gone: Vec<Key> = self.verdicts.keys().filter(|k| !listed.contains(*k)).cloned().collect();
        for key in gone {
            self.delete_virtual_service(&key);
        }
    }

    /// Ends the grace of Plans whose last workload left long enough ago.
    pub fn tick(&mut self, now_ms: i64) {
        for (selection, node) in self.selections.expired(now_ms) {
            for key in self.selections.plans_of(&selection) {
                if let Some(entry) = self.plans.get(&key) {
                    self.nodes.drop_plan(&node, &entry.encoded, &self.groups);
                }
            }
        }
    }

    /// When [`Index::tick`] has something to do next, in milliseconds since the Unix epoch.
    pub fn deadline(&self) -> Option<i64> {
        self.selections.deadline()
    }

    /// Each node's changes since the last call.
    pub fn take(&mut self) -> BTreeMap<Name, Changes<PlanType>> {
        self.nodes.take()
    }

    /// All that a node is to have, for an agent that connects.
    pub fn all_of(&self, node: &Name) -> Changes<PlanType> {
        self.nodes.all(node, &self.groups)
    }

    /// The verdicts that changed since the last call, for the writer of conditions.
    pub fn take_verdicts(&mut self) -> Vec<Verdict> {
        let (selections, plans, pods) = (&self.selections, &self.plans, &self.pods);
        self.verdicts.take(|key, verdict| {
            let Some(entry) = plans.get(key) else { return };
            let used = entry.encoded.groups.iter();
            verdict.refs = used.map(|g| selections.refs(g, pods)).fold(Refs::Resolved, Refs::worse);
        })
    }

    /// Entries looked at since the start, for the tests of cost.
    pub fn visited(&self) -> u64 {
        self.selections.visited() + self.groups.visited() + self.nodes.visited()
    }

    fn settle(&mut self, meta: &kube::core::ObjectMeta, outcome: Result<Resolved, Rejection>) {
        let namespace = meta.namespace.as_deref().unwrap_or("default");
        let key = (Name::from(namespace), Name::from(meta.name.as_deref().unwrap_or_default()));
        let in_force = outcome.is_err() && self.plans.contains_key(&key);
        match outcome {
            Ok(resolved) => {
                self.verdicts.accept(&key, meta, &resolved);
                self.put_plan(key, resolved);
            }
            Err(rejection) => self.verdicts.reject(&key, meta, rejection, in_force),
        }
    }

    fn put_plan(&mut self, key: Key, resolved: Resolved) {
        let name = names::plan_name(resolved.plan.origin.as_ref());
        let resource = Resource::new(PlanType::Plan, name, &resolved.plan.encode_to_vec());
        let old = self.plans.remove(&key);
        for group in &resolved.groups {
            self.hold(group, &key, false);
            self.open_group(&group.name);
        }
        let groups: BTreeSet<Name> = resolved.groups.iter().map(|g| g.name.clone()).collect();
        let entry = PlanEntry { encoded: Encoded { resource, groups }, workload: resolved.workload.name.clone() };
        self.hold(&resolved.workload, &key, true);
        let before: BTreeSet<Name> = match &old {
            Some(old) => self.selections.nodes_of(&old.workload).into_iter().collect(),
            None => BTreeSet::new(),
        };
        let now: BTreeSet<Name> = self.selections.nodes_of(&entry.workload).into_iter().collect();
        for node in &now {
            let had = old.as_ref().filter(|_| before.contains(node)).map(|o| &o.encoded);
            self.nodes.put_plan(node, &entry.encoded, had, &self.groups);
        }
        if let Some(old) = old {
            for node in before.difference(&now) {
                self.nodes.drop_plan(node, &old.encoded, &self.groups);
            }
            let kept = entry.encoded.groups.clone();
            self.release_old(&key, &old, &entry.workload, &kept);
        }
        self.plans.insert(key, entry);
    }

    fn release_old(&mut self, key: &Key, old: &PlanEntry, workload: &Name, groups: &BTreeSet<Name>) {
        let still_used = |name: &Name| name == workload || groups.contains(name);
        if old.workload != *workload {
            self.selections.stop_workload(&old.workload, key);
        }
        let gone = old.encoded.groups.iter().chain([&old.workload]).filter(|n| !still_used(n));
        for name in gone.cloned().collect::<BTreeSet<_>>() {
            self.let_go(&name, key);
        }
    }

    fn hold(&mut self, selection: &Selection, key: &Key, workload: bool) {
        if self.selections.hold(selection, key, workload) {
            return;
        }
        let name = &selection.name;
        for uid in self.selections.pods_of(name) {
            let node = self.pods.get(&uid).and_then(|p| p.node.clone());
            self.selections.join(name, node.as_ref());
        }
        for proxy in self.selections.proxies_of(name) {
            if self.proxies.allows(&proxy, selection.namespace.as_ref()) {
                for node in self.proxies.nodes_of(&proxy) {
                    self.selections.join(name, Some(&node));
                }
            }
        }
    }

    fn let_go(&mut self, name: &Name, key: &Key) {
        if self.selections.let_go(name, key) {
            self.groups.close(name);
        }
    }

    fn open_group(&mut self, name: &Name) {
        let pods = self.selections.pods_of(name);
        let endpoints = pods.iter().filter_map(|uid| self.pods.get(uid).and_then(Pod::endpoint));
        self.groups.open(name, endpoints);
    }

    fn set_endpoint(&mut self, selection: &Name, uid: &Name, endpoint: Option<plan::Endpoint>) {
        let changes = self.groups.set(selection, uid, endpoint);
        if !changes.upsert.is_empty() {
            self.nodes.publish_group(selection, &changes);
        }
        if self.selections.turned(selection) {
            self.verdicts.touch(self.selections.holders_of(selection));
        }
    }

    fn join(&mut self, selection: &Name, node: Option<&Name>) {
        if !self.selections.join(selection, node) {
            return;
        }
        let Some(node) = node else { return };
        for key in self.selections.plans_of(selection) {
            if let Some(entry) = self.plans.get(&key) {
                self.nodes.put_plan(node, &entry.encoded, None, &self.groups);
            }
        }
    }

    fn leave(&mut self, selection: &Name, node: Option<&Name>, now_ms: i64) {
        self.selections.leave(selection, node, now_ms);
    }

    fn shift_nodes(&mut self, shifts: Vec<matches::Shift<Name, Name>>, now_ms: i64) {
        for shift in shifts {
            let (proxy, node) = (&shift.selector, &shift.member);
            let Some(resource) = self.proxies.resource(proxy) else { continue };
            match shift.joined {
                true => self.nodes.put(node, PlanType::NodeProxy, resource),
                false => self.nodes.take_away(node, PlanType::NodeProxy, proxy.clone()),
            }
            for selection in self.proxy_selections(proxy) {
                match shift.joined {
                    true => self.join(&selection, Some(node)),
                    false => self.leave(&selection, Some(node), now_ms),
                }
            }
        }
    }

    /// The selections whose Plans a NodeProxy takes: its labels match and their namespace is allowed.
    fn proxy_selections(&self, proxy: &Name) -> Vec<Name> {
        let mut found = self.selections.of_proxy(proxy);
        found.retain(|s| self.proxies.allows(proxy, self.selections.namespace_of(s).as_ref()));
        found
    }

    /// Ends what a NodeProxy's present labels, nodes and namespaces give rise to.
    fn withdraw_proxy(&mut self, name: &Name, now_ms: i64) {
        let nodes = self.proxies.nodes_of(name);
        for selection in self.proxy_selections(name) {
            for node in &nodes {
                self.leave(&selection, Some(node), now_ms);
            }
        }
    }
}
