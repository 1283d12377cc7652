//! Responses in which resources exchange addresses: their order, and the removals that must come first.

use super::build::Draft;
use super::state::TypeState;
use crate::resource::{Name, ResourceType};
use crate::snapshot::Snapshot;

impl<T: ResourceType> TypeState<T> {
    /// Orders a response so that each address is freed before it is taken. If that needs removals first, returns a response
    /// with these removals alone and queues the rest again.
    pub(super) fn in_order(&mut self, draft: Draft, snap: &Snapshot<T>) -> Draft {
        let elsewhere = |holder: &Name, address: &Name| {
            let stays = snap.get(self.ty, holder).is_some_and(|one| one.address() == Some(address));
            !stays && !draft.removed.contains(holder)
        };
        let Some(order) = self.addresses.order(&draft.resources, elsewhere) else { return draft };
        if order.first.is_empty() {
            let resources = order.indexes.iter().map(|at| draft.resources[*at].clone()).collect();
            let places = order.indexes.iter().map(|at| draft.places[*at]).collect();
            return Draft { resources, places, ..draft };
        }
        let names = draft.resources.iter().map(|one| one.name());
        for name in names.chain(&draft.removed).chain(&order.first) {
            self.enqueue(name, true);
        }
        Draft { removed: order.first.into_iter().collect(), ..Draft::default() }
    }

    /// Returns the removal of names that may hold an address that another resource needs. They are queued again.
    pub(super) fn evict(&mut self) -> Option<Draft> {
        let removed: Vec<_> = std::mem::take(&mut self.evicted).into_iter().collect();
        removed.iter().for_each(|name| self.enqueue(name, true));
        (!removed.is_empty()).then(|| Draft { removed, ..Draft::default() })
    }
}
