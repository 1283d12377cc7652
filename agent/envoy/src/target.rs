//! Where a listener's connections or datagrams go: [`Target`].

use std::time::Duration;

use portreeve_agent_core::translate::Streams;

use super::hash::Hash;
use super::retries::Retries;

/// Where a listener's connections go.
pub struct Target<'a> {
    /// The listener's name, for statistics.
    pub listener: &'a str,
    /// The cluster's name.
    pub cluster: &'a str,
    /// Whether the cluster may be missing, because another Plan defines it.
    pub may_dangle: bool,
    /// The value that chooses the endpoint.
    pub hash: &'a Hash,
    /// What is spoken on the connections.
    pub layer: Layer,
    /// Retries of requests whose connection fails.
    pub retries: Option<Retries>,
    /// How long a connection may be idle.
    pub idle: Duration,
    /// How the proxy subscribes.
    pub streams: &'a Streams,
}

/// What is spoken on a listener's connections, as far as the proxy reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layer {
    /// Bytes that it doesn't read.
    Bytes,
    /// HTTP/1.1 or HTTP/2.
    Http,
    /// WebSocket only.
    WebSocket,
}
