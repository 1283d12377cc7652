//! The part of a proxy's objects that a few resources may concern ([`Actual::part`]). A plan for them needs nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use super::Actual;
use crate::names::{self, Key, Kind, PREFIX};
use crate::slot::Slot;

/// Returns the entries whose keys start with a text.
fn within<'a, V>(map: &'a BTreeMap<String, V>, start: &'a str) -> impl Iterator<Item = (&'a String, &'a V)> {
    map.range::<str, _>((Bound::Included(start), Bound::Unbounded))
        .take_while(move |(name, _)| name.starts_with(start))
}

/// Returns the start of the names of a cluster's or listener's objects.
fn objects(resource: &str) -> String {
    format!("{PREFIX}{resource}@")
}

/// Returns the start of the names of a resource's rules and routes. Those of another resource may have it too.
fn rules(resource: &str) -> String {
    format!("{PREFIX}{resource}/")
}

/// Returns a resource's rules or routes.
fn rules_of<'a, V>(
    map: &'a BTreeMap<String, V>,
    start: &'a str,
    resource: &'a str,
) -> impl Iterator<Item = (&'a String, &'a V)> {
    within(map, start)
        .filter(move |(name, _)| names::rule_resource(name).is_some_and(|(of, _)| of == resource))
}

// === impl Actual ===

impl Actual {
    /// Returns the part that concerns resources, listeners with these slots, and clusters with these names. Of the lists of
    /// the proxy's own configuration it has only the rules of the resources.
    pub(crate) fn part(&self, keys: &BTreeSet<Key>, slots: &[&Slot], clusters: &[&String]) -> Self {
        let mut part = Self::default();
        for key in keys {
            match key.kind {
                Kind::Cluster => {
                    let start = objects(&key.name);
                    within(&self.clusters, &start).for_each(|(name, _)| self.copy_cluster(name, &mut part));
                }
                Kind::Endpoints => {}
                Kind::Rule => self.copy_rules(&key.name, &mut part),
                Kind::Listener => self.copy_listeners(&key.name, &mut part),
            }
        }
        for name in slots.iter().flat_map(|slot| self.at(slot)).filter(|name| names::is_own(name)) {
            if let Some(resource) = names::resource(name) {
                self.copy_listeners(resource, &mut part);
            }
        }
        let behind: BTreeSet<String> = part.routes.values().flatten().cloned().collect();
        behind.iter().chain(clusters.iter().copied()).for_each(|name| self.copy_cluster(name, &mut part));
        part.reindex();
        part
    }

    /// Whether there is anything of a resource, in any version.
    pub(crate) fn has(&self, key: &Key) -> bool {
        match key.kind {
            Kind::Cluster | Kind::Endpoints => within(&self.clusters, &objects(&key.name)).next().is_some(),
            Kind::Listener => {
                let objects = objects(&key.name);
                let listeners = within(&self.listeners, &objects).next().is_some();
                listeners || within(&self.lists, &objects).next().is_some() || self.has_rules(&key.name)
            }
            Kind::Rule => self.has_rules(&key.name),
        }
    }

    /// Whether there is a rule or route of a resource.
    fn has_rules(&self, resource: &str) -> bool {
        let start = rules(resource);
        let rules = rules_of(&self.rules, &start, resource).next().is_some();
        rules || rules_of(&self.routes, &start, resource).next().is_some()
    }

    /// Returns the keys of all resources of which there is anything.
    pub(crate) fn keys(&self) -> BTreeSet<Key> {
        let of = |kind: Kind, name: &String| Some(Key::new(kind, names::resource(name)?));
        let clusters = self.clusters.keys().filter_map(|name| of(Kind::Cluster, name));
        let listeners = self.listeners.keys().filter_map(|name| of(Kind::Listener, name));
        let lists = self.lists.keys().filter_map(|name| of(Kind::Listener, name));
        // Rules of a listener and of a rule resource look alike.
        let rules = self.rules.keys().chain(self.routes.keys());
        let rules = rules.filter_map(|name| Some(Key::new(Kind::Rule, names::rule_resource(name)?.0)));
        clusters.chain(listeners).chain(lists).chain(rules).collect()
    }

    fn copy_cluster(&self, name: &String, part: &mut Self) {
        if let Some(endpoints) = self.clusters.get(name) {
            part.clusters.insert(name.clone(), endpoints.clone());
        }
    }

    /// Copies a list of the driver's with its listeners. Of other lists only the existence: they may be long.
    fn copy_list(&self, name: &String, part: &mut Self) {
        let Some(rules) = self.lists.get(name) else { return };
        if !names::is_own(name) {
            part.lists.entry(name.clone()).or_default();
            return;
        }
        part.lists.insert(name.clone(), rules.clone());
        for listener in self.listeners_of(name) {
            if let Some(seen) = self.listeners.get(listener) {
                part.listeners.insert(listener.to_owned(), seen.clone());
            }
        }
    }

    fn copy_listeners(&self, resource: &str, part: &mut Self) {
        let start = objects(resource);
        for (name, seen) in within(&self.listeners, &start) {
            part.listeners.insert(name.clone(), seen.clone());
            self.copy_list(&seen.list, part);
        }
        within(&self.lists, &start).for_each(|(name, _)| self.copy_list(name, part));
        self.copy_rules(resource, part);
    }

    /// Copies a resource's rules and routes, and the lists that they are in.
    fn copy_rules(&self, resource: &str, part: &mut Self) {
        let start = rules(resource);
        for (name, route) in rules_of(&self.rules, &start, resource) {
            part.rules.insert(name.clone(), route.clone());
        }
        for (name, clusters) in rules_of(&self.routes, &start, resource) {
            part.routes.insert(name.clone(), clusters.clone());
        }
        for (list, rule) in self.linked(resource) {
            self.copy_list(&list, part);
            let copy = part.lists.entry(list).or_default();
            if !copy.contains(&rule) {
                copy.push(rule);
            }
        }
    }

    /// Returns the lists that a resource's rules are in, and the rules. A list may name a rule that is gone.
    pub(crate) fn linked(&self, resource: &str) -> Vec<(String, String)> {
        let start = rules(resource);
        let listed = self.index.listed(&start);
        let own = listed.filter(|(rule, _)| names::rule_resource(rule).is_some_and(|(of, _)| of == resource));
        own.flat_map(|(rule, lists)| lists.iter().map(|list| (list.clone(), rule.clone()))).collect()
    }
}
