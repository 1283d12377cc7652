//! Steps for clusters and their endpoints, and for rules in the proxy's own lists.

use portreeve_xds::Name;

use super::Planner;
use crate::action::{Action, Place};
use crate::names::{self, Key, Kind};
use crate::wanted::{Insertion, WantedCluster};

impl Planner<'_> {
    /// Brings the endpoints of present clusters up to date.
    pub(super) fn update_endpoints(&mut self) {
        self.clusters(true);
    }

    /// Adds missing clusters that no rule brought along.
    pub(super) fn add_clusters(&mut self) {
        self.clusters(false);
    }

    fn clusters(&mut self, present: bool) {
        let wanted = self.wanted;
        for resource in self.of(Kind::Cluster) {
            let Some(Ok(made)) = wanted.clusters.get(resource) else { continue };
            match (self.after.clusters.contains_key(&made.name), present) {
                (true, true) => self.endpoints(resource, made),
                (false, false) => self.add_cluster(resource, made),
                _ => {}
            }
        }
    }

    /// Adds a cluster, then its endpoints one by one.
    pub(super) fn add_cluster(&mut self, resource: &Name, made: &WantedCluster) {
        let action = Action::AddCluster { name: made.name.clone(), body: made.body.clone() };
        self.push(Key::new(Kind::Cluster, resource.clone()), action);
        self.endpoints(resource, made);
    }

    /// Adds new endpoints before others leave, so that sessions have somewhere to move.
    fn endpoints(&mut self, resource: &Name, made: &WantedCluster) {
        if made.endpoints_refused.is_some() {
            return;
        }
        let owner = Key::new(Kind::Endpoints, resource.clone());
        let seen = self.after.clusters.get(&made.name).cloned().unwrap_or_default();
        for (name, endpoint) in &made.endpoints {
            let weight = endpoint.weight.unwrap_or(1);
            let cluster = made.name.clone();
            match seen.get(name) {
                Some(present) if *present == f64::from(weight) => continue,
                // The balancer knows endpoints by their addresses, so no address may be there twice.
                Some(_) => {
                    let (cluster, name) = (cluster.clone(), name.clone());
                    self.push(owner.clone(), Action::DeleteEndpoint { cluster, name, recursive: false });
                }
                None => {}
            }
            let (name, address) = (name.clone(), endpoint.address.clone());
            self.push(owner.clone(), Action::AddEndpoint { cluster, name, address, weight });
        }
        for name in seen.into_keys().filter(|name| !made.endpoints.contains_key(name)) {
            let cluster = made.name.clone();
            self.push(owner.clone(), Action::DeleteEndpoint { cluster, name, recursive: true });
        }
    }

    /// Inserts missing rules into the proxy's own lists. Former versions leave with the removals.
    pub(super) fn insert_rules(&mut self) {
        let wanted = self.wanted;
        for resource in self.of(Kind::Rule) {
            let Some(Ok(Insertion { list, position, rule })) = wanted.insertions.get(resource) else {
                continue;
            };
            let owner = Key::new(Kind::Rule, resource.clone());
            let rules = self.after.lists.get(list).map(Vec::as_slice).unwrap_or_default();
            if rules.contains(&rule.name) {
                self.mend(&owner, rule);
                continue;
            }
            let former = |name: &&String| names::rule_resource(name) == Some((resource.as_ref(), *position));
            let former = rules.iter().find(former).cloned();
            let place = former.map_or(Place::At(*position), Place::Before);
            let rule = self.reference(&owner, rule);
            self.push(owner, Action::Insert { list: list.clone(), place, rule });
        }
    }
}
