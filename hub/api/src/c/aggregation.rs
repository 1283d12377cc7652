//! What is routed for the addresses of a ServicePrefix: [`Aggregation`] (C18).

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use super::subnet::{Subnet, length};

/// What is routed for an address of a pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Aggregation {
    /// The subnet of the ServicePrefix.
    #[default]
    Default,
    /// The address's own subnet with this prefix length, in bits.
    Length(u8),
}

/// A text that is neither `default` nor a prefix length. It contains the text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be default, or a slash and a number of bits, for example /32; is {0:?}")]
pub struct AggregationError(pub String);

// === impl Aggregation ===

impl Aggregation {
    /// Returns the subnet to route for an address of a pool in this subnet; `None` if the prefix is longer than the
    /// address.
    pub fn route(self, subnet: Subnet, address: IpAddr) -> Option<Subnet> {
        match self {
            Self::Default => Some(subnet),
            Self::Length(bits) => Subnet::of(address, bits),
        }
    }
}

impl FromStr for Aggregation {
    type Err = AggregationError;

    fn from_str(text: &str) -> Result<Self, AggregationError> {
        let bits = text.strip_prefix('/').and_then(length).filter(|bits| *bits <= 128);
        match bits {
            Some(bits) => Ok(Self::Length(bits)),
            None if text == "default" => Ok(Self::Default),
            None => Err(AggregationError(text.to_owned())),
        }
    }
}

impl fmt::Display for Aggregation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Length(bits) => write!(f, "/{bits}"),
        }
    }
}
