//! The inputs of a Plan's resources on a proxy ([`Inputs`]). The ledger keeps accepted resources while these
//! are unchanged.

use std::cell::OnceCell;
use std::collections::BTreeMap;

use portreeve_xds::{Name, Version};
use xxhash_rust::xxh3::Xxh3;

use super::backing;
use crate::translate::{Families, ProxyModel, Request};

/// The inputs of a Plan's resources on a proxy.
pub struct Inputs<'a> {
    /// A hash of the Plan's version, the proxy's families, and the listeners that can't have their port.
    pub hash: u64,
    request: &'a Request<'a>,
    /// Computed at the first use.
    sources: OnceCell<BTreeMap<Name, u64>>,
    /// Clusters that are served in their earlier version, with the hashes of their sources.
    pub held: BTreeMap<Name, Option<u64>>,
}

// === impl Inputs ===

impl<'a> Inputs<'a> {
    /// Returns the inputs of a Plan in this version.
    pub fn new(request: &'a Request<'a>, version: Version) -> Self {
        let mut hash = Xxh3::new();
        hash.update(&version.0.to_le_bytes());
        hash.update(&[match request.families {
            Families::V4 => 0,
            Families::V6 => 1,
            Families::Dual => 2,
            Families::DualV6First => 3,
        }]);
        for listener in request.denied {
            hash.update(listener.as_bytes());
            hash.update(&[0]);
        }
        Self { hash: hash.digest(), request, sources: OnceCell::new(), held: BTreeMap::new() }
    }

    /// Returns whether this resource is a cluster that is served in its earlier version.
    pub fn holds<T: ProxyModel>(&self, (ty, name): &(T, Name)) -> bool {
        *ty == T::CLUSTER && self.held.contains_key(name)
    }

    /// Returns the hash of a cluster's sources, see `backing::sources`; `None` for other types.
    pub fn sources<T: ProxyModel>(&self, (ty, name): &(T, Name)) -> Option<u64> {
        match self.held.get(name) {
            _ if *ty != T::CLUSTER => None,
            Some(held) => *held,
            None => self.sources.get_or_init(|| backing::sources(self.request)).get(name).copied(),
        }
    }
}
