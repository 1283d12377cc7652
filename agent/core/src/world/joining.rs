//! Pods whose l7mp proxy has yet to get its first complete configuration. Until then this agent reports them as unhealthy,
//! so that no session comes before the rules for it.

use portreeve_api::pod::Pod;
use portreeve_api::refs::ProxyId;
use portreeve_xds::Name;

use super::World;
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
        if self.joined.contains(uid) || self.health.is_joining(uid) {
            return;
        }
        let id = ProxyId::Pod(uid.clone());
        if self.fleet::<L7mp>().is_some_and(|fleet| fleet.has_kept(&id)) {
            self.joined.insert(uid.clone());
            return;
        }
        let plans = self.health.joins(uid, port.get(), pod.created_ms);
        self.refresh(plans);
    }

    /// Ends the wait for proxies that are connected and have answered everything that they were sent. A pod that nobody
    /// asked a check of waits on: nobody uses it, and the hub may not have sent what it is to have.
    pub(super) fn follow_joining(&mut self) {
        if !self.feed.heard_all() {
            return;
        }
        let Some(fleet) = self.fleets.typed::<L7mp>() else { return };
        let (plans, versions) = (&self.feed.plans, &self.feed.in_force);
        let ready = |uid: &&Name| {
            self.health.is_asked(uid) && fleet.has_answered(&ProxyId::Pod((*uid).clone()), plans, versions)
        };
        let ready: Vec<Name> = self.health.joining().filter(ready).cloned().collect();
        for uid in ready {
            tracing::info!(%uid, "the pod's l7mp proxy has its first complete configuration");
            let plans = self.health.joined(&uid);
            self.joined.insert(uid);
            self.refresh(plans);
        }
    }

    /// Lets pods join again whose proxies ended: their checks fail, and this agent has lost them. A proxy that starts again
    /// has no rules.
    pub(super) fn follow_lost(&mut self, uids: impl IntoIterator<Item = Name>) {
        for uid in uids {
            let port = self.pods.get(&uid).and_then(|pod| pod.l7mp);
            let Some((port, since)) = port.zip(self.health.down_since(&uid)) else { continue };
            if !self.joined.contains(&uid) || !self.is_alone::<L7mp>(&ProxyId::Pod(uid.clone())) {
                continue;
            }
            self.joined.remove(&uid);
            let plans = self.health.joins(&uid, port.get(), since);
            self.refresh(plans);
        }
    }
}
