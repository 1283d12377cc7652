//! Why an id, a key or an address was not allocated ([`Failure`]).

use portreeve_allocate::addresses::{AddressError, NotReserved, PoolError};
use portreeve_allocate::ids::{NotStored, UsedUp};
use portreeve_allocate::keys::KeyError;

/// Why an id, a key or an address was not allocated.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// No id is left.
    #[error(transparent)]
    UsedUp(#[from] UsedUp),
    /// The API server didn't store a counter.
    #[error(transparent)]
    NotStored(#[from] NotStored),
    /// There is no address.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// A ServicePrefix has an invalid pool.
    #[error(transparent)]
    Pool(#[from] PoolError),
    /// The API server didn't store a reservation.
    #[error(transparent)]
    NotReserved(#[from] NotReserved),
    /// There is no key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// Other programs changed an object at each attempt.
    #[error("{object} was changed by others at each of {attempts} attempts: it is tried again")]
    Contended {
        /// The object's kind and name.
        object: String,
        /// The number of attempts.
        attempts: usize,
    },
    /// An object that is needed doesn't exist, or isn't usable.
    #[error("{0}")]
    Missing(String),
    /// A request to the API server failed.
    #[error("the API server: {0}")]
    Api(#[from] kube::Error),
}

// === impl Failure ===

impl Failure {
    /// Returns whether the API server answered that there is no such object.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Api(kube::Error::Api(status)) if status.code == 404)
    }
}
