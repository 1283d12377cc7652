//! The customer's end with a web service of EPIC's (seed C.5): what the node announces there, and the tunnels that it reads there.

mod announcer;
mod cluster;
mod web;

pub use announcer::Announcer;
pub use cluster::{Seen, watch_all};
pub use web::{Web, WebArgs};
