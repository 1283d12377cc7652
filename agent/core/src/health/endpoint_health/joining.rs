//! Pods of this node that count as unhealthy although their checks succeed, because their proxies have yet to get their
//! configuration.

use std::collections::BTreeSet;

use portreeve_api::plan;
use portreeve_xds::Name;

use super::{EndpointHealth, Joining, Plans};
use crate::health::{Place, Point};

/// Why such a pod is unhealthy.
const REASON: &str = "its l7mp proxy has not got its first complete configuration yet";

// === impl EndpointHealth ===

impl EndpointHealth {
    /// Returns the pods of this node that count as unhealthy until [`EndpointHealth::joined`].
    pub fn joining(&self) -> impl Iterator<Item = &Name> {
        self.joining.keys()
    }

    /// Lets a pod of this node count as unhealthy, whatever its check says.
    pub fn joins(&mut self, uid: &Name, joining: Joining) -> Plans {
        if self.joining.insert(uid.clone(), joining) == Some(joining) {
            return Plans::new();
        }
        self.own_changes += 1;
        self.judge(self.points_of(uid))
    }

    /// Lets the check of a pod of this node count again. Without a result, the pod counts as healthy.
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

    /// Returns whether a check of a pod of this node doesn't count yet.
    pub(super) fn is_joining(&self, uid: &str, port: u32) -> bool {
        self.joining.get(uid).is_some_and(|joining| u32::from(joining.port) == port)
    }

    /// Returns the reports on pods that join.
    pub(super) fn joining_here(&self) -> impl Iterator<Item = plan::Unhealthy> {
        self.joining.iter().map(|(uid, joining)| plan::Unhealthy {
            uid: uid.to_string(),
            port: joining.port.into(),
            http_path: String::new(),
            reason: REASON.to_owned(),
            since_ms: joining.since_ms,
        })
    }

    fn points_of(&self, uid: &Name) -> BTreeSet<Point> {
        let of_pod = |point: &&Point| matches!(&point.place, Place::Pod { uid: of, .. } if of == uid);
        self.points.keys().filter(of_pod).cloned().collect()
    }
}
