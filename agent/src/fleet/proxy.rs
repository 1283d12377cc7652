//! One local proxy's present state: [`Proxy`].

use std::collections::BTreeMap;
use std::sync::Arc;

use portreeve_xds::{Name, ResourceType, Snapshot, View, Withheld};

use super::contribution::Contribution;
use super::facts::Facts;

/// A proxy's present state.
pub struct Proxy<T> {
    /// What it is.
    pub facts: Facts,
    /// What it is sent.
    pub view: Arc<View<T>>,
    /// What each Plan contributes.
    pub plans: BTreeMap<Name, Contribution<T>>,
    /// What is missing in its view is known to be gone.
    pub sure: bool,
}

// === impl Proxy ===

impl<T: ResourceType> Proxy<T> {
    /// A proxy that is sent nothing yet. While it is not `sure`, nothing that it runs already is taken away.
    pub fn new(facts: Facts, sure: bool) -> Self {
        let mut snapshot = Snapshot::default();
        if !sure {
            snapshot.withhold(Withheld::all());
        }
        Self { facts, view: View::new(snapshot), plans: BTreeMap::new(), sure }
    }
}
