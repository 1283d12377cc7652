//! What a confirmed change makes of a proxy's objects, and whether a change is safe now.

use super::{Actual, ListenerSeen, unread};
use crate::action::{Action, ListenerRules, RuleRef};

impl Actual {
    /// Applies a change that the proxy confirmed. [`Action::ReadList`] is applied by [`Actual::read_list`].
    pub(crate) fn apply(&mut self, action: &Action) {
        match action {
            Action::AddCluster { name, .. } => {
                self.clusters.entry(name.clone()).or_default();
            }
            Action::AddEndpoint { cluster, name, weight, .. } => {
                let endpoints = self.clusters.entry(cluster.clone()).or_default();
                endpoints.insert(name.clone(), f64::from(*weight));
            }
            Action::DeleteEndpoint { cluster, name, .. } => {
                let endpoints = self.clusters.get_mut(cluster);
                endpoints.map(|endpoints| endpoints.remove(name));
            }
            Action::DeleteCluster { name, .. } => drop(self.clusters.remove(name)),
            Action::AddListener { name, slot, rules, .. } => {
                let list = self.add_rules(name, rules);
                self.put_listener(name.clone(), ListenerSeen { list, slot: slot.clone() });
            }
            Action::AddList { name, rules } => {
                rules.iter().for_each(|rule| self.add_rule(rule));
                self.put_list(name.clone(), rules.iter().map(|one| one.rule.name.clone()).collect());
            }
            Action::DeleteListener { name, .. } => drop(self.remove_listener(name)),
            Action::DeleteList { name } => drop(self.remove_list(name)),
            Action::Insert { list, place, rule } => {
                self.add_rule(rule);
                let position = place.within(self.lists.get(list));
                self.link(list, position, &rule.rule.name);
            }
            Action::Unlink { list, rule } => self.unlink(list, rule),
            Action::AddRule { rule } => self.add_rule(rule),
            Action::AddRoute { rule } => {
                self.add_clusters(rule);
                self.put_route(rule.rule.name.clone(), rule.rule.clusters.clone());
            }
            Action::DeleteRule { name } => self.remove_rule(name),
            Action::DeleteRoute { name } => self.remove_route(name),
            Action::ReadList { .. } => {}
        }
    }

    /// Whether a change would leave nothing dangling: what it names exists, and nothing names what it deletes. A change
    /// may have become unsafe because an earlier one failed.
    pub(crate) fn is_safe(&self, action: &Action) -> bool {
        let gone = match action {
            Action::DeleteList { name } => self.listeners_of(name).next().is_none(),
            Action::DeleteRule { name } => self.lists_of(name).next().is_none(),
            Action::DeleteRoute { name } => self.rules_of(name).next().is_none(),
            Action::DeleteCluster { name, .. } => self.routes_of(name).next().is_none(),
            _ => true,
        };
        gone && action.clusters().into_iter().all(|name| self.clusters.contains_key(name))
    }

    /// Adds a new listener's rules, and returns its list.
    fn add_rules(&mut self, listener: &str, rules: &ListenerRules) -> String {
        let rules = match rules {
            ListenerRules::List(list) => return list.clone(),
            ListenerRules::These(rules) => rules,
        };
        rules.iter().for_each(|rule| self.add_rule(rule));
        let names = rules.iter().map(|one| one.rule.name.clone()).collect();
        self.put_list(unread(listener), names);
        unread(listener)
    }

    fn add_rule(&mut self, reference: &RuleRef) {
        self.add_clusters(reference);
        let RuleRef { rule, .. } = reference;
        let route = (!rule.clusters.is_empty()).then(|| rule.name.clone());
        if route.is_some() {
            self.put_route(rule.name.clone(), rule.clusters.clone());
        }
        self.put_rule(rule.name.clone(), route);
    }

    /// Adds the clusters that were inside of a rule's route.
    fn add_clusters(&mut self, RuleRef { inside, .. }: &RuleRef) {
        for one in inside {
            self.clusters.insert(one.name.clone(), one.endpoints.clone());
        }
    }
}
