//! What the writer's requests have in common.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::core::ApiResource;
use kube::{Api, Client};
use portreeve_api::refs::ObjectRef;

use super::stored::Stored;
use crate::raw::Raw;
use crate::row::Row;

/// Field manager of the patches.
pub(super) const MANAGER: &str = "portreeve-hub";

/// The result of a write.
pub(super) enum Outcome {
    /// The object has the conditions, in this version.
    Stands(Stored),
    /// The object is gone or has changed. A watch event will follow.
    Passed,
    /// Another client changed the object at the same time, or its stored version isn't known.
    Raced,
    /// It is too early to write these conditions.
    Early,
    /// The kind has no status: the conditions were published as an event.
    Told(Vec<Condition>),
    /// The API server refused the status of the object in this generation: the conditions were published as an event.
    Refused { generation: i64, conditions: Vec<Condition>, why: String },
    /// The kind turned out to have no status.
    NoStatus(&'static Row),
    /// The hub has no right to annotate objects of the kind.
    Forbidden(&'static Row),
}

/// Returns the API of a kind in an object's namespace.
pub(super) fn api(client: &Client, object: &ObjectRef, resource: &ApiResource) -> Api<Raw> {
    match object.kind.namespaced {
        true => Api::namespaced_with(client.clone(), &object.namespace, resource),
        false => Api::all_with(client.clone(), resource),
    }
}
