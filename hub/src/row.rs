//! How the hub treats a kind of custom resource: [`Row`]. The rows are listed in `kinds.rs`.

use kube::core::ApiResource;
use portreeve_api::kind::{Kind, Purpose};
use serde_json::Value;

use crate::object::Read;

/// How the hub treats a kind.
#[derive(Debug)]
pub struct Row {
    /// The kind.
    pub kind: &'static Kind,
    /// Its name in watermarks, which agents carry from hub to hub: it never changes.
    pub letters: &'static str,
    /// Its name in metrics.
    pub label: &'static str,
    /// Its name for several objects, in the readiness probe's answer.
    pub plural: &'static str,
    /// The name of the task that watches it.
    pub watch: &'static str,
    /// Its group, version and plural.
    pub resource: fn() -> ApiResource,
    /// Reads an object.
    pub read: fn(Value) -> Read,
    /// The finalizer with which clients of the replaced control plane announce a deletion.
    pub finalizer: Option<&'static str>,
    /// The annotations of pods that its objects select by.
    pub annotations: &'static [&'static str],
    /// The dotted paths into pod objects that its objects select by.
    pub fields: &'static [&'static str],
}

// === impl Row ===

impl Row {
    /// Its objects open listeners. They are withdrawn when their deletion begins, whatever finalizers wait for.
    pub fn opens_listeners(&self) -> bool {
        self.kind.purpose == Purpose::Listeners
    }
}
