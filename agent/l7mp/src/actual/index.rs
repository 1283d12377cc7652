//! Who refers to what on a proxy ([`Index`]). [`Actual`] changes its objects only together with it.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use super::{Actual, ListenerSeen};
use crate::slot::Slot;

/// Names of objects by what they refer to.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Index {
    /// Listeners by slot.
    slots: BTreeMap<Slot, BTreeSet<String>>,
    /// Listeners by list.
    listeners: BTreeMap<String, BTreeSet<String>>,
    /// Lists by rule.
    lists: BTreeMap<String, BTreeSet<String>>,
    /// Rules by route.
    rules: BTreeMap<String, BTreeSet<String>>,
    /// Routes by cluster.
    routes: BTreeMap<String, BTreeSet<String>>,
}

fn add<K: Ord + Clone>(map: &mut BTreeMap<K, BTreeSet<String>>, key: &K, name: &str) {
    map.entry(key.clone()).or_default().insert(name.to_owned());
}

fn take<K: Ord>(map: &mut BTreeMap<K, BTreeSet<String>>, key: &K, name: &str) {
    if let Some(names) = map.get_mut(key) {
        names.remove(name);
        if names.is_empty() {
            map.remove(key);
        }
    }
}

fn of<'a, K: Ord>(map: &'a BTreeMap<K, BTreeSet<String>>, key: &K) -> impl Iterator<Item = &'a str> {
    map.get(key).into_iter().flatten().map(String::as_str)
}

// === impl Index ===

impl Index {
    /// Returns the listeners with this slot.
    pub(super) fn at(&self, slot: &Slot) -> impl Iterator<Item = &str> {
        of(&self.slots, slot)
    }

    /// Returns the lists by rule, of the rules whose names start with a text.
    pub(super) fn listed<'a>(
        &'a self,
        start: &'a str,
    ) -> impl Iterator<Item = (&'a String, &'a BTreeSet<String>)> {
        let from = (Bound::Included(start), Bound::Unbounded);
        self.lists.range::<str, _>(from).take_while(move |(rule, _)| rule.starts_with(start))
    }
}

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
