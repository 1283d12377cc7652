//! The verbs of namespaces. A namespace's labels decide which NodeProxies take its objects.

use std::collections::BTreeSet;
use std::sync::Arc;

use portreeve_api::PlanType;
use portreeve_api::own::node_proxy;
use portreeve_api::refs::ObjectRef;

use super::Index;
use super::matches::{Labels, Name, Shift};

// === impl Index ===

impl Index {
    /// Adds a namespace or changes its labels.
    pub fn apply_namespace(&mut self, name: &Name, labels: Labels, now_ms: i64) {
        let labels = Arc::new(labels);
        let changed = self.answers.set_namespace(name, Some(labels.clone()));
        self.wake(changed, None);
        let shifts = self.proxies.set_namespace(name, &labels);
        self.shift_namespaces(&shifts, now_ms);
    }

    /// Removes a namespace.
    pub fn delete_namespace(&mut self, name: &Name, now_ms: i64) {
        let changed = self.answers.set_namespace(name, None);
        self.wake(changed, None);
        let shifts = self.proxies.remove_namespace(name);
        self.shift_namespaces(&shifts, now_ms);
    }

    /// Takes the complete list of namespaces. Each NodeProxy is sent once, however many of them it selects.
    pub fn reset_namespaces(&mut self, namespaces: Vec<(Name, Labels)>, now_ms: i64) {
        let listed: BTreeSet<&Name> = namespaces.iter().map(|(name, _)| name).collect();
        let gone = self.proxies.namespaces_except(&listed);
        let (mut shifts, mut changed) = (Vec::new(), Vec::new());
        for name in gone {
            changed.extend(self.answers.set_namespace(&name, None));
            shifts.extend(self.proxies.remove_namespace(&name));
        }
        for (name, labels) in namespaces {
            let labels = Arc::new(labels);
            changed.extend(self.answers.set_namespace(&name, Some(labels.clone())));
            shifts.extend(self.proxies.set_namespace(&name, &labels));
        }
        self.wake(changed, None);
        self.shift_namespaces(&shifts, now_ms);
    }

    fn shift_namespaces(&mut self, shifts: &[Shift], now_ms: i64) {
        let proxies: BTreeSet<&Name> = shifts.iter().map(|shift| &shift.selector).collect();
        for proxy in proxies {
            self.affected.insert(ObjectRef::cluster_scoped(&node_proxy::KIND, proxy.clone()));
            self.proxies.renew(proxy);
            let Some(resource) = self.proxies.resource(proxy) else { continue };
            for node in self.proxies.nodes_of(proxy) {
                self.nodes.put(&node, PlanType::NodeProxy, resource.clone());
            }
        }
        for shift in shifts {
            self.shift_namespace(shift, now_ms);
        }
    }

    /// Adds the objects of a namespace to a NodeProxy's nodes, or removes them.
    fn shift_namespace(&mut self, shift: &Shift, now_ms: i64) {
        let nodes = self.proxies.nodes_of(&shift.selector);
        for selection in self.selections.of_proxy_in(&shift.selector, &shift.member) {
            match shift.joined {
                true => self.join(&selection, &nodes),
                false => self.leave(&selection, &nodes, now_ms),
            }
            // Needed even if no node's presence changed: the reason why no proxy serves the objects did.
            self.affected.extend(self.selections.plans_of(&selection));
        }
    }
}
