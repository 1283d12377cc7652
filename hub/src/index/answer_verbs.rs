//! The verbs of what objects ask for, and how those who asked are resolved again.

use std::collections::BTreeSet;
use std::sync::Arc;

use k8s_openapi::api::core::v1::ServiceSpec;
use portreeve_api::refs::ObjectRef;

use super::Index;
use super::matches::Name;
use crate::lookup::{Fact, Question, SecretFacts};
use crate::object::{Object, Role};

// === impl Index ===

impl Index {
    /// A Service, given by namespace and name, has this form; `None`: it is gone.
    pub fn set_service(&mut self, at: (Name, Name), service: Option<Arc<ServiceSpec>>) {
        let changed = self.answers.set_service(at, service);
        self.wake(changed, None);
    }

    /// A Secret, given by namespace and name, was looked for: it has these keys, or (`None`) is not there.
    pub fn set_secret(&mut self, at: (Name, Name), facts: Option<SecretFacts>) {
        let changed = self.answers.set_secret(at, facts);
        self.wake(changed, None);
    }

    /// The Secrets, by namespace and name, that objects ask for: no other need be read.
    pub fn wanted_secrets(&self) -> BTreeSet<(Name, Name)> {
        self.askers.secrets()
    }

    /// How often an object was resolved since the start, for the tests of cost.
    pub fn resolutions(&self) -> u64 {
        self.resolutions
    }

    /// Takes in what an object tells others, and resolves those again who asked for it.
    pub(super) fn tell_of(&mut self, object: &dyn Object, acceptable: bool) {
        let Some(found_by) = object.found_by() else { return };
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

    /// An object can't be read: who asked for it is told the last version that could.
    pub(super) fn tell_of_unreadable(&mut self, reference: &ObjectRef) {
        let changed = self.answers.reject(reference);
        self.wake(changed, Some(reference));
    }

    /// An object is gone.
    pub(super) fn tell_of_deleted(&mut self, reference: &ObjectRef) {
        let changed = self.answers.remove(reference);
        self.wake(changed, Some(reference));
    }

    /// Keeps who asked what. A Secret that nobody asks for any more is forgotten.
    pub(super) fn note_questions(&mut self, asker: &ObjectRef, asked: BTreeSet<Question>) {
        for question in self.askers.set(asker, asked) {
            if let Question::Secret(namespace, name) = question {
                self.answers.forget_secret(&(namespace, name));
            }
        }
    }

    /// An object has no version that could be resolved again.
    pub(super) fn forget_questions(&mut self, asker: &ObjectRef) {
        self.asking.remove(asker);
        self.note_questions(asker, BTreeSet::new());
    }

    /// Resolves those again who asked one of these questions, but for the object whose own change it is.
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
