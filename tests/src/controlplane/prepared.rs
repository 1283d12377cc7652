//! What a control plane was like before its first user ([`Prepared`]), so that its next user finds it so again.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};

use super::site::Site;
use super::store::Contents;
use crate::netns::Bed;

/// The state of a control plane that is used several times.
pub(super) struct Prepared {
    /// The bed that it is in.
    bed: Bed,
    /// The servers' ports.
    ports: BTreeSet<u16>,
    /// What was stored.
    contents: Contents,
}

// === impl Prepared ===

impl Prepared {
    /// As it is now, with an empty bed.
    pub(super) fn now(bed: &Bed, site: &Site) -> Result<Self> {
        Ok(Self { bed: bed.clone(), ports: bed.root().open_ports()?, contents: Contents::now(site)? })
    }

    /// Deletes what came since, and returns the empty bed.
    ///
    /// # Errors
    /// Something that was there is gone or differs: it is named, and stays so.
    pub(super) fn restore(&self, site: &Site) -> Result<Bed> {
        self.bed.clear(&self.ports)?;
        let changed = self.contents.restore(site)?;
        ensure!(changed.is_empty(), "{changed:?} were changed");
        Ok(self.bed.clone())
    }
}
