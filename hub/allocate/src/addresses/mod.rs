//! Public addresses: pools of ServicePrefixes, and who has which address (seed C.2 ServicePrefix, C.3 "Address", row C18).
//!
//! [`AddressBook`] is the entry point. It knows what the stored objects say, and allocates in its own memory: enough for one
//! allocator. Where several compete, [`AddressBook::reserve`] takes the place of [`AddressBook::allocate`]: an address is then
//! handed out only once its reservation is stored in the pool's parent object.

mod book;
mod error;
mod pool;
mod reservation;
mod runs;

pub use book::{AddressBook, Claim, Request, Usage};
pub use error::{AddressError, Contest, NotReserved, PoolError};
pub use pool::Pool;
pub use reservation::{AddressDraw, Parent, Reservations, ReservedAddress};

/// The pool of owners that name none (seed C.3 "Address").
pub const DEFAULT_POOL: &str = "default";
