//! The hub's handling of a kind of custom resource: [`Row`]. The rows are listed in `kinds.rs`.

use kube::core::ApiResource;
use portreeve_api::kind::{Kind, Purpose};
use serde_json::Value;

use crate::object::Read;
use crate::settings::Settings;

/// The hub's handling of a kind.
#[derive(Debug)]
pub struct Row {
    /// The kind.
    pub kind: &'static Kind,
    /// The short name in watermarks. Agents carry watermarks from hub to hub, so it never changes.
    pub letters: &'static str,
    /// The name in metrics.
    pub label: &'static str,
    /// The plural name in the answer of the readiness probe.
    pub plural: &'static str,
    /// The name of the task that watches it.
    pub watch: &'static str,
    /// Its group, version and plural.
    pub resource: fn() -> ApiResource,
    /// Parses an object.
    pub read: fn(Value) -> Read,
    /// Whether the hub removes this finalizer from deleted objects once they are withdrawn: it is one of the replaced control
    /// plane's.
    pub removes: fn(&str) -> bool,
    /// Annotations of pods that objects of this kind select by.
    pub annotations: fn(&Settings) -> Vec<String>,
    /// Dotted paths of pod fields that objects of this kind select by.
    pub fields: &'static [&'static str],
    /// Whether objects of this kind look up Services, or select pods or addresses by a Service. The hub then also needs the
    /// rights to list and watch Services and EndpointSlices.
    pub services: bool,
    /// Whether writers of such objects wait for the annotation with the generation that is applied.
    pub announces: bool,
    /// Whether the status of such objects tells the interface that leads to a proxy's pod, and the other ends of tunnels.
    pub interface: bool,
    /// Whether ids or addresses are allocated for objects of this kind, or from them.
    pub allocates: bool,
}

// === impl Row ===

impl Row {
    /// Returns whether its objects are withdrawn when their deletion begins, whatever finalizers wait for. A proxy runs until
    /// its object is gone.
    pub fn ends_with_deletion(&self) -> bool {
        self.kind.purpose != Purpose::Proxy
    }
}
