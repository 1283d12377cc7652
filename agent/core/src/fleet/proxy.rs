//! The current state of one local proxy: [`Proxy`].

use std::collections::BTreeMap;
use std::sync::Arc;

use portreeve_xds::{Name, ResourceType, Snapshot, View, Withheld};

use super::contribution::Contribution;
use super::facts::Facts;

/// The current state of one local proxy.
pub struct Proxy<T> {
    /// The proxy's identity and properties.
    pub facts: Facts,
    /// The resources that it is sent.
    pub view: Arc<View<T>>,
    /// Each Plan's part of its resources.
    pub plans: BTreeMap<Name, Contribution<T>>,
    /// Whether absence from the view means deletion.
    pub sure: bool,
}

// === impl Proxy ===

impl<T: ResourceType> Proxy<T> {
    /// Returns a proxy with an empty view. While it is not `sure`, no resource that it already runs is
    /// removed.
    pub fn new(facts: Facts, sure: bool) -> Self {
        let mut snapshot = Snapshot::default();
        if !sure {
            snapshot.withhold(Withheld::all());
        }
        Self { facts, view: View::new(snapshot), plans: BTreeMap::new(), sure }
    }
}
