//! The verbs of custom resources of any kind. Each calls the verbs of the kind's purpose.

use std::collections::BTreeSet;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use portreeve_api::conditions::Reason;
use portreeve_api::kind::{Kind, Purpose};
use portreeve_api::refs::ObjectRef;
use portreeve_api::violation::Violation;

use super::{Index, Name};
use crate::object::{Object, Rejection, Role};

// === impl Index ===

impl Index {
    /// Adds or changes an object.
    pub fn apply_object(&mut self, object: &dyn Object, now_ms: i64) {
        let found_by = object.found_by();
        // A resolver checks the rules itself.
        let wrong = match object.kind().purpose {
            Purpose::Listeners if found_by.is_none() => Vec::new(),
            _ => object.violations(),
        };
        if let Some(found_by) = found_by {
            self.tell_of(object, found_by, wrong.is_empty());
        }
        match object.role() {
            Role::Root(root) => self.apply(root),
            Role::Proxy(proxy) => match wrong.as_slice() {
                [] => self.apply_proxy(proxy, now_ms),
                wrong => self.reject_proxy(object.meta(), Rejection::of_violations(wrong)),
            },
            Role::Part => self.judge_part(object, &wrong),
            Role::Endpoint(owners, endpoint) => {
                if wrong.is_empty() {
                    self.set_member(&object.reference(), owners, Some(endpoint));
                }
                self.judge_part(object, &wrong);
            }
        }
    }

    /// Handles an object that can't be read.
    pub fn reject_object(&mut self, kind: &'static Kind, meta: &ObjectMeta, rejection: Rejection) {
        match kind.purpose {
            Purpose::Proxy => self.reject_proxy(meta, rejection),
            Purpose::Listeners => self.reject(kind, meta, rejection),
            Purpose::Part => self.reject_part(&ObjectRef::of(kind, meta), meta, rejection),
        }
        self.tell_of_unreadable(&ObjectRef::of(kind, meta));
    }

    /// Removes an object.
    pub fn delete_object(&mut self, object: &ObjectRef, now_ms: i64) {
        match object.kind.purpose {
            Purpose::Proxy => self.delete_proxy(&object.name, now_ms),
            Purpose::Listeners => self.delete(object),
            Purpose::Part => {
                self.verdicts.remove(object);
                self.set_member(object, Vec::new(), None);
            }
        }
        self.tell_of_deleted(object);
    }

    /// Takes the complete list of a kind, readable or not, in a namespace (`None`: in all namespaces). Every other known
    /// object of the kind is removed. Returns the removed objects.
    pub fn keep_objects(
        &mut self,
        kind: &'static Kind,
        namespace: Option<&Name>,
        listed: &BTreeSet<ObjectRef>,
        now_ms: i64,
    ) -> Vec<ObjectRef> {
        let known = self.verdicts.of_kind(kind, namespace);
        let gone = known.filter(|key| !listed.contains(*key));
        let gone: Vec<ObjectRef> = gone.cloned().collect();
        gone.iter().for_each(|key| self.delete_object(key, now_ms));
        gone
    }

    /// Records the verdict on an object that other objects look up.
    fn judge_part(&mut self, object: &dyn Object, wrong: &[Violation]) {
        match wrong {
            [] => {
                let strange = object.unknown_fields().into_iter().map(|text| (Reason::UnknownField, text));
                let key = object.reference();
                self.verdicts.accept_part(&key, object.meta(), strange.collect());
                self.verdicts.set_missing_of_part(&key, self.answers.unallocated(&key));
            }
            wrong => self.reject_part(&object.reference(), object.meta(), Rejection::of_violations(wrong)),
        }
    }

    fn reject_part(&mut self, reference: &ObjectRef, meta: &ObjectMeta, rejection: Rejection) {
        self.verdicts.reject(reference, meta, rejection, self.answers.has(reference));
    }
}
