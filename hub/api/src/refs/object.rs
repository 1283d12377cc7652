//! A reference to an object: [`ObjectRef`].

use std::fmt;
use std::str::FromStr;

use kube::core::ObjectMeta;
use portreeve_xds::Name;

use super::{NotAReference, join};
use crate::kind::Kind;
use crate::kinds;

/// A reference to an object of one of the kinds in [`kinds::ALL`].
///
/// Its text form is the kind's prefix, the namespace if the kind has one, and the name: `A/ns/call`, `nodeproxy/edge`.
/// A Plan that is made from the object has this text as its name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectRef {
    /// The namespace; empty for kinds without namespaces.
    pub namespace: Name,
    /// The object's name.
    pub name: Name,
    /// The object's kind, which also determines its API.
    pub kind: &'static Kind,
}

// === impl ObjectRef ===

impl ObjectRef {
    /// Creates a reference to an object of a kind without namespaces.
    pub fn cluster_scoped(kind: &'static Kind, name: impl Into<Name>) -> Self {
        Self { namespace: Name::from(""), name: name.into(), kind }
    }

    /// Creates a reference to an object of a kind with namespaces.
    pub fn namespaced(kind: &'static Kind, namespace: impl Into<Name>, name: impl Into<Name>) -> Self {
        Self { namespace: namespace.into(), name: name.into(), kind }
    }

    /// Creates a reference to the object with this metadata. A missing namespace counts as `default`, as in an API
    /// server.
    pub fn of(kind: &'static Kind, meta: &ObjectMeta) -> Self {
        let name = meta.name.as_deref().unwrap_or_default();
        match kind.namespaced {
            true => Self::namespaced(kind, meta.namespace.as_deref().unwrap_or("default"), name),
            false => Self::cluster_scoped(kind, name),
        }
    }

    /// Returns whether the object is of this kind and, if a namespace is given, in this namespace.
    pub fn is_of(&self, kind: &Kind, namespace: Option<&Name>) -> bool {
        self.kind == kind && namespace.is_none_or(|namespace| self.namespace == *namespace)
    }

    /// The reference for people: `Target ns/call`, `NodeProxy edge`.
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
    /// Returns an error if the text has no known kind, or too few or too many parts.
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
