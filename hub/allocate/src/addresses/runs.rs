//! Sets of addresses that find the lowest one that is missing in logarithmic time: [`Runs`].

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use portreeve_api::c::range::Range;

/// A set of addresses, as its longest runs of consecutive addresses.
#[derive(Clone, Debug, Default)]
pub(super) struct Runs {
    /// The last address of each run, by the first.
    ends: BTreeMap<IpAddr, IpAddr>,
}

/// Returns the address after this one. `None` after the last of its family.
fn next(address: IpAddr) -> Option<IpAddr> {
    match address {
        IpAddr::V4(v4) => v4.to_bits().checked_add(1).map(|bits| Ipv4Addr::from_bits(bits).into()),
        IpAddr::V6(v6) => v6.to_bits().checked_add(1).map(|bits| Ipv6Addr::from_bits(bits).into()),
    }
}

/// Returns the address before this one. `None` before the first of its family.
fn previous(address: IpAddr) -> Option<IpAddr> {
    match address {
        IpAddr::V4(v4) => v4.to_bits().checked_sub(1).map(|bits| Ipv4Addr::from_bits(bits).into()),
        IpAddr::V6(v6) => v6.to_bits().checked_sub(1).map(|bits| Ipv6Addr::from_bits(bits).into()),
    }
}

// === impl Runs ===

impl Runs {
    /// Adds an address. Returns whether it was missing.
    pub(super) fn insert(&mut self, address: IpAddr) -> bool {
        if self.run_of(address).is_some() {
            return false;
        }
        let before = previous(address).and_then(|before| self.run_of(before));
        let after = next(address).and_then(|after| self.ends.remove(&after));
        let from = before.map_or(address, |(from, _)| from);
        self.ends.insert(from, after.unwrap_or(address));
        true
    }

    /// Removes an address. Returns whether it was there.
    pub(super) fn remove(&mut self, address: IpAddr) -> bool {
        let Some((from, to)) = self.run_of(address) else { return false };
        self.ends.remove(&from);
        if let Some(before) = previous(address).filter(|_| from < address) {
            self.ends.insert(from, before);
        }
        if let Some(after) = next(address).filter(|_| address < to) {
            self.ends.insert(after, to);
        }
        true
    }

    /// Returns the lowest address of a range that is missing.
    pub(super) fn first_missing(&self, range: &Range) -> Option<IpAddr> {
        match self.run_of(range.first()) {
            None => Some(range.first()),
            Some((_, to)) => next(to).filter(|free| range.contains(*free)),
        }
    }

    /// Returns the first and the last address of the run with this address.
    fn run_of(&self, address: IpAddr) -> Option<(IpAddr, IpAddr)> {
        let (from, to) = self.ends.range(..=address).next_back()?;
        (address <= *to).then_some((*from, *to))
    }
}
