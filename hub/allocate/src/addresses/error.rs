//! Why pools and addresses are refused: [`PoolError`], [`AddressError`], [`Contest`], [`NotReserved`].

use std::fmt;
use std::net::IpAddr;

use portreeve_api::c::range::Range;

use crate::Owner;

/// Why a pool is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PoolError {
    /// The pool has no range.
    #[error("ServicePrefix {pool} has no addresses: set spec.pool to FROM-TO or a CIDR")]
    Empty {
        /// The pool's name.
        pool: String,
    },
    /// Two ranges of the same pool overlap.
    #[error("ServicePrefix {pool} has some addresses twice: {one} and {other} overlap: change one of them")]
    Within {
        /// The pool's name.
        pool: String,
        /// The lower range.
        one: Range,
        /// The other range.
        other: Range,
    },
    /// Ranges of two pools overlap.
    #[error(
        "the pool {range} of ServicePrefix {pool} overlaps {other_range} of ServicePrefix {other}: change spec.pool of one of \
         them, because an address must be in one pool only"
    )]
    Overlap {
        /// The refused pool's name.
        pool: String,
        /// Its range.
        range: Range,
        /// The other pool's name.
        other: String,
        /// The other pool's range.
        other_range: Range,
    },
}

/// Why an owner gets no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// The wanted address is another owner's.
    #[error(
        "{owner}: address {address} is in use by {holder}: choose another spec.public-address, or leave it empty to get a free \
         one"
    )]
    Taken {
        /// Who asked.
        owner: Owner,
        /// The wanted address.
        address: IpAddr,
        /// Who has it.
        holder: Owner,
    },
    /// The pool has no free address.
    #[error(
        "{owner}: pool {pool} has no free address, all {size} are in use: widen spec.pool of ServicePrefix {pool}, or delete a \
         LoadBalancer that has one of its addresses"
    )]
    Exhausted {
        /// Who asked.
        owner: Owner,
        /// The pool's name.
        pool: String,
        /// The pool's number of addresses.
        size: u128,
    },
    /// There is no pool of this name.
    #[error("{owner}: there is no address pool {pool}{known}: create ServicePrefix {pool}, or name another one", known = list(known))]
    NoPool {
        /// Who asked.
        owner: Owner,
        /// The pool's name.
        pool: String,
        /// The names of the pools that exist.
        known: Vec<String>,
    },
}

/// Two stored objects have the same address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contest {
    /// The address.
    pub address: IpAddr,
    /// The older object, which keeps it.
    pub keeper: Owner,
    /// The other object, which doesn't have it.
    pub loser: Owner,
}

/// The API server's answer doesn't contain the reservation that was written, so its address must not be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{owner}: address {address} is not reserved: {parent} was written at resourceVersion {version}, but the answer doesn't have \
     the reservation: replace the /status subresource, and begin again with a new read"
)]
pub struct NotReserved {
    /// The parent's kind and name.
    pub parent: String,
    /// The resourceVersion that the write carried.
    pub version: String,
    /// Who asked.
    pub owner: Owner,
    /// The address.
    pub address: IpAddr,
}

/// The longest list of pools in an error.
const LISTED: usize = 5;

fn list(known: &[String]) -> String {
    let more = if known.len() > LISTED { ", ..." } else { "" };
    match known {
        [] => " (there are none)".to_owned(),
        known => format!(" (there are: {}{more})", known[..known.len().min(LISTED)].join(", ")),
    }
}

// === impl Contest ===

impl fmt::Display for Contest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { address, keeper, loser } = self;
        write!(
            f,
            "{loser}: its address {address} belongs to {keeper}, which is older: choose another spec.public-address, or recreate \
             {loser} without one to get a free one"
        )
    }
}

impl std::error::Error for Contest {}
