//! What a confirmed change makes of a proxy's objects, and whether a change is safe now.

use super::{Actual, ListenerSeen, unread};
use crate::action::{Action, ListenerRules, RuleRef};

impl Actual {
    /// Applies a change that the proxy confirmed. [`Action::ReadLists`] is applied by [`Actual::read_listeners`].
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
                self.listeners.insert(name.clone(), ListenerSeen { list, slot: slot.clone() });
            }
            Action::DeleteListener { name, .. } => drop(self.listeners.remove(name)),
            Action::DeleteList { name } => drop(self.lists.remove(name)),
            Action::Insert { list, position, rule } => {
                self.add_rule(rule);
                let rules = self.lists.entry(list.clone()).or_default();
                rules.insert((*position).min(rules.len()), rule.rule.name.clone());
            }
            Action::Unlink { list, rule } => {
                let rules = self.lists.entry(list.clone()).or_default();
                if let Some(at) = rules.iter().position(|one| one == rule) {
                    rules.remove(at);
                }
            }
            Action::AddRule { rule } => self.add_rule(rule),
            Action::AddRoute { rule } => {
                self.routes.insert(rule.rule.name.clone(), rule.rule.clusters.clone());
            }
            Action::DeleteRule { name } => drop(self.rules.remove(name)),
            Action::DeleteRoute { name } => drop(self.routes.remove(name)),
            Action::ReadLists => {}
        }
    }

    /// Whether a change would leave nothing dangling: what it names exists, and nothing names what it deletes. A change
    /// may have become unsafe because an earlier one failed.
    pub(crate) fn is_safe(&self, action: &Action) -> bool {
        let named = |name: &str| self.lists.values().flatten().any(|rule| rule == name);
        let gone = match action {
            Action::DeleteList { name } => self.listeners.values().all(|seen| seen.list != *name),
            Action::DeleteRule { name } => !named(name),
            Action::DeleteRoute { name } => self.rules.values().all(|route| route.as_ref() != Some(name)),
            Action::DeleteCluster { name, .. } => {
                !self.routes.values().flatten().any(|cluster| cluster == name)
            }
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
        self.lists.insert(unread(listener), names);
        unread(listener)
    }

    fn add_rule(&mut self, RuleRef { rule, .. }: &RuleRef) {
        let route = (!rule.clusters.is_empty()).then(|| rule.name.clone());
        if route.is_some() {
            self.routes.insert(rule.name.clone(), rule.clusters.clone());
        }
        self.rules.insert(rule.name.clone(), route);
    }
}
