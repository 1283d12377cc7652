//! The index's methods for the endpoint health that agents report, and for the probes that agents are asked to run.

use portreeve_api::{PlanType, plan};
use portreeve_xds::Resource;
use prost::Message;

use super::Index;
use super::matches::Name;

// === impl Index ===

impl Index {
    /// Sets the unhealthy endpoints on a node, as reported by its own agent; `None` forgets the node. The report is sent
    /// only to nodes that use an endpoint there.
    pub fn set_health(&mut self, node: &Name, health: Option<&plan::Health>) {
        let encoded = health.map(|h| Resource::new(PlanType::Health, node.clone(), &h.encode_to_vec()));
        if self.groups.places.set_health(node, encoded) {
            self.nodes.publish_health(node, &self.groups);
        }
    }

    /// Returns whether the node is known.
    pub fn has_node(&self, name: &Name) -> bool {
        self.proxies.has_node(name)
    }

    /// Updates the probes of a pod that changed.
    pub(super) fn refresh_probes(&mut self, uid: &Name) {
        let pod = self.selections.pod(uid).filter(|pod| pod.is_endpoint());
        let node = pod.and_then(|pod| pod.node.clone());
        let place = node.map(|node| (node, self.selections.of_pod(uid)));
        self.probes.refresh(uid, place, &mut self.nodes);
    }

    /// Updates the probes of all endpoints of these groups, after the wanted checks changed.
    pub(super) fn refresh_groups(&mut self, groups: Vec<Name>) {
        for group in groups {
            for uid in self.selections.pods_of(&group) {
                self.refresh_probes(&uid);
            }
        }
    }
}
