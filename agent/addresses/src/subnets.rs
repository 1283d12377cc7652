//! The choice of an interface for an address ([`Subnet::nearest`]).

use std::cmp::Reverse;
use std::net::IpAddr;

/// An address of an interface, with its subnet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Subnet {
    /// Index of the interface.
    pub(crate) interface: u32,
    /// The interface's own address.
    pub(crate) local: IpAddr,
    /// An address of the subnet: `local`, or the peer's address on a point-to-point link.
    pub(crate) base: IpAddr,
    /// Length of the subnet's prefix in bits.
    pub(crate) prefix: u8,
}

// === impl Subnet ===

impl Subnet {
    /// Returns the interface of the smallest subnet that contains an address, and of the lowest index among equals. The
    /// address alone, as /32 or /128, doesn't count.
    pub(crate) fn nearest(subnets: &[Self], address: IpAddr) -> Option<u32> {
        let around = subnets.iter().filter(|subnet| !subnet.is_single() && subnet.contains(address));
        around.max_by_key(|subnet| (subnet.prefix, Reverse(subnet.interface))).map(|subnet| subnet.interface)
    }

    /// Tells whether this is an address without a subnet: /32 or /128.
    pub(crate) fn is_single(&self) -> bool {
        self.prefix == single(self.local)
    }

    /// Tells whether the subnet contains an address.
    fn contains(&self, address: IpAddr) -> bool {
        let common = match (self.base, address) {
            (IpAddr::V4(base), IpAddr::V4(address)) => (base.to_bits() ^ address.to_bits()).leading_zeros(),
            (IpAddr::V6(base), IpAddr::V6(address)) => (base.to_bits() ^ address.to_bits()).leading_zeros(),
            _ => return false,
        };
        common >= u32::from(self.prefix)
    }
}

/// Returns the prefix length of a single address: 32 or 128.
pub(crate) fn single(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mk_subnet(interface: u32, address: &str, prefix: u8) -> Subnet {
        let local = address.parse().unwrap();
        Subnet { interface, local, base: local, prefix }
    }

    #[test]
    fn smallest_subnet_that_contains_the_address_is_nearest() {
        let subnets = [
            mk_subnet(1, "10.0.0.1", 8),
            mk_subnet(2, "10.1.0.1", 16),
            mk_subnet(3, "10.2.0.1", 16),
            mk_subnet(5, "10.1.0.2", 16),
            mk_subnet(7, "10.1.0.9", 32),
            mk_subnet(4, "2001:db8:1::1", 64),
        ];
        let table = [
            ("10.1.0.9", Some(2)),
            ("10.2.255.255", Some(3)),
            ("10.3.0.0", Some(1)),
            ("11.0.0.0", None),
            ("2001:db8:1::ffff", Some(4)),
            ("2001:db8:2::", None),
            ("::", None),
        ];
        for (address, interface) in table {
            assert_eq!(Subnet::nearest(&subnets, address.parse().unwrap()), interface, "{address}");
        }
    }

    #[test]
    fn subnet_of_a_point_to_point_link_is_the_peers() {
        let peer = Subnet { base: "192.0.2.1".parse().unwrap(), ..mk_subnet(1, "10.0.0.1", 24) };
        assert_eq!(Subnet::nearest(&[peer], "192.0.2.9".parse().unwrap()), Some(1));
        assert_eq!(Subnet::nearest(&[peer], "10.0.0.9".parse().unwrap()), None);
    }

    #[test]
    fn only_full_prefixes_are_single_addresses() {
        let table =
            [("10.0.0.1", 32, true), ("10.0.0.1", 31, false), ("fd77::1", 128, true), ("fd77::1", 32, false)];
        for (address, prefix, expected) in table {
            assert_eq!(mk_subnet(1, address, prefix).is_single(), expected, "{address}/{prefix}");
        }
    }
}
