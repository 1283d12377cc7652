//! Envoy's program as its keeper has to know it: its bootstrap, command line and base ids, its admin interface and the memory
//! that hot restarts share.

pub mod admin;
pub mod args;
pub mod base_id;
pub mod bootstrap;
pub mod extra;
pub(crate) mod shm;
pub mod statistics;

pub use bootstrap::{Bootstrap, BootstrapError, Family};
