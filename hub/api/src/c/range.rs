//! The addresses of a ServicePrefix's pool: [`Range`] (C18).

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use super::subnet::{self, Subnet, width};

/// Addresses from a first to a last one, both included. IPv4 and IPv6 are never mixed.
///
/// Its text is `FROM-TO` or a CIDR (seed C.2 ServicePrefix), with or without spaces around each part. Both ends of a CIDR are
/// usable, and bits after the prefix are ignored, as in Go. It prints as `FROM-TO`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Range {
    first: IpAddr,
    last: IpAddr,
}

/// Why a text or two addresses aren't a range. The caller adds the field's path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RangeError {
    /// The text has neither `-` nor `/`.
    #[error(
        "{text:?} is no range of addresses: write FROM-TO or a CIDR, for example 192.0.2.10-192.0.2.20 or 192.0.2.0/28"
    )]
    Form {
        /// The whole text.
        text: String,
    },
    /// A part of the text isn't an address.
    #[error(
        "{text:?} is no range of addresses, because {part:?} is no address: write FROM-TO or a CIDR of IPv4 or IPv6"
    )]
    Address {
        /// The whole text.
        text: String,
        /// The part that isn't an address.
        part: String,
    },
    /// The prefix is too long, or isn't a number.
    #[error("{address}/{length} is no CIDR: its prefix length must be a number from 0 to {most}")]
    Length {
        /// The address.
        address: IpAddr,
        /// The prefix length as it was written.
        length: String,
        /// The longest prefix of this family, in bits.
        most: u8,
    },
    /// The last address is below the first.
    #[error("{first}-{last} is empty, because it ends before it begins: write the lower address first")]
    Backwards {
        /// The first address.
        first: IpAddr,
        /// The last address.
        last: IpAddr,
    },
    /// One end is an IPv4 address, the other an IPv6 address.
    #[error("{first}-{last} mixes IPv4 and IPv6: use a ServicePrefix for each")]
    Families {
        /// The first address.
        first: IpAddr,
        /// The last address.
        last: IpAddr,
    },
    /// An end is an IPv4 address in IPv6 notation.
    #[error("{address} is an IPv4 address in IPv6 notation: write IPv4 ranges in IPv4, as {plain}")]
    Mapped {
        /// The address as it was written.
        address: IpAddr,
        /// The same address in IPv4.
        plain: IpAddr,
    },
}

/// Removes the spaces around a part of a range. The CRD's pattern allows no other white space.
fn trimmed(part: &str) -> &str {
    part.trim_matches(' ')
}

/// Parses an address in the text of a range.
fn address(text: &str, part: &str) -> Result<IpAddr, RangeError> {
    let part = trimmed(part);
    part.parse().map_err(|_| RangeError::Address { text: text.to_owned(), part: part.to_owned() })
}

// === impl Range ===

impl Range {
    /// Creates a range from its ends.
    ///
    /// # Errors
    /// Returns an error if the ends are of two families or in the wrong order, or are IPv4 addresses written as IPv6.
    pub fn new(first: IpAddr, last: IpAddr) -> Result<Self, RangeError> {
        if let Some(mapped) = [first, last].into_iter().find(|end| end.to_canonical() != *end) {
            return Err(RangeError::Mapped { address: mapped, plain: mapped.to_canonical() });
        }
        if first.is_ipv4() != last.is_ipv4() {
            return Err(RangeError::Families { first, last });
        }
        if first > last {
            return Err(RangeError::Backwards { first, last });
        }
        Ok(Self { first, last })
    }

    /// Returns the first address.
    pub const fn first(&self) -> IpAddr {
        self.first
    }

    /// Returns the last address.
    pub const fn last(&self) -> IpAddr {
        self.last
    }

    /// Returns the number of addresses, at most [`u128::MAX`], which is one less than `::/0` has.
    pub fn size(&self) -> u128 {
        (subnet::number(self.last) - subnet::number(self.first)).saturating_add(1)
    }

    /// Returns whether an address is in the range.
    pub fn contains(&self, address: IpAddr) -> bool {
        (self.first..=self.last).contains(&address)
    }

    /// Returns whether the ranges share an address. Pools must not (C18).
    pub fn overlaps(&self, other: &Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

impl FromStr for Range {
    type Err = RangeError;

    fn from_str(text: &str) -> Result<Self, RangeError> {
        if let Some((first, last)) = text.split_once('-') {
            return Self::new(address(text, first)?, address(text, last)?);
        }
        let Some((network, length)) = text.split_once('/') else {
            return Err(RangeError::Form { text: text.to_owned() });
        };
        let (network, length) = (address(text, network)?, trimmed(length));
        let wrong =
            || RangeError::Length { address: network, length: length.to_owned(), most: width(network) };
        let subnet = subnet::length(length).and_then(|bits| Subnet::of(network, bits)).ok_or_else(wrong)?;
        Self::new(subnet.address(), subnet.last())
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}
