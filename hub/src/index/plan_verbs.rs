//! The verbs of custom resources that become Plans, and the replacement of a Plan by its new version.

use std::collections::BTreeSet;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use portreeve_api::conditions::Reason;
use portreeve_api::kind::Kind;
use portreeve_api::refs::{ObjectRef, PlanName};
use portreeve_api::{PlanType, plan};
use portreeve_xds::Resource;
use prost::Message;

use super::Index;
use super::classes::Encoded;
use super::matches::Name;
use super::plan_entry::PlanEntry;
use super::probes::{self, Checks};
use super::secrets;
use super::selections::Role;
use crate::lookup::{Lookup, Question};
use crate::object::{Rejection, Resolved, Root};
use crate::selection::Selection;

// === impl Index ===

impl Index {
    /// Adds or changes an object that opens listeners. If it is rejected, the last accepted version stays in force and the
    /// verdict says so.
    pub fn apply(&mut self, root: &dyn Root) {
        let reference = root.reference();
        self.resolutions += 1;
        let mut lookup = Lookup::new(&self.answers, &self.settings);
        let outcome = root.resolve(&mut lookup);
        let record = lookup.record();
        // Only objects that asked a question are ever resolved again.
        match record.asked.is_empty() {
            true => self.asking.remove(&reference),
            false => self.asking.insert(reference.clone(), root.boxed()),
        };
        let counted: Vec<Name> = record.asked.iter().filter_map(Question::counted).cloned().collect();
        self.note_questions(&reference, record.asked);
        let outcome = match record.unknown {
            Some(message) => Err(Rejection { reason: Reason::RefNotFound, message }),
            None => outcome,
        };
        self.settle(&reference, root.meta(), outcome);
        counted.iter().for_each(|selection| self.count(selection));
        self.wake_counted();
    }

    /// Handles an object that should open listeners but can't be read.
    pub fn reject(&mut self, kind: &'static Kind, meta: &ObjectMeta, rejection: Rejection) {
        let reference = ObjectRef::of(kind, meta);
        // The version in force is not resolved again: it would be mistaken for the newest.
        self.forget_questions(&reference);
        self.settle(&reference, meta, Err(rejection));
    }

    /// Removes an object that opens listeners.
    pub fn delete(&mut self, key: &ObjectRef) {
        self.verdicts.remove(key);
        self.forget_questions(key);
        self.affected.insert(key.clone());
        self.withdraw_plan(key);
        self.orphans.set(PlanType::Plan, plan_name(key), false);
    }

    fn settle(&mut self, key: &ObjectRef, meta: &ObjectMeta, outcome: Result<Resolved, Rejection>) {
        let uid = meta.uid.as_deref().unwrap_or_default();
        if self.plans.get(key).is_some_and(|old| old.uid != uid) && outcome.is_err() {
            self.withdraw_plan(key);
        }
        match outcome {
            Ok(resolved) if !resolved.missing.is_empty() => {
                self.verdicts.accept(key, meta, &resolved);
                self.withdraw_plan(key);
                self.orphans.set(PlanType::Plan, plan_name(key), false);
                self.affected.insert(key.clone());
                return;
            }
            Ok(resolved) => {
                self.verdicts.accept(key, meta, &resolved);
                let told = resolved.told.clone();
                self.put_plan(key.clone(), resolved, uid);
                if let Some(entry) = self.plans.get_mut(key) {
                    entry.generation = meta.generation.unwrap_or(0);
                    if std::mem::replace(&mut entry.told, told) != entry.told {
                        self.affected.insert(key.clone());
                    }
                }
            }
            Err(rejection) => self.verdicts.reject(key, meta, rejection, self.plans.contains_key(key)),
        }
        self.orphans.set(PlanType::Plan, plan_name(key), !self.plans.contains_key(key));
    }

    fn put_plan(&mut self, key: ObjectRef, resolved: Resolved, uid: &str) {
        let name = plan_name(&key);
        let resource = Resource::new(PlanType::Plan, name, &plan::Plan::from(&resolved.plan).encode_to_vec());
        let secrets: BTreeSet<Name> = resolved.plan.secrets().cloned().collect();
        if self.plans.get(&key).is_some_and(|old| old.encoded.resource == resource) {
            self.set_secrets(&secrets);
            return;
        }
        let old = self.plans.remove(&key);
        self.nodes.hold_secrets(&secrets);
        self.set_secrets(&secrets);
        for group in &resolved.groups {
            self.hold(group, &key, Role::Endpoints);
            self.open_group(&group.name());
        }
        self.hold(&resolved.workload, &key, Role::Workload);
        let groups: BTreeSet<Name> = resolved.groups.iter().map(Selection::name).collect();
        let encoded = Arc::new(Encoded { resource, groups, secrets });
        let workload = resolved.workload.name();
        let checks = probes::checks_of(&resolved.plan);
        let told = Vec::new();
        let entry = PlanEntry { encoded, workload, generation: 0, uid: uid.to_owned(), checks, told };
        self.spread(&entry, old.as_ref());
        let before = old.as_ref().map(|old| old.checks.clone()).unwrap_or_default();
        let touched = self.probes.set_plan(&key, &before, &entry.checks);
        self.refresh_groups(touched);
        if let Some(old) = old {
            self.release_old(&key, &old, &entry);
        }
        self.affected.insert(key.clone());
        self.replanned.insert(key.clone());
        self.plans.insert(key, entry);
    }

