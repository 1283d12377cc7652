//! Everything that a keeper knows about Envoy's program: bootstrap, command line, base ids, admin interface, and the
//! shared memory of hot restarts.

pub mod admin;
pub mod args;
pub mod base_id;
pub mod bootstrap;
pub mod extra;
pub(crate) mod shm;
pub(crate) mod stand_in;
pub mod statistics;

pub use bootstrap::{Bootstrap, BootstrapError, Family};
