//! The index's methods for facts that objects look up, such as Services and Secrets. A changed fact resolves the objects
//! that depend on it again.

use std::collections::BTreeSet;
use std::sync::Arc;

use k8s_openapi::api::core::v1::ServiceSpec;
use portreeve_api::refs::ObjectRef;

use super::Index;
use super::matches::Name;
use crate::lookup::{Fact, FoundBy, Lookup, Question, SecretFacts, WantedSecrets};
use crate::object::{Object, Role};

// === impl Index ===

impl Index {
    /// Sets the spec of a Service, given by namespace and name. `None` means that the Service is gone.
    pub fn set_service(&mut self, at: (Name, Name), service: Option<Arc<ServiceSpec>>) {
        let changed = self.answers.set_service(at, service);
        self.wake(changed, None);
    }

    /// Sets what was found in a Secret, given by namespace and name. `None` means that the Secret does not exist. A Secret
    /// that no object asks for is ignored, and of its content only the wanted keys are kept.
    pub fn set_secret(&mut self, at: (Name, Name), facts: Option<SecretFacts>) {
        let Some(wanted) = self.askers.wanted_secrets().get(&at) else { return };
        let facts = facts.map(|mut facts| {
            facts.keep_contents(&wanted.keys);
            facts
        });
        let changed = self.answers.set_secret(at, facts);
        self.wake(changed, None);
    }

    /// Records why a Secret can't be read at present. Objects that ask for it keep their last version, and their condition
    /// says why.
    pub fn set_secret_unreadable(&mut self, at: (Name, Name), why: String) {
        if self.askers.wanted_secrets().contains_key(&at) {
            let changed = self.answers.set_secret_unreadable(at, why);
            self.wake(changed, None);
        }
    }

    /// Sets why an object didn't get the ids and addresses that it lacks. `None`: nothing is known to be wrong.
    pub fn set_unallocated(&mut self, object: &ObjectRef, why: Option<String>) {
        self.verdicts.set_missing_of_part(object, why.as_deref());
        let changed = self.answers.set_unallocated(object, why);
        self.wake(changed, None);
    }

    /// Answers questions that are asked on behalf of no object.
    pub fn look<R>(&self, ask: impl FnOnce(&mut Lookup<'_>) -> R) -> R {
        ask(&mut Lookup::new(&self.answers, &self.settings))
    }

    /// The Secrets that objects ask for, and the keys whose content they ask for. The hub reads no others.
    pub fn wanted_secrets(&self) -> &WantedSecrets {
        self.askers.wanted_secrets()
    }

    /// Returns the wanted Secrets if they changed since the last call.
    pub fn take_wanted_secrets(&mut self) -> Option<WantedSecrets> {
        std::mem::take(&mut self.wanted_changed).then(|| self.askers.wanted_secrets().clone())
    }

    /// The number of resolutions since the start, for the tests of cost.
    pub fn resolutions(&self) -> u64 {
        self.resolutions
    }

    /// Counts the proxies that a selection matches, if an object asked. Whoever asked is resolved again by
    /// [`Self::wake_counted`], when the present change is complete.
    pub(super) fn count(&mut self, selection: &Name) {
        if self.askers.asks(&Question::Several(selection.clone())) {
            let namespace = self.selections.namespace_of(selection);
            let proxies = self.selections.proxies_of(selection).into_iter();
            let l7mps =
                proxies.filter(|proxy| self.is_l7mp(proxy) && self.proxies.allows(proxy, namespace.as_ref()));
            let on_nodes: usize = l7mps.map(|proxy| self.proxies.nodes_of(&proxy).len()).sum();
            let several = self.selections.some(selection, |pod| pod.has_l7mp) + on_nodes > 1;
            self.counted.extend(self.answers.set_several(selection, several));
        }
    }

    /// Counts the proxies of these selections again, and resolves whoever asked for a number that has changed.
    pub(super) fn recount(&mut self, selections: impl IntoIterator<Item = Name>) {
        selections.into_iter().for_each(|selection| self.count(&selection));
        self.wake_counted();
    }

    /// Resolves the objects again that asked for a number of proxies which has changed.
    pub(super) fn wake_counted(&mut self) {
        let changed = std::mem::take(&mut self.counted);
        self.wake(changed, None);
    }

    /// Records the answers that an object gives to other objects, and resolves the dependent objects again.
    pub(super) fn tell_of(&mut self, object: &dyn Object, found_by: Vec<FoundBy>, acceptable: bool) {
        let reference = object.reference();
        let changed = match acceptable {
            true => {
                let fact = Fact { object: object.shared(), essence: object.essence(), found_by };
                self.answers.put(&reference, fact)
            }
            false => self.answers.reject(&reference),
        };
        self.wake(changed, Some(&reference));
    }

    /// Handles an unreadable object: dependent objects keep using its last readable version.
    pub(super) fn tell_of_unreadable(&mut self, reference: &ObjectRef) {
        let changed = self.answers.reject(reference);
        self.wake(changed, Some(reference));
    }

    /// Handles a deleted object.
    pub(super) fn tell_of_deleted(&mut self, reference: &ObjectRef) {
        self.answers.set_unallocated(reference, None);
        let changed = self.answers.remove(reference);
        self.wake(changed, Some(reference));
    }

    /// Records the questions that an object asked. What is known of Secrets that no object asks for any more is forgotten.
    pub(super) fn note_questions(&mut self, asker: &ObjectRef, asked: BTreeSet<Question>) {
        for at in self.askers.set(asker, asked) {
            self.wanted_changed = true;
            self.answers.keep_secret(&at, self.askers.wanted_secrets().get(&at).map(|wanted| &wanted.keys));
        }
    }

    /// Forgets the questions of an object that has no version to resolve again.
    pub(super) fn forget_questions(&mut self, asker: &ObjectRef) {
        self.asking.remove(asker);
        self.note_questions(asker, BTreeSet::new());
    }

    /// Resolves every object that asked one of these questions, except `but`, whose own change is being handled.
    pub(super) fn wake(&mut self, changed: impl IntoIterator<Item = Question>, but: Option<&ObjectRef>) {
        let changed: Vec<Question> = changed.into_iter().collect();
        for asker in self.askers.of(&changed) {
            self.nodes.heart().beat();
            let object = (Some(&asker) != but).then(|| self.asking.remove(&asker)).flatten();
            if let Some(Role::Root(root)) = object.as_deref().map(Object::role) {
                self.apply(root);
            }
        }
    }
}
