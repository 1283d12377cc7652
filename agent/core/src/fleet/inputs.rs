//! The inputs of a Plan's resources on a proxy ([`Inputs`]). The ledger keeps accepted resources while these
//! are unchanged.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use portreeve_xds::{Name, Version};
use xxhash_rust::xxh3::Xxh3;

use super::backing;
use crate::translate::{Families, Lookup, ProxyModel, Request, qualified};

/// The inputs of a Plan's resources on a proxy.
pub struct Inputs<'a> {
    /// A hash of the Plan's version, the proxy's families, and the listeners that can't have their port.
    pub hash: u64,
    /// The hashes of listeners that have more inputs than the rest of their Plan.
    listeners: BTreeMap<Name, u64>,
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
        let (hash, listeners) = (hash.digest(), BTreeMap::new());
        Self { hash, listeners, request, sources: OnceCell::new(), held: BTreeMap::new() }
    }

    /// Adds the addresses of the groups whose members may connect: a listener with such a policy holds them.
    #[must_use]
    pub fn with_peers(mut self, lookup: &dyn Lookup) -> Self {
        for listener in &self.request.plan.listeners {
            let Some(policy) = listener.sources.as_ref().filter(|policy| !policy.groups.is_empty()) else {
                continue;
            };
            let mut hash = Xxh3::with_seed(self.hash);
            for group in &policy.groups {
                let members = lookup.group(group).unwrap_or_default();
                let ips: BTreeSet<[u8; 16]> = members.iter().flat_map(|one| &one.ips).map(octets).collect();
                hash.update(&(ips.len() as u64).to_le_bytes());
                ips.iter().for_each(|ip| hash.update(ip));
            }
            self.listeners.insert(qualified(self.request.plan, &listener.name), hash.digest());
        }
        self
    }

    /// Returns a hash of the inputs of a resource, without the endpoints that an assignment has.
    pub fn of<T: ProxyModel>(&self, (ty, name): &(T, Name)) -> u64 {
        let own = self.listeners.get(name).filter(|_| *ty == T::LISTENER);
        own.copied().unwrap_or(self.hash)
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

/// An address as IPv6 writes it.
fn octets(ip: &IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}
