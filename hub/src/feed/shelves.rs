//! What the views of the agents of one class have in common ([`Shelves`]).

use std::collections::HashMap;

use portreeve_api::PlanType;
use portreeve_xds::{Base, Batch};

use crate::index::{ClassId, Taken};

/// A set of resources that changed, and the names of those that differ now.
pub(super) type Shift = (Base<PlanType>, Batch<PlanType>);

/// The common resources of each class with a view.
#[derive(Default)]
pub(super) struct Shelves(HashMap<ClassId, Shelf>);

struct Shelf {
    base: Base<PlanType>,
    /// The number of views of the class.
    views: usize,
}

/// Changes that are being published. What the views of a class have in common is changed once.
#[derive(Default)]
pub(super) struct Round {
    changed: HashMap<ClassId, Shift>,
}

// === impl Shelves ===

impl Shelves {
    /// Counts a new view of a class, and returns what it has in common with others. `first` returns this for the first view.
    pub(super) fn join(
        &mut self,
        class: Option<ClassId>,
        first: impl FnOnce() -> Base<PlanType>,
    ) -> Base<PlanType> {
        let Some(class) = class else { return Base::default() };
        let shelf = self.0.entry(class).or_insert_with(|| Shelf { base: first(), views: 0 });
        shelf.views += 1;
        shelf.base.clone()
    }

    /// Counts a view of a class less. After the last one, nothing is kept for the class, because its changes are not known any
    /// more.
    pub(super) fn leave(&mut self, class: Option<ClassId>) {
        let Some(class) = class else { return };
        let Some(shelf) = self.0.get_mut(&class) else { return };
        shelf.views -= 1;
        if shelf.views == 0 {
            self.0.remove(&class);
        }
    }

    /// Returns whether no class has a view.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Changes what the views of a class have in common, for a view that stays in its class.
    pub(super) fn stay(&mut self, taken: &Taken, round: &mut Round) -> Option<Shift> {
        let class = taken.class?;
        if taken.shared.is_empty() {
            return None;
        }
        if let Some(known) = round.changed.get(&class) {
            return Some(known.clone());
        }
        let shelf = self.0.get_mut(&class)?;
        let differ = shelf.base.apply(&taken.shared).into();
        let shift = (shelf.base.clone(), differ);
        round.changed.insert(class, shift.clone());
        Some(shift)
    }

    /// Adds a view to the class that its node has now. `old` is what it had in common with the views of its former class. To be
    /// called after [`Self::leave`] for all views that leave a class, and [`Self::stay`] for all that stay: a class that all
    /// left has changed unnoticed.
    pub(super) fn enter(&mut self, old: &Base<PlanType>, taken: &Taken) -> Shift {
        let new = self.join(taken.class, || {
            let mut next = old.clone();
            next.apply(&taken.shared);
            next
        });
        let differ = old.differ(&new, &taken.shared).into();
        (new, differ)
    }
}
