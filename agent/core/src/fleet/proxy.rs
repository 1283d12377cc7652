//! The current state of one local proxy: [`Proxy`].

use std::collections::BTreeMap;
use std::sync::Arc;

use portreeve_xds::{Name, ResourceType, Snapshot, Version, View, Withheld};

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
    /// What the proxy is known to have, while it may have something newer than the view; else `None`.
    pub(super) accepted: Option<Arc<BTreeMap<(T, Name), Version>>>,
}

// === impl Proxy ===

impl<T: ResourceType> Proxy<T> {
    /// Returns a proxy with an empty view. While it is not `sure`, no resource that it already runs is
    /// removed.
    pub fn new(facts: Facts, sure: bool) -> Self {
        let view = View::new(Snapshot::default());
        let proxy = Self { facts, view, plans: BTreeMap::new(), sure, accepted: None };
        proxy.withhold();
        proxy
    }

    /// Records what a connecting proxy is known to have, if it may have something newer than the view, which it keeps then.
    pub fn may_be_newer(&mut self, than: Option<BTreeMap<(T, Name), Version>>) {
        self.accepted = than.map(Arc::new);
        self.withhold();
    }

    /// Tells the view which names are not deleted although they are absent: all names while the view may be incomplete,
    /// then those that the Plans withhold.
    pub fn withhold(&self) {
        let names = || self.plans.values().flat_map(|part| part.withheld.iter().cloned()).collect();
        self.view.withhold(match self.sure {
            false => Withheld { accepted: self.accepted.clone(), ..Withheld::all() },
            true => Withheld { names: names(), ..Withheld::default() },
        });
    }
}
