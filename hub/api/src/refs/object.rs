//! Which object is meant: [`ObjectRef`].

use std::fmt;
use std::str::FromStr;

use kube::core::ObjectMeta;
use portreeve_xds::Name;

use super::{NotAReference, join};
use crate::kind::Kind;
use crate::kinds;

/// An object of one of the kinds in [`kinds::ALL`].
///
/// Its text is the kind's prefix, the namespace if the kind has one, and the name: `A/ns/call`, `nodeproxy/edge`. An object
/// that becomes a Plan gives it this text as its name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectRef {
    /// Its namespace; empty for kinds without one.
    pub namespace: Name,
    /// Its name.
    pub name: Name,
    /// Its kind, and by it its API.
    pub kind: &'static Kind,
}

// === impl ObjectRef ===

impl ObjectRef {
    /// An object of a kind that has no namespaces.
    pub fn cluster_scoped(kind: &'static Kind, name: impl Into<Name>) -> Self {
        Self { namespace: Name::from(""), name: name.into(), kind }
    }

    /// An object of a kind that has namespaces.
    pub fn namespaced(kind: &'static Kind, namespace: impl Into<Name>, name: impl Into<Name>) -> Self {
        Self { namespace: namespace.into(), name: name.into(), kind }
    }

    /// The object with this metadata. Without a namespace it counts as one in `default`, as for an API server.
    pub fn of(kind: &'static Kind, meta: &ObjectMeta) -> Self {
        let name = meta.name.as_deref().unwrap_or_default();
        match kind.namespaced {
            true => Self::namespaced(kind, meta.namespace.as_deref().unwrap_or("default"), name),
            false => Self::cluster_scoped(kind, name),
        }
    }

    /// The object for people: `VirtualService ns/call`, `NodeProxy edge`.
    pub fn title(&self) -> String {
        let Self { namespace, name, kind } = self;
        match kind.namespaced {
            true => format!("{} {namespace}/{name}", kind.name),
            false => format!("{} {name}", kind.name),
        }
    }
}

impl fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind.namespaced {
            true => join(f, &[self.kind.prefix, &self.namespace, &self.name]),
            false => join(f, &[self.kind.prefix, &self.name]),
        }
    }
}

impl FromStr for ObjectRef {
    type Err = NotAReference;

    /// # Errors
    /// The text names no kind that is known, or has too few or too many parts.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let read = |kind: &'static Kind| {
            let rest = text.strip_prefix(kind.prefix)?.strip_prefix('/')?;
            let (namespace, name) = match kind.namespaced {
                true => rest.split_once('/')?,
                false => ("", rest),
            };
            let whole = !name.is_empty() && !name.contains('/') && kind.namespaced != namespace.is_empty();
            whole.then(|| Self::namespaced(kind, namespace, name))
        };
        let found = kinds::ALL.iter().find_map(|row| read(row.kind));
        found.ok_or_else(|| {
            NotAReference::new(text, "the text of an object of a known kind, as A/namespace/name")
        })
    }
}
