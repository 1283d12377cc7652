//! Subnets of ServicePrefixes: [`Subnet`].

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// A subnet. IPv4 and IPv6 are never mixed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subnet {
    /// The first address; the bits after the prefix are 0.
    address: IpAddr,
    /// The length of the prefix, in bits.
    bits: u8,
}

/// A text that is no subnet in CIDR notation. It contains the text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be an address, a slash and the number of bits, for example 192.168.77.0/24; is {0:?}")]
pub struct SubnetError(pub String);

/// Parses the length of a prefix in bits: digits only.
pub(super) fn length(text: &str) -> Option<u8> {
    text.parse().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Returns the number of bits of an address.
pub(super) fn width(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// Returns the bits of an address as a number.
pub(super) fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_bits().into(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// Returns the address with this number of the same family. Numbers come from addresses of that family.
fn with_number(family: IpAddr, number: u128) -> IpAddr {
    match family {
        IpAddr::V4(_) => Ipv4Addr::from(u32::try_from(number).unwrap_or(u32::MAX)).into(),
        IpAddr::V6(_) => Ipv6Addr::from(number).into(),
    }
}

/// Returns the number with this many lowest bits.
fn ones(bits: u8) -> u128 {
    1u128.checked_shl(bits.into()).map_or(u128::MAX, |one| one - 1)
}

// === impl Subnet ===

impl Subnet {
    /// Returns the subnet of this prefix length that an address is in; `None` if the family's addresses are shorter.
    pub fn of(address: IpAddr, bits: u8) -> Option<Self> {
        let rest = width(address).checked_sub(bits)?;
        let address = with_number(address, number(address) & !ones(rest));
        Some(Self { address, bits })
    }

    /// Returns the first address.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// Returns the length of the prefix, in bits.
    pub fn bits(&self) -> u8 {
        self.bits
    }

    /// Returns whether an address is in the subnet.
    pub fn contains(&self, address: IpAddr) -> bool {
        Self::of(address, self.bits) == Some(*self)
    }

    /// Returns the last address.
    pub(super) fn last(&self) -> IpAddr {
        with_number(self.address, number(self.address) | ones(width(self.address) - self.bits))
    }
}

impl FromStr for Subnet {
    type Err = SubnetError;

    fn from_str(text: &str) -> Result<Self, SubnetError> {
        let parse = || {
            let (address, bits) = text.split_once('/')?;
            Self::of(address.parse().ok()?, length(bits)?)
        };
        parse().ok_or_else(|| SubnetError(text.to_owned()))
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}
