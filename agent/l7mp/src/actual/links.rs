//! Changes of single objects of a proxy together with the index, and its questions.

use super::index::{Index, add, of, take};
use super::{Actual, ListenerSeen};
use crate::slot::Slot;

// === impl Actual ===

impl Actual {
    /// Makes the index again, after objects were changed without it.
    pub(crate) fn reindex(&mut self) {
        let mut index = Index::default();
        for (name, ListenerSeen { list, slot }) in &self.listeners {
            slot.iter().for_each(|slot| add(&mut index.slots, slot, name));
            add(&mut index.listeners, list, name);
        }
        for (list, rules) in &self.lists {
            rules.iter().for_each(|rule| add(&mut index.lists, rule, list));
        }
        for (rule, route) in &self.rules {
            route.iter().for_each(|route| add(&mut index.rules, route, rule));
        }
        for (route, clusters) in &self.routes {
            clusters.iter().for_each(|cluster| add(&mut index.routes, cluster, route));
        }
        self.index = index;
    }

    /// Returns the listeners with this slot.
    pub(crate) fn at(&self, slot: &Slot) -> impl Iterator<Item = &str> {
        self.index.at(slot)
    }

    /// Returns the listeners of a list.
    pub(crate) fn listeners_of(&self, list: &String) -> impl Iterator<Item = &str> {
        of(&self.index.listeners, list)
    }

    /// Returns the lists that a rule is in.
    pub(crate) fn lists_of(&self, rule: &String) -> impl Iterator<Item = &str> {
        of(&self.index.lists, rule)
    }

    /// Returns the rules of a route.
    pub(crate) fn rules_of(&self, route: &String) -> impl Iterator<Item = &str> {
        of(&self.index.rules, route)
    }

    /// Returns the routes through a cluster.
    pub(crate) fn routes_of(&self, cluster: &String) -> impl Iterator<Item = &str> {
        of(&self.index.routes, cluster)
    }

    pub(super) fn put_listener(&mut self, name: String, seen: ListenerSeen) {
        self.remove_listener(&name);
        seen.slot.iter().for_each(|slot| add(&mut self.index.slots, slot, &name));
        add(&mut self.index.listeners, &seen.list, &name);
        self.listeners.insert(name, seen);
    }

    pub(super) fn remove_listener(&mut self, name: &str) -> Option<ListenerSeen> {
        let seen = self.listeners.remove(name)?;
        seen.slot.iter().for_each(|slot| take(&mut self.index.slots, slot, name));
        take(&mut self.index.listeners, &seen.list, name);
        Some(seen)
    }

    pub(super) fn put_list(&mut self, name: String, rules: Vec<String>) {
        self.remove_list(&name);
        rules.iter().for_each(|rule| add(&mut self.index.lists, rule, &name));
        self.lists.insert(name, rules);
    }

    pub(super) fn remove_list(&mut self, name: &str) -> Option<Vec<String>> {
        let rules = self.lists.remove(name)?;
        rules.iter().for_each(|rule| take(&mut self.index.lists, rule, name));
        Some(rules)
    }

    /// Inserts a rule into a list. The position is within the list or its end.
    pub(super) fn link(&mut self, list: &str, position: usize, rule: &str) {
        add(&mut self.index.lists, &rule.to_owned(), list);
        let rules = self.lists.entry(list.to_owned()).or_default();
        rules.insert(position, rule.to_owned());
    }

    /// Takes the first rule of this name from a list.
    pub(super) fn unlink(&mut self, list: &str, rule: &String) {
        let Some(rules) = self.lists.get_mut(list) else { return };
        if let Some(at) = rules.iter().position(|one| one == rule) {
            rules.remove(at);
        }
        if !rules.contains(rule) {
            take(&mut self.index.lists, rule, list);
        }
    }

    pub(super) fn put_rule(&mut self, name: String, route: Option<String>) {
        self.remove_rule(&name);
        route.iter().for_each(|route| add(&mut self.index.rules, route, &name));
        self.rules.insert(name, route);
    }

    pub(super) fn remove_rule(&mut self, name: &str) {
        let route = self.rules.remove(name).flatten();
        route.iter().for_each(|route| take(&mut self.index.rules, route, name));
    }

    pub(super) fn put_route(&mut self, name: String, clusters: Vec<String>) {
        self.remove_route(&name);
        clusters.iter().for_each(|cluster| add(&mut self.index.routes, cluster, &name));
        self.routes.insert(name, clusters);
    }

    pub(super) fn remove_route(&mut self, name: &str) {
        let clusters = self.routes.remove(name).unwrap_or_default();
        clusters.iter().for_each(|cluster| take(&mut self.index.routes, cluster, name));
    }
}
