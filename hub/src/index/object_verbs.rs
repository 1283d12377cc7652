//! The verbs of custom resources of any kind: each goes to the verbs of what the object is for.

use std::collections::BTreeSet;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use portreeve_api::kind::Kind;
use portreeve_api::own::node_proxy;
use portreeve_api::refs::ObjectRef;

use super::{Index, Name};
use crate::object::{Object, Rejection, Role};

// === impl Index ===

impl Index {
    /// An object was created or changed.
    pub fn apply_object(&mut self, object: &dyn Object, now_ms: i64) {
        match object.role() {
            Role::Root(root) => self.apply(root),
            Role::Proxy(proxy) => match object.violations().as_slice() {
                [] => self.apply_proxy(proxy, now_ms),
                wrong => self.reject_proxy(object.meta(), Rejection::of_violations(wrong)),
            },
        }
    }

    /// An object can't be read.
    pub fn reject_object(&mut self, kind: &'static Kind, meta: &ObjectMeta, rejection: Rejection) {
        match is_proxy(kind) {
            true => self.reject_proxy(meta, rejection),
            false => self.reject(kind, meta, rejection),
        }
    }

    /// An object is gone.
    pub fn delete_object(&mut self, object: &ObjectRef, now_ms: i64) {
        match is_proxy(object.kind) {
            true => self.delete_proxy(&object.name, now_ms),
            false => self.delete(object),
        }
    }

    /// The complete list of a kind, readable objects or not, in a namespace, or (`None`) in all: every other one of the kind
    /// there is gone.
    pub fn keep_objects(
        &mut self,
        (kind, namespace): (&'static Kind, Option<&Name>),
        listed: &BTreeSet<ObjectRef>,
        now_ms: i64,
    ) {
        match is_proxy(kind) {
            true => self.keep_proxies(&listed.iter().map(|object| object.name.clone()).collect(), now_ms),
            false => self.keep(kind, namespace, listed),
        }
    }
}

fn is_proxy(kind: &Kind) -> bool {
    *kind == node_proxy::KIND
}
