//! One transaction on a set of resources ([`Changes`]).

use std::sync::Arc;

use crate::resource::{Name, Resource};

/// One transaction on a set of resources.
#[derive(Clone, Debug)]
pub struct Changes<T> {
    /// Resources to add or to replace.
    pub upsert: Vec<(T, Arc<Resource>)>,
    /// Names to remove. Names that do not exist are ignored.
    pub remove: Vec<(T, Name)>,
}

// === impl Changes ===

impl<T> Default for Changes<T> {
    fn default() -> Self {
        Self { upsert: Vec::new(), remove: Vec::new() }
    }
}

impl<T> Changes<T> {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.upsert.is_empty() && self.remove.is_empty()
    }
}
