//! The driver of l7mp proxies (entry point: [`run`]): it makes one proxy have the desired resources by the proxy's REST
//! API, and tells what the proxy confirmed and refused.
//!
//! It is level-triggered. It reads back what the proxy has, plans the steps to the desired state in an order that is safe
//! at every moment, and remembers each confirmed step, so that a change costs only its own requests. The plan is pure;
//! [`driver`] is the shell. Objects that the driver didn't make are never touched.

mod action;
mod actual;
mod client;
pub mod desired;
pub mod driver;
pub mod inbox;
mod link;
mod making;
pub mod names;
pub mod report;
mod rules;
#[cfg(test)]
mod samples;
mod sessions;
mod slot;
mod steps;
mod wanted;

pub use desired::{Changes, ClusterEntry, Desired};
pub use driver::{Target, Timing, run};
pub use inbox::{Receiver, Sender, channel};
pub use names::{Key, Kind};
pub use report::Answer;
