//! The Envoy that the agent gives its keepers: where the program is, and what Envoys count.

mod fetch;
pub mod locate;
pub mod stats;

pub use fetch::{Progress, VERSION};
pub use locate::{LocateError, locate};
