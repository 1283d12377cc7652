//! The other end of a GUE tunnel: [`TunnelPeer`].

use std::net::SocketAddrV4;

/// The customer's end of a tunnel, as its pings show it to a gateway (message `TunnelPeer`; seed C.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TunnelPeer {
    /// Where the pings come from.
    pub at: SocketAddrV4,
    /// The numbers in the pings, of the account and of the load balancer, which packets to this end have.
    pub ids: (u16, u16),
    /// When the first of these pings came from there, in milliseconds since the Unix epoch.
    pub since_ms: i64,
}
