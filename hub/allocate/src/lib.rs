//! The allocators of API C (EPIC): ids ([`ids`]), tunnel keys ([`keys`]) and public addresses ([`addresses`]).
//!
//! All of it is synchronous and has neither clock, client nor randomness of its own. The caller reads the stored objects,
//! asks for a value, and writes what it gets. Several allocators may compete, and each may end at any step: ids and
//! addresses are handed out only once the object that guards them is stored with its resourceVersion (seed C.3 "Ids", C.7).

pub mod addresses;
pub mod ids;
pub mod keys;
mod owner;

pub use owner::Owner;
