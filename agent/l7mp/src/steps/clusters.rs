//! Steps for clusters and their endpoints, and for rules in the proxy's own lists.

use super::Planner;
use crate::action::Action;
use crate::names::{self, Key, Kind};
use crate::wanted::{Insertion, WantedCluster};

impl Planner<'_> {
    /// Adds missing clusters, then brings the endpoints of all up to date.
    pub(super) fn add_clusters(&mut self) {
        let wanted = self.wanted;
        let ready = || wanted.clusters.iter().filter_map(|(name, made)| Some((name, made.as_ref().ok()?)));
        for (resource, made) in ready() {
            if !self.after.clusters.contains_key(&made.name) {
                let action = Action::AddCluster { name: made.name.clone(), body: made.body.clone() };
                self.push(Key::new(Kind::Cluster, resource.clone()), action);
            }
        }
        for (resource, made) in ready().filter(|(_, made)| made.endpoints_refused.is_none()) {
            self.endpoints(&Key::new(Kind::Endpoints, resource.clone()), made);
        }
    }

    /// Adds new endpoints before others leave, so that sessions have somewhere to move.
    fn endpoints(&mut self, owner: &Key, made: &WantedCluster) {
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
        for (resource, made) in &wanted.insertions {
            let Ok(Insertion { list, position, rule }) = made else { continue };
            let owner = Key::new(Kind::Rule, resource.clone());
            let rules = self.after.lists.get(list).map(Vec::as_slice).unwrap_or_default();
            if rules.contains(&rule.name) {
                self.mend(&owner, rule);
                continue;
            }
            let former = |name: &String| names::rule_resource(name) == Some((resource.as_ref(), *position));
            let position = rules.iter().position(former).unwrap_or(*position).min(rules.len());
            let rule = self.reference(rule);
            self.push(owner, Action::Insert { list: list.clone(), position, rule });
        }
    }
}
