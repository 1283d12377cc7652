//! UDP traffic that accounts for every datagram: an [`Echo`] answers with its name and the source address that it saw,
//! and a [`Flow`] sends numbered datagrams and reports the fate of each.
//!
//! A datagram is `<socket>:<number>:xxx…`. Its answer has `|<echo's name>|<source address>` appended, so behind a proxy
//! the sender learns which endpoint answered and which upstream port the proxy used.

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

/// Requested buffer size of every socket, in bytes: enough for a second of traffic while the machine is busy.
const BUFFER: usize = 8 << 20;

/// Larger than the largest datagram, in bytes.
const LARGEST: usize = 65_536;

/// Binds a socket inside `namespace`, with large buffers.
///
/// # Errors
/// Returns an error if the address is taken or doesn't belong to the namespace.
pub fn socket(namespace: &Netns, address: SocketAddr) -> Result<UdpSocket> {
    let socket = namespace.enter(|| UdpSocket::bind(address))??;
    // Only root may exceed the system's limit; without root the size is cut to it.
    if setsockopt(&socket, sockopt::RcvBufForce, &BUFFER).is_err() {
        setsockopt(&socket, sockopt::RcvBuf, &BUFFER)?;
    }
    setsockopt(&socket, sockopt::SndBuf, &BUFFER)?;
    Ok(socket)
}
