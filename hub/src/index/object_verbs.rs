//! The verbs of custom resources of any kind: each goes to the verbs of what the object is for.

use std::collections::BTreeSet;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use portreeve_api::kind::{Kind, Purpose};
use portreeve_api::refs::ObjectRef;
use portreeve_api::violation::Violation;

use super::{Index, Name};
use crate::object::{Object, Rejection, Role};

// === impl Index ===

impl Index {
    /// An object was created or changed.
    pub fn apply_object(&mut self, object: &dyn Object, now_ms: i64) {
        let wrong = object.violations();
        self.tell_of(object, wrong.is_empty());
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

    /// An object can't be read.
    pub fn reject_object(&mut self, kind: &'static Kind, meta: &ObjectMeta, rejection: Rejection) {
        match kind.purpose {
            Purpose::Proxy => self.reject_proxy(meta, rejection),
            Purpose::Listeners => self.reject(kind, meta, rejection),
            Purpose::Part => self.reject_part(&ObjectRef::of(kind, meta), meta, rejection),
        }
        self.tell_of_unreadable(&ObjectRef::of(kind, meta));
    }

    /// An object is gone.
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

    /// The complete list of a kind, readable objects or not, in a namespace, or (`None`) in all. Every other object of the kind
    /// there is gone; returns those.
    pub fn keep_objects(
        &mut self,
        kind: &'static Kind,
        namespace: Option<&Name>,
        listed: &BTreeSet<ObjectRef>,
        now_ms: i64,
    ) -> Vec<ObjectRef> {
        let there = |key: &ObjectRef| namespace.is_none_or(|namespace| key.namespace == *namespace);
        let gone = self.verdicts.of_kind(kind).filter(|key| there(key) && !listed.contains(*key));
        let gone: Vec<ObjectRef> = gone.cloned().collect();
        gone.iter().for_each(|key| self.delete_object(key, now_ms));
        gone
    }

    /// The verdict on an object that others look up.
    fn judge_part(&mut self, object: &dyn Object, wrong: &[Violation]) {
        match wrong {
            [] => self.verdicts.accept_plain(&object.reference(), object.meta()),
            wrong => self.reject_part(&object.reference(), object.meta(), Rejection::of_violations(wrong)),
        }
    }

    fn reject_part(&mut self, reference: &ObjectRef, meta: &ObjectMeta, rejection: Rejection) {
        self.verdicts.reject(reference, meta, rejection, self.answers.has(reference));
    }
}
