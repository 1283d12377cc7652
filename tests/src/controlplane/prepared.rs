//! The state of a control plane after its preparation ([`Prepared`]), which is restored for each later user.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};

use super::site::Site;
use super::store::Contents;
use crate::netns::Bed;

/// The state of a reusable control plane.
pub(super) struct Prepared {
    /// The bed of the servers.
    bed: Bed,
    /// The servers' ports.
    ports: BTreeSet<u16>,
    /// The stored objects.
    contents: Contents,
}

// === impl Prepared ===

impl Prepared {
    /// Records the current state, with an empty bed.
    pub(super) fn now(bed: &Bed, site: &Site) -> Result<Self> {
        Ok(Self { bed: bed.clone(), ports: bed.root().open_ports()?, contents: Contents::now(site)? })
    }

    /// Deletes all newer objects, and returns the empty bed.
    ///
    /// # Errors
    /// Returns an error that names prepared objects which are gone or changed. They aren't restored.
    pub(super) fn restore(&self, site: &Site) -> Result<Bed> {
        self.bed.clear(&self.ports)?;
        let changed = self.contents.restore(site)?;
        ensure!(changed.is_empty(), "{changed:?} were changed");
        Ok(self.bed.clone())
    }
}
