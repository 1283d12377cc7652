//! A question of a resolver ([`Question`]).

use std::collections::BTreeMap;

use portreeve_api::kind::Kind;
use portreeve_api::refs::ObjectRef;
use portreeve_xds::Name;

/// A question of a resolver about a fact outside its object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Question {
    /// One object.
    Object(ObjectRef),
    /// The objects of a kind that have a value in an indexed field.
    Listing(Listing),
    /// The labels of a namespace.
    Namespace(Name),
    /// The Service of this namespace and name.
    Service(Name, Name),
    /// The Secret of this namespace and name.
    Secret(Name, Name),
    /// The content of this key of the Secret of this namespace and name.
    SecretContent(Name, Name, Name),
    /// Whether the selection with this name matches several pods with l7mp proxies.
    Several(Name),
    /// Why the object didn't get the ids and addresses that it lacks.
    Allocation(ObjectRef),
}

/// The objects of a kind that have a value in an indexed field.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Listing {
    /// The kind.
    pub kind: &'static Kind,
    /// The field, as [`FoundBy`] names it.
    pub field: &'static str,
    /// The value.
    pub value: Name,
}

/// An indexed field and its value, by which other objects find an object.
pub type FoundBy = (&'static str, Name);

/// Labels of a namespace.
pub type Labels = BTreeMap<String, String>;

// === impl Question ===

impl Question {
    /// The selection whose proxies the question is about the number of.
    pub fn counted(&self) -> Option<&Name> {
        match self {
            Self::Several(selection) => Some(selection),
            Self::Object(_)
            | Self::Listing(_)
            | Self::Namespace(_)
            | Self::Service(..)
            | Self::Secret(..)
            | Self::SecretContent(..)
            | Self::Allocation(_) => None,
        }
    }
}
