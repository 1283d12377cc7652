//! One transaction on a set of resources ([`Changes`]).

use std::collections::HashSet;
use std::sync::Arc;

use crate::resource::{Name, Resource, ResourceType};

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

impl<T: ResourceType> Changes<T> {
    /// The removals that count: if a transaction upserts and removes the same name, the upsert wins.
    pub(crate) fn removals(&self) -> Vec<&(T, Name)> {
        let upserted: HashSet<(T, &Name)> = match self.remove.is_empty() {
            true => HashSet::new(),
            false => self.upsert.iter().map(|(ty, resource)| (*ty, resource.name())).collect(),
        };
        self.remove.iter().filter(|(ty, name)| !upserted.contains(&(*ty, name))).collect()
    }
}
