//! The statuses of all Plans, kept up to date Plan by Plan. Entry point: [`Book`].

use std::collections::BTreeSet;
use std::sync::Arc;

use portreeve_xds::Name;

use super::{Statuses, of_plan};
use crate::world::World;

/// Which Plans are to be looked at again.
#[derive(Default)]
pub struct Book {
    dirty: BTreeSet<Name>,
    /// Plans looked at since the start, for the tests of cost.
    looked_at: u64,
}

// === impl Book ===

impl Book {
    /// These Plans may stand differently.
    pub fn touch(&mut self, plans: impl IntoIterator<Item = Name>) {
        self.dirty.extend(plans);
    }

    /// Whether there is nothing to look at.
    pub fn is_clean(&self) -> bool {
        self.dirty.is_empty()
    }

    /// Looks at what was touched; answers whether a status differs.
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
                // Withdrawn, and a proxy has yet to confirm that: what was said last stands until then.
                None if world.fleets().all().any(|fleet| fleet.has_any(&name)) => {}
                None => differs |= statuses.remove(&name).is_some(),
            }
        }
        differs
    }

    /// Plans looked at since the start.
    pub fn looked_at(&self) -> u64 {
        self.looked_at
    }
}
