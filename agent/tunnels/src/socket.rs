//! The outer UDP socket: [`Socket`] sends and receives several datagrams in one call.

use std::io;
use std::io::IoSliceMut;
use std::net::{IpAddr, SocketAddr, SocketAddrV4};

use nix::sys::socket::{setsockopt, sockopt};
use portreeve_gue::gateway::Way;
use quinn_udp::{RecvMeta, Transmit, UdpSocketState};
use tokio::io::Interest;
use tokio::net::UdpSocket;

use crate::Passage;

/// How many bytes wait in the kernel to be received. One call sends up to 64 kB at once, and what comes while the process doesn't
/// run must not be lost.
const WAITING: usize = 4 << 20;

/// A UDP socket of the tunnels.
#[derive(Debug)]
pub struct Socket {
    socket: UdpSocket,
    state: UdpSocketState,
    passage: Passage,
}

// === impl Socket ===

impl Socket {
    /// Binds a socket in the network namespace of this thread. Call it inside a tokio runtime.
    ///
    /// # Errors
    /// Returns an error if the port is taken.
    pub fn bind(at: SocketAddrV4, passage: Passage) -> io::Result<Self> {
        let socket = std::net::UdpSocket::bind(at)?;
        let state = UdpSocketState::new((&socket).into())?;
        socket.set_nonblocking(true)?;
        // More than the node's limit takes the capability; up to the limit is better than nothing.
        if setsockopt(&socket, sockopt::RcvBufForce, &WAITING).is_err() {
            setsockopt(&socket, sockopt::RcvBuf, &WAITING)?;
        }
        if passage == Passage::Alone {
            setsockopt(&socket, sockopt::UdpGroSegment, &false)?;
        }
        Ok(Self { socket: UdpSocket::from_std(socket)?, state, passage })
    }

    /// Returns the address that it is bound to.
    ///
    /// # Errors
    /// Returns an error of the kernel.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Sends one datagram.
    ///
    /// # Errors
    /// Returns an error if the destination can't be reached.
    pub async fn send(&self, to: SocketAddrV4, payload: &[u8]) -> io::Result<()> {
        self.socket.send_to(payload, to).await.map(drop)
    }

    /// Returns how many datagrams of the same length and destination the kernel takes at once.
    pub(crate) fn most_segments(&self) -> usize {
        match self.passage {
            Passage::Together => self.state.max_gso_segments().max(1),
            Passage::Alone => 1,
        }
    }

    /// Sends datagrams of this length, of which the last may be shorter. What the kernel or the network refuses is lost, as
    /// datagrams are.
    pub(crate) async fn send_all(&self, way: Way, datagrams: &[u8], length: usize) {
        // An address behind another machine's translation, or one that has just moved away, is not this node's.
        for src_ip in way.from.map(|from| Some(IpAddr::V4(from))).into_iter().chain([None]) {
            let transmit = Transmit {
                destination: way.to.into(),
                ecn: None,
                contents: datagrams,
                segment_size: Some(length),
                src_ip,
            };
            let sent = || self.state.try_send((&self.socket).into(), &transmit);
            if self.socket.async_io(Interest::WRITABLE, sent).await.is_ok() {
                return;
            }
        }
        // The interface may not take them at once.
        for one in datagrams.chunks(length) {
            let _ = self.socket.send_to(one, way.to).await;
        }
    }

    /// Receives into the buffers, each of which may get several datagrams. Returns the number of filled buffers.
    pub(crate) async fn receive(&self, buffers: &mut [Vec<u8>], metas: &mut [RecvMeta]) -> io::Result<usize> {
        let mut slices: Vec<_> = buffers.iter_mut().map(|buffer| IoSliceMut::new(buffer)).collect();
        let receive = || self.state.recv((&self.socket).into(), &mut slices, metas);
        self.socket.async_io(Interest::READABLE, receive).await
    }
}
