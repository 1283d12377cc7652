//! Queries of the condition writer: which objects changed, and their current state.

use std::collections::BTreeSet;

use super::{Index, Name};
use crate::subject::{Of, Served, Subject};
use crate::verdict::Verdict;
use portreeve_api::kind::Purpose;
use portreeve_api::model::ProxyKind;
use portreeve_api::refs::ObjectRef;

// === impl Index ===

impl Index {
    /// Returns the objects whose verdict, Plan or nodes changed since the last call.
    pub fn take_affected(&mut self) -> BTreeSet<ObjectRef> {
        let judged = self.take_verdicts().into_iter().map(|verdict| verdict.key);
        let mut affected = std::mem::take(&mut self.affected);
        affected.extend(judged);
        affected
    }

    /// Returns the objects whose Plan was added, changed or withdrawn since the last call.
    pub fn take_replanned(&mut self) -> BTreeSet<ObjectRef> {
        std::mem::take(&mut self.replanned)
    }

    /// Returns whether a NodeProxy is an l7mp.
    pub fn is_l7mp(&self, proxy: &Name) -> bool {
        self.proxies.kind(proxy) == Some(ProxyKind::L7mp)
    }

    /// The verdict on the newest version of an object.
    pub fn judged(&self, key: &ObjectRef) -> Option<&Verdict> {
        self.verdicts.get(key)
    }

    /// The state that an object's conditions are derived from. `None` if there is no such object, or if another hub
    /// reports on it: see [`Index::restricted`].
    pub fn subject(&self, key: &ObjectRef) -> Option<Subject> {
        if key.kind.purpose == Purpose::Proxy {
            let foreign = |own| !self.proxies.is_within(&key.name, own);
            if self.namespaces.only().is_some_and(foreign) {
                return None;
            }
            let verdict = self.verdicts.get(key)?.clone();
            let served = self.proxies.served(&key.name);
            let kind = self.proxies.kind(&key.name).unwrap_or(ProxyKind::Envoy);
            return Some(Subject { of: Of::NodeProxy(kind), verdict, served, told: Vec::new() });
        }
        let verdict = self.verdicts.get(key)?.clone();
        if key.kind.purpose == Purpose::Part {
            return Some(Subject { of: Of::Part, verdict, served: None, told: Vec::new() });
        }
        let served = self.plans.get(key).map(|entry| Served {
            plan: entry.encoded.resource.name().clone(),
            version: entry.encoded.resource.version().0,
            generation: entry.generation,
            nodes: self.selections.present_nodes_of(&entry.workload),
            proxy_name: self.selections.proxy_name_of(&entry.workload).map(ToOwned::to_owned),
            closed: self.closed_to(&entry.workload, &key.namespace),
        });
        let told = self.plans.get(key).map(|entry| entry.told.clone()).unwrap_or_default();
        Some(Subject { of: Of::Plan, verdict, served, told })
    }

    /// The NodeProxies that a selection matches but that don't take objects of the namespace.
    fn closed_to(&self, workload: &Name, namespace: &Name) -> Vec<Name> {
        let mut selected = self.selections.proxies_of(workload);
        selected.retain(|proxy| !self.proxies.allows(proxy, Some(namespace)));
        selected
    }
}
