//! The world's verbs of health: what it is told of endpoints, and the Plans that follow.

use std::collections::BTreeMap;
use std::time::Instant;

use portreeve_api::plan;
use portreeve_xds::Name;

use super::World;
use crate::health::{self, Aim, Book, Target, Uses, Verdict};
use crate::translate::pick;

// === impl World ===

impl World {
    /// Says which node this is: the endpoints of all others have another owner.
    pub fn set_node(&mut self, node: &str) {
        self.node = node.into();
        self.health.set_node(node);
    }

    /// What is known of health.
    pub fn health(&self) -> &Book {
        &self.health
    }

    /// The hub's last word is older than it may be, or no longer so.
    pub fn set_stale(&mut self, stale: bool) {
        if std::mem::replace(&mut self.stale, stale) != stale {
            self.refresh(self.feed.plans.keys().cloned().collect());
        }
    }

    /// Whether the hub's last word is older than it may be.
    pub fn stale(&self) -> bool {
        self.stale
    }

    /// What this agent's probes say.
    pub fn set_verdicts(&mut self, verdicts: Vec<(Target, Verdict)>) {
        let plans = self.health.note(verdicts);
        self.refresh(plans);
    }

    /// The hub was heard then: what it says of other nodes is fresh for a while.
    pub fn hub_heard(&mut self, at: Instant) {
        let plans = self.health.hub_heard(at);
        self.refresh(plans);
    }

    /// Ends the freshness of the hub's words, if it is over by now.
    pub fn lease_over(&mut self, now: Instant) {
        let plans = self.health.lease_over(now);
        self.refresh(plans);
    }

    /// What is to be probed now. Results of anything else are forgotten.
    pub fn health_targets(&mut self) -> BTreeMap<Target, Aim> {
        self.health.targets()
    }

    /// Takes in where a pod of this node is now, if it is still there.
    pub(super) fn follow_address(&mut self, uid: &Name) {
        let address = self.pods.get(uid).and_then(|pod| pick(self.host_families, &pod.ips));
        self.health.set_address(uid, address);
    }

    /// Takes in what a Plan uses now. While that is not known completely its previous uses stay, as it does itself.
    pub(super) fn follow_uses(&mut self, name: &Name) {
        let uses = match self.feed.plans.get(name) {
            Some(plan) => health::uses(plan, &self.known(), self.host_families),
            None => Some(Uses::default()),
        };
        if let Some(uses) = uses {
            self.health.set_plan(name, uses);
        }
    }

    /// Takes in what the hub says of the health of other nodes, and what it asks to be probed here.
    pub(super) fn follow_health(
        &mut self,
        health: Vec<(Name, Option<plan::Health>)>,
        probes: Vec<(Name, Option<plan::Probe>)>,
    ) -> Vec<Name> {
        let mut plans = Vec::new();
        for (name, health) in health {
            plans.extend(self.health.set_health(&name, health.as_ref()));
        }
        for (name, probe) in probes {
            self.health.set_probe(&name, probe.as_ref());
        }
        plans
    }
}
