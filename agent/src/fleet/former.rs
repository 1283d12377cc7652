//! Clusters that a proxy knows by the name that an earlier version of the hub gave them ([`FormerNames`]).
//!
//! A cluster is called `LISTENER/CLUSTER` within its object; earlier hubs called it `CLUSTER` where that was unique. A new
//! name is a new cluster and a changed listener to Envoy, and all its sessions would get a new upstream port. So a listener
//! that runs keeps the name that it leads to, until its proxy starts anew.

use std::collections::{BTreeMap, BTreeSet};

use portreeve_api::model::Plan;
use portreeve_api::refs::{ClusterPath, ResourceName};
use portreeve_xds::Name;

use super::backing;
use crate::translate::qualified;

/// The clusters that accepted listeners lead to by a former name, by the listener's name.
#[derive(Default)]
pub struct FormerNames(BTreeMap<Name, Name>);

// === impl FormerNames ===

impl FormerNames {
    /// Notes where an accepted listener leads.
    pub fn note(&mut self, name: &Name, target: Option<Name>) {
        match target.filter(|target| !ResourceName::is_cluster_of(target, name)) {
            Some(former) => drop(self.0.insert(name.clone(), former)),
            None => drop(self.0.remove(name)),
        }
    }

    /// Forgets the listeners that are gone.
    pub fn retain(&mut self, is_there: impl Fn(&Name) -> bool) {
        self.0.retain(|listener, _| is_there(listener));
    }

    /// The clusters of a Plan that keep a former name. Clusters that would get one name keep it if they are the same.
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

/// The former names that different clusters would keep.
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
