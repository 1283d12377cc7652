//! What the agent knows of one kind of proxy ([`ProxyModel`]), and what a translation for it gives ([`Translation`]).

use std::sync::Arc;

use portreeve_xds::{Name, Resource, ResourceType};

use super::kind::ProxyKind;
use super::outcome::{Census, Remark};
use super::request::{Lookup, Request};

/// The resource types of one kind of proxy, and how Plans become such resources.
///
/// Every kind has listeners, clusters, and assignments: the endpoints of the cluster of the same name. A kind may have more
/// types (routes, rules, secrets), which are kept and restored like clusters.
pub trait ProxyModel: ResourceType {
    /// The kind of proxy.
    const KIND: ProxyKind;
    /// The type of listeners.
    const LISTENER: Self;
    /// The type of clusters.
    const CLUSTER: Self;
    /// The type of assignments.
    const ASSIGNMENT: Self;

    /// The type's noun for messages, before a resource's name.
    fn noun(self) -> &'static str;

    /// The type's number in the store, which never changes; `None` for types that are not stored.
    fn number(self) -> Option<u32>;

    /// Builds a resource from its bytes, with the relations that the translation gave it.
    fn resource(self, name: Name, body: &[u8]) -> Arc<Resource>;

    /// The cluster that a listener forwards to, read from the listener's bytes.
    fn target(listener: &[u8]) -> Option<Name>;

    /// What a person is told of a rejection in these words: with what to do, where they leave that open.
    fn told(detail: &str) -> String {
        detail.to_owned()
    }

    /// Translates a Plan; `None` while a group or host name that it needs is not known yet.
    fn translate(request: &Request<'_>, lookup: &dyn Lookup) -> Option<Translation<Self>>;
}

/// One resource of a proxy, with its type.
pub type Output<T> = (T, Arc<Resource>);

/// A Plan's translation.
#[derive(Clone, Debug)]
pub struct Translation<T> {
    /// The resources, in any order.
    pub outputs: Vec<Output<T>>,
    /// What could not be expressed.
    pub remarks: Vec<Remark>,
    /// Its endpoints.
    pub census: Census,
}

// === impl Translation ===

impl<T> Default for Translation<T> {
    fn default() -> Self {
        Self { outputs: Vec::new(), remarks: Vec::new(), census: Census::default() }
    }
}
