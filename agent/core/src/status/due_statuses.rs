//! Keeps the statuses of all Plans up to date, one Plan at a time. Entry point: [`DueStatuses`].

use std::collections::BTreeSet;
use std::sync::Arc;

use portreeve_xds::Name;

use super::{Statuses, of_plan};
use crate::world::World;

/// The Plans whose status must be recomputed.
#[derive(Default)]
pub struct DueStatuses {
    dirty: BTreeSet<Name>,
    /// Number of recomputed statuses since the start, for the tests of cost.
    looked_at: u64,
}

// === impl DueStatuses ===

impl DueStatuses {
    /// Marks Plans whose status may have changed.
    pub fn touch(&mut self, plans: impl IntoIterator<Item = Name>) {
        self.dirty.extend(plans);
    }

    /// Returns whether no Plan is marked.
    pub fn is_clean(&self) -> bool {
        self.dirty.is_empty()
    }

    /// Recomputes the statuses of the marked Plans. Returns whether one changed.
    pub fn settle(&mut self, world: &World, statuses: &mut Statuses) -> bool {
        let mut differs = false;
        for name in std::mem::take(&mut self.dirty) {
            self.looked_at += 1;
            match of_plan(world, &name) {
                Some(status) if statuses.get(&name).is_none_or(|before| **before != status) => {
                    statuses.insert(name, Arc::new(status));
                    differs = true;
                }
                Some(_) => {}
                // The Plan was withdrawn and a proxy has yet to confirm that. The last status stays until
                // then.
                None if world.fleets().all().any(|fleet| fleet.has_any(&name)) => {}
                None => differs |= statuses.remove(&name).is_some(),
            }
        }
        differs
    }

    /// Returns the number of recomputed statuses since the start.
    pub fn looked_at(&self) -> u64 {
        self.looked_at
    }
}
