//! Identifies the peers of the agent's socket, by the kernel's information and never by their own claims. Entry point:
//! [`Door`].
//!
//! A socket leads to a process ([`crate::witness`]), and the process to its cgroup and pod ([`cgroup`]), or to the keeper of this
//! agent whose child it is, and so to a NodeProxy. `node.id` is only used in logs. Any other process is a stranger: it
//! is refused with a message, counted ([`refusals`]), and can't crowd out other peers ([`seats`]).

pub mod cgroup;
mod door;
pub mod refusals;
pub mod seats;

pub use door::{Door, Who};
pub use refusals::Refused;

/// How proxies are identified.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Identity {
    /// By the kernel: a proxy is the pod, or the keeper's child, that its process belongs to.
    #[default]
    Kernel,
    /// By the proxy's own `node.id`, so every process that reaches the socket may pose as any proxy.
    Claimed,
}
