//! Sockets that send Ethernet frames ([`PacketSocket`]) and receive ARP and neighbour discovery ([`ProbeSocket`]).

use std::os::fd::{AsRawFd, OwnedFd};

use anyhow::{Context, Result, ensure};
use nix::ifaddrs::getifaddrs;
use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, bind, sendto, socket,
};
use socket2::{SockFilter, SockRef};
use tokio::net::UdpSocket;

/// An `AF_PACKET` socket that only sends: it is bound to no protocol, so it receives nothing.
#[derive(Debug)]
pub(crate) struct PacketSocket(OwnedFd);

/// An `AF_PACKET` socket that receives the ARP and neighbour discovery frames of one interface. Only its type is that of a UDP
/// socket, because tokio has no safe type for others: frames are received by the same system call.
#[derive(Debug)]
pub(crate) struct ProbeSocket(UdpSocket);

/// Instructions of a classic BPF program: load a half-word or a byte from the frame, jump if it equals a value, and return the
/// number of bytes to receive.
const LOAD_HALF: u16 = 0x28;
const LOAD_BYTE: u16 = 0x30;
const JUMP_EQUAL: u16 = 0x15;
const RETURN: u16 = 0x06;

/// Receives ARP, and ICMPv6 of the types 135 and 136, alone: a gateway's own traffic would fill the socket's buffer. Each jump
/// skips as many instructions as it says, if the value is equal and if it isn't.
const FILTER: [SockFilter; 10] = [
    SockFilter::new(LOAD_HALF, 0, 0, 12),
    SockFilter::new(JUMP_EQUAL, 6, 0, 0x0806),
    SockFilter::new(JUMP_EQUAL, 0, 6, 0x86dd),
    SockFilter::new(LOAD_BYTE, 0, 0, 20),
    SockFilter::new(JUMP_EQUAL, 0, 4, 58),
    SockFilter::new(LOAD_BYTE, 0, 0, 54),
    SockFilter::new(JUMP_EQUAL, 1, 0, 135),
    SockFilter::new(JUMP_EQUAL, 0, 1, 136),
    SockFilter::new(RETURN, 0, 0, 0xffff),
    SockFilter::new(RETURN, 0, 0, 0),
];

/// An interface that a [`PacketSocket`] can send through.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Port {
    /// Index and hardware address, as the kernel wants them.
    address: LinkAddr,
    /// The interface's current MAC.
    pub(crate) mac: [u8; 6],
}

// === impl PacketSocket ===

impl PacketSocket {
    /// Opens a socket in the thread's network namespace.
    ///
    /// # Errors
    /// Returns an error without `CAP_NET_RAW`.
    pub(crate) fn open() -> Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = socket(AddressFamily::Packet, SockType::Raw, flags, None)
            .context("opening a packet socket: the process needs the capability NET_RAW")?;
        Ok(Self(socket))
    }

    /// Sends a whole frame, without waiting for room in the interface's queue.
    ///
    /// # Errors
    /// Returns an error if the interface is down or gone, or its queue is full.
    pub(crate) fn send(&self, port: &Port, frame: &[u8]) -> Result<()> {
        let sent = sendto(self.0.as_raw_fd(), frame, &port.address, MsgFlags::empty())?;
        ensure!(sent == frame.len(), "only {sent} of {} bytes were sent", frame.len());
        Ok(())
    }
}

// === impl ProbeSocket ===

impl ProbeSocket {
    /// Opens a socket on an interface. Call it inside a tokio runtime.
    ///
    /// # Errors
    /// Returns an error without `CAP_NET_RAW`, or if the interface is gone.
    pub(crate) fn open(port: &Port) -> Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = socket(AddressFamily::Packet, SockType::Raw, flags, SockProtocol::EthAll)
            .context("opening a packet socket: the process needs the capability NET_RAW")?;
        SockRef::from(&socket).attach_filter(&FILTER).context("filtering a packet socket")?;
        bind(socket.as_raw_fd(), &port.address).context("binding a packet socket to the interface")?;
        Ok(Self(UdpSocket::from_std(socket.into())?))
    }

    /// Receives the next frame. Returns its length.
    ///
    /// # Errors
    /// Returns an error if the interface is down or gone.
    pub(crate) async fn receive(&self, frame: &mut [u8]) -> Result<usize> {
        Ok(self.0.recv(frame).await?)
    }
}

// === impl Port ===

impl Port {
    /// Returns the interface with an index.
    ///
    /// # Errors
    /// Returns an error if there is none, or if it isn't an Ethernet interface.
    pub(crate) fn find(index: u32) -> Result<Self> {
        let all = getifaddrs().context("listing the interfaces")?;
        let links = all.filter_map(|entry| entry.address?.as_link_addr().copied());
        let address = links
            .into_iter()
            .find(|link| u32::try_from(link.ifindex()) == Ok(index))
            .with_context(|| format!("no interface has the index {index}: it was removed"))?;
        ensure!(address.halen() == 6, "the interface with the index {index} isn't an Ethernet interface");
        let mac = address.addr().context("the interface has no MAC")?;
        Ok(Self { address, mac })
    }

    /// Returns the interface's index.
    pub(crate) fn index(&self) -> u32 {
        self.address.ifindex() as u32
    }
}
