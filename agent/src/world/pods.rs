//! The world's verbs about this node's pods.

use std::collections::BTreeSet;

use portreeve_api::PlanType;
use portreeve_api::pod::Pod;
use portreeve_api::refs::ProxyId;
use portreeve_xds::Name;

use super::World;
use crate::fleet::Facts;
use crate::translate::ProxyKind;

// === impl World ===

impl World {
    /// A pod of this node was created or changed.
    pub fn apply_pod(&mut self, pod: Pod) {
        if pod.finished {
            return self.delete_pod(&pod.uid);
        }
        let uid = pod.uid.clone();
        self.pods.insert(uid.clone(), pod.clone());
        self.follow_address(&uid);
        let plans = self.feed.unearth(&uid);
        self.follow_endpoints(plans);
        let id = ProxyId::Pod(uid.clone());
        for kind in self.kinds() {
            let facts = Facts::of_pod(kind, &pod, self.host_families);
            match self.fleets.of(kind).is_some_and(|fleet| fleet.facts(&id).is_some()) {
                true => self.put_proxy(id.clone(), facts),
                // What embodies a NodeProxy has that one's configuration.
                false if self.embodied_by(&uid).is_some() => {}
                false => self.set_bare(kind, &uid, Some(facts)),
            }
        }
    }

    /// A pod of this node is gone.
    pub fn delete_pod(&mut self, uid: &Name) {
        self.pods.remove(uid);
        self.follow_address(uid);
        let plans = self.feed.bury(uid);
        self.follow_endpoints(plans);
        for kind in self.kinds() {
            self.set_bare(kind, uid, None);
            self.drop_proxy(kind, &ProxyId::Pod(uid.clone()), "the pod is gone");
        }
    }

    /// The complete list of this node's pods.
    pub fn reset_pods(&mut self, pods: Vec<Pod>) {
        let listed: BTreeSet<Name> = pods.iter().map(|p| p.uid.clone()).collect();
        let mut known: BTreeSet<Name> = self.pods.keys().cloned().collect();
        // What an earlier agent kept is older than any list; what the hub says now may be newer than this one.
        if !self.feed.heard(PlanType::Slice) {
            known.extend(self.feed.pods_of(&self.node).map(Name::from));
        }
        let gone: Vec<Name> = known.difference(&listed).cloned().collect();
        gone.iter().for_each(|uid| self.delete_pod(uid));
        self.keep_ledgers(|id| !matches!(id, ProxyId::Pod(uid) if !listed.contains(uid)));
        pods.into_iter().for_each(|pod| self.apply_pod(pod));
    }

    /// Keeps the book of pods without a proxy of a kind, and touches the Plans that would be for them.
    pub(super) fn set_bare(&mut self, kind: ProxyKind, uid: &Name, facts: Option<Facts>) {
        let Some(fleet) = self.fleets.of_mut(kind) else { return };
        let before = fleet.set_bare(uid, facts.clone());
        if before == facts {
            return;
        }
        before.iter().chain(&facts).for_each(|one| self.touch_taken_by(one));
    }
}
