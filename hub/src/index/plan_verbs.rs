//! The verbs of custom resources that become Plans, and how a Plan takes the place of its predecessor.

use std::collections::BTreeSet;

use kube::core::ObjectMeta;
use portreeve_api::PlanType;
use portreeve_api::a::virtual_service::VirtualService;
use portreeve_api::pod::Pod;
use portreeve_xds::Resource;
use prost::Message;

use super::matches::Name;
use super::node_sets::Encoded;
use super::probes::{self, Checks};
use super::selections::Role;
use super::{Index, Key};
use crate::resolve::{self, Rejection, Resolved, Selection};

/// The accepted version of an object.
pub(super) struct PlanEntry {
    /// Its Plan and the names of the groups that go with it.
    pub(super) encoded: Encoded,
    /// The selection of the proxies that it is for.
    pub(super) workload: Name,
    /// The object's latest generation that means this Plan.
    pub(super) generation: i64,
    /// Which object it was: another one of the same name is no later version of it.
    uid: String,
    /// What it wants checked.
    checks: Checks,
}

// === impl Index ===

impl Index {
    /// A VirtualService of API A was created or changed. One that is not accepted leaves the last accepted
    /// version in force; the verdict says so.
    pub fn apply_virtual_service(&mut self, object: &VirtualService) {
        let outcome = resolve::a::resolve(object, self.scope);
        self.settle(&object.metadata, outcome);
    }

    /// An object that could not even be read.
    pub fn reject(&mut self, meta: &ObjectMeta, rejection: Rejection) {
        self.settle(meta, Err(rejection));
    }

    /// A VirtualService is gone.
    pub fn delete_virtual_service(&mut self, key: &Key) {
        self.verdicts.remove(key);
        self.stirred.insert(key.clone());
        self.withdraw_plan(key);
        self.orphans.set(PlanType::Plan, resolve::a::plan_of(key), false);
    }

    /// The complete list of VirtualServices (readable or not) in a namespace, or (`None`) in all: every other one there is
    /// gone.
    pub fn keep_virtual_services(&mut self, namespace: Option<&Name>, listed: &BTreeSet<Key>) {
        let there = |key: &Key| namespace.is_none_or(|namespace| key.0 == *namespace);
        let gone = self.verdicts.keys().filter(|key| there(key) && !listed.contains(*key));
        let gone: Vec<Key> = gone.cloned().collect();
        for key in gone {
            self.delete_virtual_service(&key);
        }
    }

    fn settle(&mut self, meta: &ObjectMeta, outcome: Result<Resolved, Rejection>) {
        let namespace = meta.namespace.as_deref().unwrap_or("default");
        let key = (Name::from(namespace), Name::from(meta.name.as_deref().unwrap_or_default()));
        let uid = meta.uid.as_deref().unwrap_or_default();
        if self.plans.get(&key).is_some_and(|old| old.uid != uid) && outcome.is_err() {
            self.withdraw_plan(&key);
        }
        match outcome {
            Ok(resolved) => {
                self.verdicts.accept(&key, meta, &resolved);
                self.put_plan(key.clone(), resolved, uid);
                if let Some(entry) = self.plans.get_mut(&key) {
                    entry.generation = meta.generation.unwrap_or(0);
                }
            }
            Err(rejection) => self.verdicts.reject(&key, meta, rejection, self.plans.contains_key(&key)),
        }
        self.orphans.set(PlanType::Plan, resolve::a::plan_of(&key), !self.plans.contains_key(&key));
    }

    fn put_plan(&mut self, key: Key, resolved: Resolved, uid: &str) {
        let name = resolve::a::plan_of(&key);
        let resource = Resource::new(PlanType::Plan, name, &resolved.plan.encode_to_vec());
        if self.plans.get(&key).is_some_and(|old| old.encoded.resource == resource) {
            return;
        }
        let old = self.plans.remove(&key);
        for group in &resolved.groups {
            self.hold(group, &key, Role::Endpoints);
            self.open_group(&group.name);
        }
        self.hold(&resolved.workload, &key, Role::Workload);
        let groups: BTreeSet<Name> = resolved.groups.iter().map(|g| g.name.clone()).collect();
        let encoded = Encoded { resource, groups };
        let workload = resolved.workload.name.clone();
        let checks = probes::checks_of(&resolved.plan);
        let entry = PlanEntry { encoded, workload, generation: 0, uid: uid.to_owned(), checks };
        self.spread(&entry, old.as_ref());
        let before = old.as_ref().map(|old| old.checks.clone()).unwrap_or_default();
        let touched = self.probes.set_plan(&key, &before, &entry.checks);
        self.refresh_groups(touched);
        if let Some(old) = old {
            self.release_old(&key, &old, &entry);
        }
        self.stirred.insert(key.clone());
        self.plans.insert(key, entry);
    }

    /// Brings a Plan to its nodes, and takes its old version from those that are not its nodes any more.
    fn spread(&mut self, entry: &PlanEntry, old: Option<&PlanEntry>) {
        let before: BTreeSet<Name> = match old {
            Some(old) => self.selections.nodes_of(&old.workload).into_iter().collect(),
            None => BTreeSet::new(),
        };
        let now: BTreeSet<Name> = self.selections.nodes_of(&entry.workload).into_iter().collect();
        for node in &now {
            let had = old.filter(|_| before.contains(node)).map(|o| &o.encoded);
            self.nodes.put_plan(node, &entry.encoded, had, &self.groups);
        }
        for (node, old) in before.difference(&now).zip(std::iter::repeat(old)) {
            if let Some(old) = old {
                self.nodes.drop_plan(node, &old.encoded, &self.groups);
            }
        }
    }

    fn release_old(&mut self, key: &Key, old: &PlanEntry, new: &PlanEntry) {
        if old.workload != new.workload {
            self.selections.let_go(&old.workload, key, Role::Workload);
        }
        for group in old.encoded.groups.difference(&new.encoded.groups) {
            self.let_go_of_group(group, key);
        }
    }

    fn withdraw_plan(&mut self, key: &Key) {
        let Some(entry) = self.plans.remove(key) else { return };
        let touched = self.probes.set_plan(key, &entry.checks, &Checks::new());
        self.refresh_groups(touched);
        for node in self.selections.nodes_of(&entry.workload) {
            self.nodes.drop_plan(&node, &entry.encoded, &self.groups);
        }
        self.selections.let_go(&entry.workload, key, Role::Workload);
        for group in &entry.encoded.groups {
            self.let_go_of_group(group, key);
        }
    }

    fn hold(&mut self, selection: &Selection, key: &Key, role: Role) {
        if self.selections.hold(selection, key, role) {
            return;
        }
        let name = &selection.name;
        for uid in self.selections.pods_of(name) {
            let node = self.pods.get(&uid).and_then(|p| p.node.clone());
            self.selections.join(name, node.as_ref());
        }
        for proxy in self.selections.proxies_of(name) {
            if self.proxies.allows(&proxy, selection.namespace.as_ref()) {
                for node in self.proxies.nodes_of(&proxy) {
                    self.selections.join(name, Some(&node));
                }
            }
        }
    }

    fn let_go_of_group(&mut self, name: &Name, key: &Key) {
        if self.selections.let_go(name, key, Role::Endpoints) {
            self.groups.close(name);
        }
    }

    fn open_group(&mut self, name: &Name) {
        let pods = self.selections.pods_of(name);
        let endpoints = pods.iter().filter_map(|uid| self.pods.get(uid).and_then(Pod::endpoint));
        self.groups.open(name, endpoints);
    }
}
