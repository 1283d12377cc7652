//! What the agent has to know of the Envoy binary: where it is, its bootstrap, its command line and its base id.

pub mod args;
pub mod base_id;
pub mod bootstrap;
pub mod extra;
mod fetch;
pub mod locate;
pub mod stats;

pub use bootstrap::{Bootstrap, BootstrapError, Family};
pub use locate::{LocateError, Progress, locate};
