//! The verb of what a node's agent said of its endpoints, and what becomes of an endpoint's probes.

use portreeve_api::{PlanType, plan};
use portreeve_xds::Resource;
use prost::Message;

use super::Index;
use super::matches::Name;

// === impl Index ===

impl Index {
    /// What is not healthy on a node, by its own agent; none: the node is forgotten. It goes to those who use an
    /// endpoint there, and to no other.
    pub fn set_health(&mut self, node: &Name, health: Option<&plan::Health>) {
        let encoded = health.map(|h| Resource::new(PlanType::Health, node.clone(), &h.encode_to_vec()));
        if self.groups.places.set_health(node, encoded) {
            self.nodes.publish_health(node, &self.groups);
        }
    }

    /// Whether there is such a node.
    pub fn has_node(&self, name: &Name) -> bool {
        self.proxies.has_node(name)
    }

    /// A pod changed: its node may have to probe it otherwise.
    pub(super) fn refresh_probes(&mut self, uid: &Name) {
        let pod = self.pods.get(uid).filter(|pod| pod.is_endpoint());
        let node = pod.and_then(|pod| pod.node.clone());
        let place = node.map(|node| (node, self.selections.of_pod(uid)));
        self.probes.refresh(uid, place, &mut self.nodes);
    }

    /// What is wanted of these groups changed.
    pub(super) fn refresh_groups(&mut self, groups: Vec<Name>) {
        for group in groups {
            for uid in self.selections.pods_of(&group) {
                self.refresh_probes(&uid);
            }
        }
    }
}
