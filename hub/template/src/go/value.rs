//! The values of templates: [`Value`].

use std::collections::BTreeMap;
use std::rc::Rc;

/// A value of a template. A copy shares the content.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Go's `nil`.
    Nil,
    /// A boolean.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A text.
    Text(Rc<str>),
    /// A list.
    List(Rc<[Value]>),
    /// A record (Go's `struct`): its fields by their names.
    Record(Rc<BTreeMap<&'static str, Value>>),
}

// === impl Value ===

impl Value {
    /// Returns a text.
    pub fn text(text: &str) -> Self {
        Self::Text(text.into())
    }

    /// Returns a list.
    pub fn list(values: impl IntoIterator<Item = Self>) -> Self {
        Self::List(values.into_iter().collect())
    }

    /// Returns a record.
    pub fn record<const N: usize>(fields: [(&'static str, Self); N]) -> Self {
        Self::Record(Rc::new(fields.into()))
    }

    /// Returns whether `if` takes the value for true: it is neither zero nor empty.
    pub(super) fn truth(&self) -> bool {
        match self {
            Self::Nil => false,
            Self::Bool(value) => *value,
            Self::Int(value) => *value != 0,
            Self::Text(text) => !text.is_empty(),
            Self::List(values) => !values.is_empty(),
            Self::Record(_) => true,
        }
    }

    /// Returns what kind of value it is, for errors.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Nil => "nil",
            Self::Bool(_) => "a boolean",
            Self::Int(_) => "a number",
            Self::Text(_) => "a text",
            Self::List(_) => "a list",
            Self::Record(_) => "a record",
        }
    }

    /// Returns the printed form. `None` for nil, lists and records: Go prints them in a form that no configuration has.
    pub(super) fn printed(&self) -> Option<Rc<str>> {
        match self {
            Self::Bool(value) => Some(value.to_string().into()),
            Self::Int(value) => Some(value.to_string().into()),
            Self::Text(text) => Some(text.clone()),
            Self::Nil | Self::List(_) | Self::Record(_) => None,
        }
    }

    /// Returns how many steps it costs to look at the whole value.
    pub(super) fn cost(&self) -> usize {
        match self {
            Self::Text(text) => 1 + text.len() / 16,
            _ => 1,
        }
    }
}
