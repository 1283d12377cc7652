//! What a resolver may want to know ([`Question`]).

use std::collections::BTreeMap;

use portreeve_api::kind::Kind;
use portreeve_api::refs::ObjectRef;
use portreeve_xds::Name;

/// Something that a resolver wanted to know.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Question {
    /// One object.
    Object(ObjectRef),
    /// The objects of a kind that have a value in a field by which they are found.
    Listing(Listing),
    /// The labels of a namespace.
    Namespace(Name),
    /// The Service of this namespace and name.
    Service(Name, Name),
    /// The Secret of this namespace and name.
    Secret(Name, Name),
}

/// The objects of a kind that have a value in a field by which they are found.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Listing {
    /// The kind.
    pub kind: &'static Kind,
    /// The field, as [`FoundBy`] names it.
    pub field: &'static str,
    /// The value.
    pub value: Name,
}

/// A field and its value by which others find an object.
pub type FoundBy = (&'static str, Name);

/// Labels of a namespace.
pub type Labels = BTreeMap<String, String>;
