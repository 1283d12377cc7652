//! The Envoy that the agent gives to its keepers, and Envoys' statistics.

mod fetch;
pub mod locate;
pub mod stats;

pub use fetch::{Progress, VERSION};
pub use locate::{LocateError, locate};
