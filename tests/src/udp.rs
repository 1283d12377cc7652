//! UDP traffic whose every datagram is accounted for: an [`Echo`] answers with its name and the source that it saw,
//! a [`Flow`] sends numbered datagrams and reports what became of each.
//!
//! A datagram is `<socket>:<number>:xxx…`; its answer has `|<echo's name>|<source address that it saw>` appended, so
//! behind a proxy the sender learns which endpoint answered and from which upstream port the proxy reached it.

use std::net::{SocketAddr, UdpSocket};

use anyhow::Result;
use nix::sys::socket::{setsockopt, sockopt};

use crate::netns::Netns;

mod echo;
mod flow;
mod newcomers;
mod report;

pub use echo::{Echo, Seen};
pub use flow::{Flow, Running};
pub use newcomers::{Newcomer, Newcomers};
pub use report::{Answer, Datagram, Line, Report, STALL};

/// What every socket here asks for, in bytes: enough for a second of traffic while the machine is busy elsewhere.
const BUFFER: usize = 8 << 20;

/// A datagram's largest size, and a bit.
const LARGEST: usize = 65_536;

/// A bound socket inside `namespace`, with large buffers.
///
/// # Errors
/// The address is taken or not of the namespace.
pub fn socket(namespace: &Netns, address: SocketAddr) -> Result<UdpSocket> {
    let socket = namespace.enter(|| UdpSocket::bind(address))??;
    // The forced size passes the system's limit, but only for root; the other is cut to the limit.
    if setsockopt(&socket, sockopt::RcvBufForce, &BUFFER).is_err() {
        setsockopt(&socket, sockopt::RcvBuf, &BUFFER)?;
    }
    setsockopt(&socket, sockopt::SndBuf, &BUFFER)?;
    Ok(socket)
}
