//! Who is at the other end of the agent's socket. The kernel says it, never the caller. Entry point: [`Door`].
//!
//! Socket → process ([`peer`]) → cgroup → pod ([`cgroup`]), or → the keeper of this agent whose child the process is →
//! NodeProxy. `node.id` is for the log. Whoever is neither is a stranger: refused with words, counted ([`refusals`]),
//! and kept from crowding out the others ([`seats`]).

pub mod cgroup;
mod door;
pub mod peer;
pub mod refusals;
pub mod seats;

pub use door::{Door, Who};
pub use refusals::Refused;

/// Whose word counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Identity {
    /// The kernel's: a proxy is the pod, or the keeper's child, that its process is.
    #[default]
    Kernel,
    /// The proxy's own: its `node.id` is believed, so every process that reaches the socket may pose as any proxy.
    Claimed,
}
