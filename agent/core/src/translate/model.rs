//! The interface to one kind of proxy ([`ProxyModel`]), and a translation for it ([`Translation`]).

use std::sync::Arc;

use portreeve_api::model::ProxyKind;
use portreeve_xds::{Name, Resource, ResourceType};

use super::outcome::{Census, Remark};
use super::request::{Lookup, Request};

/// The resource types of one kind of proxy, and the translation of Plans into them.
///
/// Every kind has listeners, clusters, and assignments (the endpoints of the cluster with the same name). A
/// kind may have more types, such as routes or secrets, which are stored and restored like clusters.
pub trait ProxyModel: ResourceType {
    /// The kind of proxy.
    const KIND: ProxyKind;
    /// The type of listeners.
    const LISTENER: Self;
    /// The type of clusters.
    const CLUSTER: Self;
    /// The type of assignments.
    const ASSIGNMENT: Self;

    /// Returns the type's noun, which precedes a resource's name in messages.
    fn noun(self) -> &'static str;

    /// Returns the type's number in the store, which never changes; `None` for types that are not stored.
    fn number(self) -> Option<u32>;

    /// Builds a resource from its bytes, with the same dependencies on other resources as the translation
    /// sets.
    fn resource(self, name: Name, body: &[u8]) -> Arc<Resource>;

    /// Returns the cluster that a listener routes to, read from the listener's bytes.
    fn target(listener: &[u8]) -> Option<Name>;

    /// Returns the secrets that a resource refers to, read from its bytes. A proxy that loads the resource without one of
    /// them waits for it.
    fn secrets(self, _body: &[u8]) -> Vec<(Self, Name)> {
        Vec::new()
    }

    /// Returns the message for users about a rejection with this error message, with advice added if it gives
    /// none.
    fn told(detail: &str) -> String {
        detail.to_owned()
    }

    /// Translates a Plan; `None` while a group, secret or host name that it needs is not known
    /// yet.
    fn translate(request: &Request<'_>, lookup: &dyn Lookup) -> Option<Translation<Self>>;
}

/// One resource of a proxy, with its type.
pub type Output<T> = (T, Arc<Resource>);

/// The translation of a Plan.
#[derive(Clone, Debug)]
pub struct Translation<T> {
    /// The resources, in any order.
    pub outputs: Vec<Output<T>>,
    /// Parts of the Plan that could not be expressed.
    pub remarks: Vec<Remark>,
    /// Counts of the Plan's endpoints.
    pub census: Census,
}

// === impl Translation ===

impl<T> Default for Translation<T> {
    fn default() -> Self {
        Self { outputs: Vec::new(), remarks: Vec::new(), census: Census::default() }
    }
}
