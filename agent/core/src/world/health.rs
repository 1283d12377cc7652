//! The world's verbs for endpoint health, and the refresh of the affected Plans.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use portreeve_api::plan;
use portreeve_xds::Name;

use super::World;
use crate::health::{self, Aim, EndpointHealth, Host, Target, Uses, Verdict};
use crate::translate::pick;

// === impl World ===

impl World {
    /// Sets this node's name. Endpoints of other nodes are probed by those nodes' agents.
    pub fn set_node(&mut self, node: &str) {
        self.node = node.into();
        self.health.set_node(node);
    }

    /// Returns the health state.
    pub fn health(&self) -> &EndpointHealth {
        &self.health
    }

    /// Sets whether the hub's data is stale: no hub was heard for longer than allowed.
    pub fn set_stale(&mut self, stale: bool) {
        if std::mem::replace(&mut self.stale, stale) != stale {
            self.refresh(self.feed.plans.keys().cloned().collect());
        }
    }

    /// Returns whether the hub's data is stale.
    pub fn stale(&self) -> bool {
        self.stale
    }

    /// Records the results of this agent's probes.
    pub fn set_verdicts(&mut self, verdicts: Vec<(Target, Verdict)>) {
        let failed = verdicts.iter().filter_map(|(target, verdict)| match (&target.host, verdict) {
            (Host::Pod(uid), Verdict::Down(_)) => Some(uid.clone()),
            _ => None,
        });
        let failed: BTreeSet<Name> = failed.collect();
        let plans = self.health.note(verdicts);
        self.refresh(plans);
        self.follow_lost(failed);
    }

    /// Records when the hub was heard, which renews the lease on its health data of other nodes.
    pub fn hub_heard(&mut self, at: Instant) {
        let plans = self.health.hub_heard(at);
        self.refresh(plans);
    }

    /// Stops using the hub's health data of other nodes if its lease has expired.
    pub fn lease_over(&mut self, now: Instant) {
        let plans = self.health.lease_over(now);
        self.refresh(plans);
    }

    /// Returns the targets to probe now. Results of all other targets are forgotten.
    pub fn health_targets(&mut self) -> BTreeMap<Target, Aim> {
        self.health.targets()
    }

    /// Updates the probe address of a pod of this node, or removes it if the pod is gone.
    pub(super) fn follow_address(&mut self, uid: &Name) {
        let address = self.pods.get(uid).and_then(|pod| pick(self.host_families, &pod.ips));
        self.health.set_address(uid, address);
    }

    /// Updates the endpoints that a Plan uses. While its sources are not all known, the previous ones stay.
    pub(super) fn follow_uses(&mut self, name: &Name) {
        let uses = match self.feed.plans.get(name) {
            Some(plan) => health::uses(plan, &self.known(), self.host_families),
            None => Some(Uses::default()),
        };
        if let Some(uses) = uses {
            self.health.set_plan(name, uses);
        }
    }

    /// Records the hub's health data of other nodes, and the probes that this node shall run. Returns the
    /// Plans whose endpoints' health changed.
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
