//! Pods of this node that count as unhealthy at the port of their proxies, although the check succeeds, because the proxies
//! have yet to get their configuration.

use std::collections::BTreeSet;

use portreeve_xds::Name;

use super::{EndpointHealth, Joining, Plans};
use crate::health::{Failure, Host, Point, Target, Verdict};

/// Why such a pod is unhealthy.
const REASON: &str = "its l7mp proxy has not got its first complete configuration yet";

// === impl EndpointHealth ===

impl EndpointHealth {
    /// Returns the pods of this node that count as unhealthy until [`EndpointHealth::joined`].
    pub fn joining(&self) -> impl Iterator<Item = &Name> {
        self.joining.keys()
    }

    /// Returns whether a pod counts as unhealthy until [`EndpointHealth::joined`].
    pub fn is_joining(&self, uid: &Name) -> bool {
        self.joining.contains_key(uid)
    }

    /// Returns whether the hub asked for a check of a pod of this node: it is an endpoint, and the hub has sent what the
    /// pod's proxies are to have.
    pub fn is_asked(&self, uid: &Name) -> bool {
        self.asked.values().any(|(target, _)| matches!(&target.host, Host::Pod(of) if of == uid))
    }

    /// Lets a pod of this node count as unhealthy since this time (in Unix milliseconds), whatever the checks at `port` say,
    /// the port of its proxy. Checks at other ports are of other programs in the pod.
    pub fn joins(&mut self, uid: &Name, port: u16, since_ms: i64) -> Plans {
        let verdict = Verdict::Down(Failure { reason: REASON.into(), since_ms });
        let target = Target { host: Host::Pod(uid.clone()), port, path: "".into() };
        let joining = Joining { target, verdict };
        if self.joining.get(uid) == Some(&joining) {
            return Plans::new();
        }
        self.joining.insert(uid.clone(), joining);
        self.own_changes += 1;
        self.judge(self.points_of(uid))
    }

    /// Lets the checks of a pod of this node count again. Without a result, the pod counts as healthy.
    pub fn joined(&mut self, uid: &Name) -> Plans {
        if self.joining.remove(uid).is_none() {
            return Plans::new();
        }
        self.own_changes += 1;
        let mut plans = Plans::new();
        for point in self.points_of(uid) {
            let healthy = self.compose(&point).unwrap_or(true);
            let Some(entry) = self.points.get_mut(&point).filter(|entry| entry.healthy != healthy) else {
                continue;
            };
            entry.healthy = healthy;
            plans.extend(entry.plans.keys().cloned());
        }
        plans
    }

    /// Returns since when (in Unix milliseconds) any check of a pod of this node fails, whether it joins or not.
    pub fn down_since(&self, uid: &Name) -> Option<i64> {
        let results = self.targets_of(uid).filter_map(|target| self.results.get(target));
        let since = results.filter_map(|verdict| match verdict {
            Verdict::Down(failure) => Some(failure.since_ms),
            _ => None,
        });
        since.min()
    }

    /// Returns the verdict on a target, if there is one: at the port of its proxy, a pod that joins is unhealthy; else the
    /// check's result counts.
    pub(super) fn verdict(&self, target: &Target) -> Option<&Verdict> {
        let joining = self.joining_at(target).map(|joining| &joining.verdict);
        joining.or_else(|| self.results.get(target))
    }

    /// Returns the pod that joins and that a target checks at the port of its proxy.
    pub(super) fn joining_at(&self, target: &Target) -> Option<&Joining> {
        let Host::Pod(uid) = &target.host else { return None };
        self.joining.get(uid).filter(|joining| joining.target.port == target.port)
    }

    /// Returns the checks of pods that join, at the ports of their proxies.
    pub(super) fn joining_targets(&self) -> impl Iterator<Item = &Target> {
        self.joining.iter().flat_map(|(uid, joining)| {
            let at_port = |target: &&Target| target.port == joining.target.port;
            self.targets_of(uid).filter(at_port).chain([&joining.target])
        })
    }

    /// Returns the targets of a pod of this node.
    fn targets_of(&self, uid: &Name) -> impl Iterator<Item = &Target> {
        let start = Target { host: Host::Pod(uid.clone()), port: 0, path: "".into() };
        let of_pod = move |target: &&Target| matches!(&target.host, Host::Pod(of) if of == uid);
        let used = self.by_target.range(start..).map(|(target, _)| target).take_while(of_pod);
        used.chain(self.asked.values().map(|(target, _)| target).filter(of_pod))
    }

    fn points_of(&self, uid: &Name) -> BTreeSet<Point> {
        let used = self.targets_of(uid).filter_map(|target| self.by_target.get(target));
        used.flatten().cloned().collect()
    }
}
