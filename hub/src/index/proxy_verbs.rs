//! The verbs of nodes and NodeProxies.

use std::collections::BTreeSet;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use portreeve_api::PlanType;
use portreeve_api::own::node_proxy::{self, NodeProxy};
use portreeve_api::refs::ObjectRef;

use super::Index;
use super::matches::{Labels, Name, Shift};
use crate::object::Rejection;

// === impl Index ===

impl Index {
    /// Adds a node or changes its labels.
    pub fn apply_node(&mut self, name: Name, labels: Labels, now_ms: i64) {
        let shifts = self.proxies.set_node(&name, labels);
        self.shift_nodes(shifts, now_ms);
    }

    /// Removes a node.
    pub fn delete_node(&mut self, name: &Name, now_ms: i64) {
        let shifts = self.proxies.remove_node(name);
        self.shift_nodes(shifts, now_ms);
        self.forget_announced(name, now_ms);
    }

    /// Takes the complete list of nodes.
    pub fn reset_nodes(&mut self, nodes: Vec<(Name, Labels)>, now_ms: i64) {
        let listed: BTreeSet<&Name> = nodes.iter().map(|(n, _)| n).collect();
        for name in self.proxies.nodes_except(&listed) {
            self.delete_node(&name, now_ms);
        }
        for (name, labels) in nodes {
            self.apply_node(name, labels, now_ms);
        }
    }

    /// Adds or changes a NodeProxy.
    pub fn apply_proxy(&mut self, proxy: &NodeProxy, now_ms: i64) {
        let name = Name::from(proxy.metadata.name.as_deref().unwrap_or_default());
        self.orphans.set(PlanType::NodeProxy, name.clone(), false);
        self.verdicts.accept_plain(&key(&name), &proxy.metadata);
        self.affected.insert(key(&name));
        if self.proxies.holds(proxy) {
            return self.proxies.confirm(proxy);
        }
        let before = self.proxies.nodes_of(&name);
        let mut selections = self.selections.of_proxy(&name);
        self.stir_refused(&name);
        self.withdraw_proxy(&name, now_ms);
        self.proxies.set(proxy);
        self.selections.set_proxy(&name, self.proxies.attributes(&name));
        let now: BTreeSet<Name> = self.proxies.nodes_of(&name).into_iter().collect();
        for node in before.iter().filter(|node| !now.contains(*node)) {
            self.nodes.take_away(node, PlanType::NodeProxy, name.clone());
        }
        let Some(resource) = self.proxies.resource(&name) else { return };
        for node in &now {
            self.nodes.put(node, PlanType::NodeProxy, resource.clone());
        }
        for selection in self.proxy_selections(&name) {
            self.join(&selection, &now);
        }
        self.stir_refused(&name);
        selections.extend(self.selections.of_proxy(&name));
        self.recount(selections);
    }

    /// Handles a NodeProxy that can't be read or is invalid: the previous version stays in force.
    pub fn reject_proxy(&mut self, meta: &ObjectMeta, rejection: Rejection) {
        let name = &Name::from(meta.name.as_deref().unwrap_or_default());
        let orphaned = !self.proxies.knows(name);
        self.verdicts.reject(&key(name), meta, rejection, !orphaned);
        self.affected.insert(key(name));
        self.orphans.set(PlanType::NodeProxy, name.clone(), orphaned);
    }

    /// Removes a NodeProxy.
    pub fn delete_proxy(&mut self, name: &Name, now_ms: i64) {
        let nodes = self.proxies.nodes_of(name);
        let selections = self.selections.of_proxy(name);
        self.stir_refused(name);
        self.withdraw_proxy(name, now_ms);
        self.proxies.remove(name);
        self.verdicts.remove(&key(name));
        self.affected.insert(key(name));
        self.orphans.set(PlanType::NodeProxy, name.clone(), false);
        self.selections.remove_proxy(name);
        for node in nodes {
            self.nodes.take_away(&node, PlanType::NodeProxy, name.clone());
        }
        self.recount(selections);
    }

    fn shift_nodes(&mut self, shifts: Vec<Shift>, now_ms: i64) {
        let mut counted = BTreeSet::new();
        for shift in shifts {
            let (proxy, node) = (&shift.selector, &shift.member);
            let Some(resource) = self.proxies.resource(proxy) else { continue };
            self.affected.insert(key(proxy));
            counted.extend(self.selections.of_proxy(proxy));
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
        self.recount(counted);
    }

    /// The selections whose Plans a NodeProxy takes: they match its labels and look in an allowed namespace.
    fn proxy_selections(&self, proxy: &Name) -> Vec<Name> {
        let mut found = self.selections.of_proxy(proxy);
        found.retain(|s| self.proxies.allows(proxy, self.selections.namespace_of(s).as_ref()));
        found
    }

    /// Marks the objects that select a NodeProxy which does not take them, so that their conditions are updated.
    fn stir_refused(&mut self, proxy: &Name) {
        let taken: BTreeSet<Name> = self.proxy_selections(proxy).into_iter().collect();
        let refused = self.selections.of_proxy(proxy).into_iter().filter(|one| !taken.contains(one));
        let plans: Vec<ObjectRef> =
            refused.flat_map(|selection| self.selections.plans_of(&selection)).collect();
        self.affected.extend(plans);
    }

    /// Withdraws the Plans that a NodeProxy takes by its current labels, nodes and namespaces.
    fn withdraw_proxy(&mut self, name: &Name, now_ms: i64) {
        let nodes = self.proxies.nodes_of(name);
        for selection in self.proxy_selections(name) {
            self.leave(&selection, &nodes, now_ms);
        }
    }
}

fn key(name: &Name) -> ObjectRef {
    ObjectRef::cluster_scoped(&node_proxy::KIND, name.clone())
}
