//! Clusters that a proxy knows by the name that an earlier hub version gave them ([`FormerNames`]).
//!
//! A cluster is named `LISTENER/CLUSTER` within its object. Earlier hubs named it `CLUSTER` where that was
//! unique. Envoy treats a renamed cluster as a new cluster and a changed listener, and all sessions of the
//! listener would get a new upstream port. So a running listener keeps its cluster's former name until its
//! proxy restarts.

use std::collections::{BTreeMap, BTreeSet};

use portreeve_api::model::Plan;
use portreeve_api::refs::{ClusterPath, ResourceName};
use portreeve_xds::Name;

use super::backing;
use crate::translate::qualified;

/// The former cluster name that each accepted listener uses, by the listener's name.
#[derive(Default)]
pub struct FormerNames(BTreeMap<Name, Name>);

// === impl FormerNames ===

impl FormerNames {
    /// Records the cluster that an accepted listener routes to.
    pub fn note(&mut self, name: &Name, target: Option<Name>) {
        match target.filter(|target| !ResourceName::is_cluster_of(target, name)) {
            Some(former) => drop(self.0.insert(name.clone(), former)),
            None => drop(self.0.remove(name)),
        }
    }

    /// Removes the listeners for which `is_there` returns `false`.
    pub fn retain(&mut self, is_there: impl Fn(&Name) -> bool) {
        self.0.retain(|listener, _| is_there(listener));
    }

    /// Returns the clusters of a Plan that keep a former name. If several clusters would keep the same former
    /// name, they keep it only if they are equal.
    pub fn of(&self, plan: &Plan) -> BTreeMap<String, Name> {
        let mut kept = BTreeMap::new();
        if self.0.is_empty() {
            return kept;
        }
        let object = plan.name();
        for listener in &plan.listeners {
            let Some(former) = self.0.get(&qualified(plan, &listener.name)) else { continue };
            for route in listener.rules.iter().filter_map(|rule| rule.route.as_ref()) {
                let path = route.destination.parse().ok();
                let own = path.filter(|path: &ClusterPath| path.listener == listener.name);
                if own.is_some_and(|path| ResourceName::of(object.as_name(), &path.cluster) == *former) {
                    kept.insert(route.destination.clone(), former.clone());
                }
            }
        }
        let torn = torn(plan, &kept);
        kept.retain(|_, former| !torn.contains(former));
        kept
    }
}

/// Returns the former names that several different clusters would keep.
fn torn(plan: &Plan, kept: &BTreeMap<String, Name>) -> BTreeSet<Name> {
    let mut seen: BTreeMap<&Name, u64> = BTreeMap::new();
    let mut torn = BTreeSet::new();
    for cluster in &plan.clusters {
        let Some(former) = kept.get(&cluster.name) else { continue };
        let digest = backing::digest(cluster);
        if seen.insert(former, digest).is_some_and(|other| other != digest) {
            torn.insert(former.clone());
        }
    }
    torn
}