    /// Sends a Plan to its nodes, and removes its old version from nodes that it no longer applies to.
    fn spread(&mut self, entry: &PlanEntry, old: Option<&PlanEntry>) {
        let nodes = |entry: &PlanEntry| self.selections.nodes_of(&entry.workload).into_iter().collect();
        let before: BTreeSet<Name> = old.map(nodes).unwrap_or_default();
        let now: BTreeSet<Name> = nodes(entry);
        if let Some(old) = old {
            let left: Vec<&Name> = before.difference(&now).collect();
            self.nodes.drop_plans(&left, std::slice::from_ref(&old.encoded), &self.groups);
            self.nodes.renew_plan(&entry.encoded, &old.encoded, &self.groups);
        }
        let new: Vec<&Name> = now.difference(&before).collect();
        self.nodes.put_plans(&new, std::slice::from_ref(&entry.encoded), &self.groups);
    }

    /// Updates the content of these Secret resources. A Secret that changed changes no Plan: only the resource is sent.
    fn set_secrets(&mut self, names: &BTreeSet<Name>) {
        for resource in names.iter().filter_map(|name| secrets::encode(name, &self.answers)) {
            self.nodes.set_secret(resource);
        }
    }

    fn release_old(&mut self, key: &ObjectRef, old: &PlanEntry, new: &PlanEntry) {
        if old.workload != new.workload {
            self.selections.let_go(&old.workload, key, Role::Workload);
        }
        for group in old.encoded.groups.difference(&new.encoded.groups) {
            self.let_go_of_group(group, key);
        }
        self.nodes.let_go_of_secrets(&old.encoded.secrets);
    }

    fn withdraw_plan(&mut self, key: &ObjectRef) {
        let Some(entry) = self.plans.remove(key) else { return };
        self.replanned.insert(key.clone());
        let touched = self.probes.set_plan(key, &entry.checks, &Checks::new());
        self.refresh_groups(touched);
        let nodes = self.selections.nodes_of(&entry.workload);
        let nodes: Vec<&Name> = nodes.iter().collect();
        self.nodes.drop_plans(&nodes, std::slice::from_ref(&entry.encoded), &self.groups);
        self.selections.let_go(&entry.workload, key, Role::Workload);
        for group in &entry.encoded.groups {
            self.let_go_of_group(group, key);
        }
        self.nodes.let_go_of_secrets(&entry.encoded.secrets);
    }

    fn hold(&mut self, selection: &Selection, key: &ObjectRef, role: Role) {
        if self.selections.hold(selection, key, role) {
            return;
        }
        let name = &selection.name();
        for uid in self.selections.pods_of(name) {
            let node = self.selections.pod(&uid).and_then(|pod| pod.node.clone());
            self.selections.join(name, node.as_ref());
        }
        for proxy in self.selections.proxies_of(name) {
            if self.proxies.allows(&proxy, selection.namespace()) {
                for node in self.proxies.nodes_of(&proxy) {
                    self.selections.join(name, Some(&node));
                }
            }
        }
    }

    fn let_go_of_group(&mut self, name: &Name, key: &ObjectRef) {
        if self.selections.let_go(name, key, Role::Endpoints) {
            self.groups.close(name);
        }
    }

    fn open_group(&mut self, name: &Name) {
        let pods = self.selections.pods_of(name);
        let member = |uid: Name| {
            let member = self.selections.member_of(name, &uid)?;
            Some((uid, member))
        };
        let pods = pods.into_iter().filter_map(member);
        let listed = self.selections.listed().of(name).map(|one| (one.uid.as_str().into(), one.clone()));
        self.groups.open(name, pods.chain(listed), self.selections.cluster_of(name).is_some());
    }
}

/// Returns the name of an object's Plan.
fn plan_name(key: &ObjectRef) -> Name {
    PlanName::from(key).as_name().clone()
}
