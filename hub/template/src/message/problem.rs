//! What is wrong with a field: [`FieldError`].

/// A field that is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {problem}")]
pub struct FieldError {
    /// The field's path in the resource, for example `filter_chains[0].filters[1].name`.
    pub path: String,
    /// What is wrong.
    pub problem: Problem,
}

/// What is wrong with a field.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The message has no such field.
    #[error("{message} has no such field{}", if *.v2 { ", and a rewrite of this field to Envoy's API v3 is not known" } else { "" })]
    Unknown {
        /// The message's full name.
        message: String,
        /// Whether the template is for API v2.
        v2: bool,
    },
    /// The field is there in snake case and in camel case.
    #[error("is there twice, once in camel case")]
    Twice,
    /// The message has more than one field of a choice.
    #[error("has {0}, of which it may have one")]
    OneOf(String),
    /// The field has a value of another kind.
    #[error("must be {wants}, not {has}")]
    Kind {
        /// The right kind.
        wants: &'static str,
        /// The value's kind.
        has: &'static str,
    },
    /// A text field has a number or a boolean.
    #[error("must be a text, not {0}: put it in quotes")]
    Unquoted(&'static str),
    /// The enum has no such value.
    #[error("{value} is not one of {known}")]
    Enum {
        /// The value.
        value: String,
        /// The enum's values.
        known: String,
    },
    /// The value doesn't fit the field.
    #[error("{0}")]
    Value(String),
    /// An `Any` without a type.
    #[error("@type is missing")]
    NoType,
    /// An `Any` whose type is no type URL.
    #[error("{0} is not a type URL: it must begin with type.googleapis.com/")]
    NotAType(String),
    /// An `Any` of a type that has no descriptor.
    #[error("the type {name} is not known here: known are, after {beginning}, {known}")]
    UnknownType {
        /// The type.
        name: String,
        /// The beginning of its name that known types have too.
        beginning: String,
        /// The next words of those types' names.
        known: String,
    },
    /// A type of API v2 in a template for API v3.
    #[error("the type {0} is one of Envoy's API v2, but envoyAPI is v3")]
    V2Type(String),
    /// An extension without a configuration.
    #[error("{0} has no typed_config: add one with its @type")]
    Bare(String),
    /// A field of API v2 that v3 can't express.
    #[error("can't be rewritten to Envoy's API v3: {0}")]
    Rewrite(String),
    /// A field of API v2 is there together with the field of v3 that replaces it.
    #[error("is there together with {0}, which replaces it: leave out one of them")]
    Both(&'static str),
    /// The field runs code, or reads or writes outside of Envoy.
    #[error("not allowed in a template of an account: it {0}")]
    Denied(&'static str),
    /// The field makes Envoy ask for a resource that the hub doesn't serve.
    #[error("not served: put {0} into the template")]
    NotServed(&'static str),
}

/// A problem of a message, or of one of its fields.
#[derive(Debug)]
pub struct Refused {
    /// The field. Empty for the message itself.
    pub field: &'static str,
    /// What is wrong.
    pub problem: Problem,
}

// === impl Refused ===

impl Refused {
    /// Returns that a field can't be rewritten.
    pub fn rewrite(field: &'static str, reason: impl Into<String>) -> Self {
        Self { field, problem: Problem::Rewrite(reason.into()) }
    }
}
