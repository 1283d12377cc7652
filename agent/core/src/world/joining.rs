//! Pods whose l7mp proxy has yet to get its first complete configuration. Until then this agent reports them as unhealthy,
//! so that no session comes before the rules for it.

use portreeve_api::pod::Pod;
use portreeve_api::refs::ProxyId;
use portreeve_xds::Name;

use super::World;
use crate::health::Joining;
use crate::translate::l7mp::L7mp;

// === impl World ===

impl World {
    /// Follows a pod that was created, changed or deleted. A proxy that accepted something from an earlier agent has joined
    /// before.
    pub(super) fn follow_membership(&mut self, uid: &Name, pod: Option<&Pod>) {
        let Some((pod, port)) = pod.and_then(|pod| Some((pod, pod.l7mp?))) else {
            self.joined.remove(uid);
            let plans = self.health.joined(uid);
            return self.refresh(plans);
        };
        if self.joined.contains(uid) || self.health.joining().any(|joining| joining == uid) {
            return;
        }
        let id = ProxyId::Pod(uid.clone());
        if self.fleet::<L7mp>().is_some_and(|fleet| fleet.has_kept(&id)) {
            self.joined.insert(uid.clone());
            return;
        }
        let plans = self.health.joins(uid, Joining { port: port.get(), since_ms: pod.created_ms });
        self.refresh(plans);
    }

    /// Ends the wait for proxies that are connected and have answered everything that they were sent.
    pub(super) fn follow_joining(&mut self) {
        if !self.feed.heard_all() {
            return;
        }
        let Some(fleet) = self.fleets.typed::<L7mp>() else { return };
        let plans = &self.feed.plans;
        let ready = |uid: &&Name| fleet.has_answered(&ProxyId::Pod((*uid).clone()), plans);
        let ready: Vec<Name> = self.health.joining().filter(ready).cloned().collect();
        for uid in ready {
            tracing::info!(%uid, "the pod's l7mp proxy has its first complete configuration");
            let plans = self.health.joined(&uid);
            self.joined.insert(uid);
            self.refresh(plans);
        }
    }
}
