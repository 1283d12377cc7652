//! Where a listener's connections or datagrams go: [`Target`].

use std::time::Duration;

use portreeve_agent_core::translate::Streams;
use portreeve_api::model::Balancer;

/// Where a listener's connections go.
pub struct Target<'a> {
    /// The listener's name, for statistics.
    pub listener: &'a str,
    /// The cluster's name.
    pub cluster: &'a str,
    /// The cluster's balancer.
    pub balancer: Option<&'a Balancer>,
    /// How long a connection may be idle.
    pub idle: Duration,
    /// How the proxy subscribes.
    pub streams: &'a Streams,
}

// === impl Target ===

impl Target<'_> {
    /// Returns whether an endpoint is chosen by the client's address.
    pub fn by_source(&self) -> bool {
        matches!(self.balancer, Some(Balancer::SourceAddress))
    }
}
