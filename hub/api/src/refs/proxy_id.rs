//! The identity of a proxy on a node: [`ProxyId`].

use std::fmt;
use std::str::FromStr;

use portreeve_xds::Name;

use super::{NotAReference, ObjectRef};
use crate::own::node_proxy;

/// The prefix of the text form of a pod's proxy.
const POD: &str = "pod/";

/// A proxy of a node.
///
/// The text form is `nodeproxy/NAME` or `pod/UID`. The `node.id` of a pod's proxy is the uid alone, see
/// [`ProxyId::of_node_id`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ProxyId {
    /// The proxy of the NodeProxy with this name.
    Node(Name),
    /// The proxy in the pod with this uid.
    Pod(Name),
}

// === impl ProxyId ===

impl ProxyId {
    /// Returns the identity of the proxy whose bootstrap has this `node.id`.
    pub fn of_node_id(id: &str) -> Self {
        match Self::node_proxy(id) {
            Some(name) => Self::Node(name),
            None => Self::Pod(id.into()),
        }
    }

    fn node_proxy(text: &str) -> Option<Name> {
        let object: ObjectRef = text.parse().ok()?;
        (*object.kind == node_proxy::KIND).then_some(object.name)
    }
}

impl fmt::Display for ProxyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ProxyId::Node(name) => ObjectRef::cluster_scoped(&node_proxy::KIND, name.clone()).fmt(f),
            ProxyId::Pod(uid) => write!(f, "{POD}{uid}"),
        }
    }
}

impl FromStr for ProxyId {
    type Err = NotAReference;

    /// # Errors
    /// Returns an error if the text has neither form.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let pod = || text.strip_prefix(POD).filter(|uid| !uid.is_empty()).map(|uid| Self::Pod(uid.into()));
        let found = Self::node_proxy(text).map(Self::Node).or_else(pod);
        found.ok_or_else(|| NotAReference::new(text, "a proxy, as nodeproxy/name or pod/uid"))
    }
}
