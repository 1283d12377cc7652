//! The world's verbs for this node's pods.

use std::collections::BTreeSet;

use portreeve_api::PlanType;
use portreeve_api::model::Plan;
use portreeve_api::pod::Pod;
use portreeve_api::refs::ProxyId;
use portreeve_xds::Name;

use super::World;
use super::interfaces::Interface;
use crate::fleet::Facts;
use crate::translate::ProxyKind;

// === impl World ===

impl World {
    /// Records a created or changed pod of this node.
    pub fn apply_pod(&mut self, pod: Pod) {
        if pod.finished {
            return self.delete_pod(&pod.uid);
        }
        let uid = pod.uid.clone();
        self.pods.insert(uid.clone(), pod.clone());
        self.follow_address(&uid);
        let plans = self.feed.unmark_deleted(&uid);
        self.follow_endpoints(plans);
        for kind in self.kinds() {
            self.follow_proxy(kind, &pod);
        }
        self.follow_membership(&uid, Some(&pod));
    }

    /// Updates a pod's proxy of this kind, or the record that the pod has none. An Envoy is one that has connected, an l7mp
    /// proxy one that the pod declares.
    fn follow_proxy(&mut self, kind: ProxyKind, pod: &Pod) {
        let id = ProxyId::Pod(pod.uid.clone());
        let known = self.fleets.of(kind).and_then(|fleet| fleet.facts(&id));
        let announced = known.map(|facts| facts.announced.clone());
        let declared = kind == ProxyKind::L7mp && pod.l7mp.is_some();
        if kind == ProxyKind::L7mp && !declared && announced.is_some() {
            self.drop_proxy(kind, &id, "the pod has no l7mp proxy any more");
        }
        let has_proxy = declared || (kind == ProxyKind::Envoy && announced.is_some());
        let facts = Facts::of_pod(kind, pod, self.host_families, announced.unwrap_or_default());
        if has_proxy {
            self.set_bare(kind, &pod.uid, None);
            return self.put_proxy(id, facts);
        }
        // A gateway pod's proxy gets its NodeProxy's configuration instead.
        if self.embodied_by(&pod.uid).is_none() {
            self.set_bare(kind, &pod.uid, Some(facts));
        }
    }

    /// Records the deletion of a pod of this node.
    pub fn delete_pod(&mut self, uid: &Name) {
        self.pods.remove(uid);
        self.announced.remove(uid);
        self.interfaces.remove(uid);
        self.follow_address(uid);
        self.follow_membership(uid, None);
        let plans = self.feed.mark_deleted(uid);
        self.follow_endpoints(plans);
        for kind in self.kinds() {
            self.set_bare(kind, uid, None);
            self.drop_proxy(kind, &ProxyId::Pod(uid.clone()), "the pod is gone");
        }
    }

    /// Records the interfaces that lead to a pod of this node. They are forgotten with the pod.
    pub fn set_interfaces(&mut self, uid: &Name, interfaces: Vec<Interface>) {
        if !self.pods.contains_key(uid) || !self.interfaces.set(uid, interfaces) {
            return;
        }
        let id = ProxyId::Pod(uid.clone());
        let facts: Vec<_> = self.fleets.all().filter_map(|fleet| fleet.facts(&id)).collect();
        let told = |plan: &Plan| plan.pod_bridge.is_some() && facts.iter().any(|facts| facts.may_take(plan));
        let plans = self.feed.plans.iter().filter(|(_, plan)| told(plan));
        self.touched.extend(plans.map(|(name, _)| name.clone()));
    }

    /// Returns the interface that leads to a proxy's pod: the port of this bridge, or else the one with the lowest index. `None`:
    /// it is not known, or the pod has the node's own network.
    pub fn interface(&self, proxy: &ProxyId, bridge: &str) -> Option<&Interface> {
        match proxy {
            ProxyId::Pod(uid) => self.interfaces.of(uid, bridge),
            ProxyId::Node(_) => None,
        }
    }

    /// Replaces the pods with the complete list of this node's pods.
    pub fn reset_pods(&mut self, pods: Vec<Pod>) {
        let listed: BTreeSet<Name> = pods.iter().map(|p| p.uid.clone()).collect();
        let mut known: BTreeSet<Name> = self.pods.keys().cloned().collect();
        // Slices from the store are older than this list. Slices that the hub itself sent may be newer, so
        // their pods are not removed.
        if !self.feed.heard(PlanType::Slice) {
            known.extend(self.feed.pods_of(&self.node).map(Name::from));
        }
        let gone: Vec<Name> = known.difference(&listed).cloned().collect();
        gone.iter().for_each(|uid| self.delete_pod(uid));
        self.keep_ledgers(|id| !matches!(id, ProxyId::Pod(uid) if !listed.contains(uid)));
        pods.into_iter().for_each(|pod| self.apply_pod(pod));
    }

    /// Records the facts of a pod without a proxy of a kind, and marks the Plans that would apply to it for a
    /// status update.
    pub(super) fn set_bare(&mut self, kind: ProxyKind, uid: &Name, facts: Option<Facts>) {
        let facts = facts.map(|facts| self.surrounded(facts));
        let Some(fleet) = self.fleets.of_mut(kind) else { return };
        let before = fleet.set_bare(uid, facts.clone());
        if before == facts {
            return;
        }
        before.iter().chain(&facts).for_each(|one| self.touch_taken_by(one));
    }
}
