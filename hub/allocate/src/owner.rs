//! Who holds an address or a key: [`Owner`].

use std::fmt;
use std::sync::Arc;

/// The identity of the object that holds an address or a key, for example `LoadBalancer epic-a/web`.
///
/// Two owners are the same if their texts are equal, so the text contains the kind and the namespace. (The original's warm-up
/// used bare names, seed C.7.) It is also the owner's name in errors. Cloning is cheap.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Owner(Arc<str>);

// === impl Owner ===

impl Owner {
    /// Creates an owner from its kind, namespace and name.
    pub fn new(kind: &str, namespace: &str, name: &str) -> Self {
        Self(format!("{kind} {namespace}/{name}").into())
    }

    /// Returns the whole text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Owner {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
