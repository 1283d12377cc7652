//! The sockets of this network namespace that wait for datagrams or connections, from the kernel's `sock_diag` (man 7).
//! The kernel filters out connected sockets; `/proc/net/udp` would list each of ten thousand sessions. Entry point:
//! [`bound`].

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd as _, OwnedFd};

use nix::sys::socket::sockopt::ReceiveTimeout;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, setsockopt, socket,
};
use nix::sys::time::{TimeVal, TimeValLike as _};

use portreeve_agent_core::claims::Transport;
use portreeve_agent_core::translate::Families;
use portreeve_agent_core::translate::bind::Bind;

/// `nlmsghdr`.
const HEADER: usize = 16;
/// `inet_diag_msg`.
const MESSAGE: usize = 72;
/// `SOCK_DIAG_BY_FAMILY`.
const BY_FAMILY: u16 = 20;
/// `NLM_F_REQUEST | NLM_F_DUMP`.
const DUMP: u16 = 0x301;
/// `NLMSG_ERROR`.
const ERROR: u16 = 2;
/// `NLMSG_DONE`.
const DONE: u16 = 3;
/// `INET_DIAG_SKV6ONLY`.
const V6_ONLY: u16 = 11;
/// Timeout in seconds. The kernel normally answers immediately.
const PATIENCE_S: i64 = 1;

/// A socket that waits for datagrams or connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bound {
    pub(super) transport: Transport,
    pub(super) address: IpAddr,
    pub(super) port: u16,
    /// Whether it receives no IPv4 although its address is `::`.
    pub(super) v6_only: bool,
    /// Identifies the socket while it is open.
    pub(super) inode: u32,
    /// The user who opened it.
    pub(super) user: u32,
}

// === impl Bound ===

impl Bound {
    /// Returns the addresses whose traffic it receives. A socket on `::` also receives IPv4, unless it is restricted to
    /// IPv6.
    pub(super) fn bind(&self) -> Bind {
        match self.address {
            IpAddr::V6(any) if any.is_unspecified() && !self.v6_only => Bind::wildcard(Families::Dual),
            one => Bind::one(one),
        }
    }
}

/// Returns all such sockets.
///
/// # Errors
/// Returns an error if the kernel's answer can't be read.
pub(super) fn bound() -> io::Result<Vec<Bound>> {
    let kernel =
        socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkSockDiag)?;
    setsockopt(&kernel, ReceiveTimeout, &TimeVal::seconds(PATIENCE_S))?;
    let mut all = Vec::new();
    for family in [AddressFamily::Inet, AddressFamily::Inet6] {
        for transport in [Transport::Udp, Transport::Tcp] {
            ask(&kernel, family, transport)?;
            hear(&kernel, transport, &mut all)?;
        }
    }
    Ok(all)
}

/// Requests the unconnected UDP sockets, or the listening TCP sockets.
fn ask(kernel: &OwnedFd, family: AddressFamily, transport: Transport) -> io::Result<()> {
    // IPPROTO_UDP and TCP_CLOSE; IPPROTO_TCP and TCP_LISTEN.
    let (protocol, state) = match transport {
        Transport::Udp => (17, 1u32 << 7),
        Transport::Tcp => (6, 1u32 << 10),
    };
    let mut request = [0; HEADER + 56];
    let length = u32::try_from(request.len()).map_err(io::Error::other)?;
    request[..4].copy_from_slice(&length.to_ne_bytes());
    request[4..6].copy_from_slice(&BY_FAMILY.to_ne_bytes());
    request[6..8].copy_from_slice(&DUMP.to_ne_bytes());
    request[HEADER] = u8::try_from(family as i32).map_err(io::Error::other)?;
    request[HEADER + 1] = protocol;
    request[HEADER + 4..HEADER + 8].copy_from_slice(&state.to_ne_bytes());
    send(kernel.as_raw_fd(), &request, MsgFlags::empty())?;
    Ok(())
}

/// Reads the answer until its end.
fn hear(kernel: &OwnedFd, transport: Transport, all: &mut Vec<Bound>) -> io::Result<()> {
    let mut buffer = vec![0; 1 << 16];
    loop {
        let length = recv(kernel.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
        let mut rest = &buffer[..length];
        while let Some((kind, body, after)) = message(rest) {
            match kind {
                DONE => return Ok(()),
                ERROR => return Err(refusal(body)),
                _ => all.extend(parse(body, transport)),
            }
            rest = after;
        }
    }
}

/// Returns the first message's type and body, and the remaining bytes.
fn message(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let length = usize::try_from(number(bytes, 0)?).ok().filter(|length| *length >= HEADER)?;
    let kind = u16::from_ne_bytes(bytes.get(4..6)?.try_into().ok()?);
    let body = bytes.get(HEADER..length)?;
    Some((kind, body, bytes.get(length.next_multiple_of(4)..).unwrap_or_default()))
}

fn refusal(body: &[u8]) -> io::Error {
    let code = number(body, 0).map_or(0, |code| code.cast_signed());
    io::Error::from_raw_os_error(code.wrapping_neg())
}

/// Parses an `inet_diag_msg` with its attributes.
fn parse(body: &[u8], transport: Transport) -> Option<Bound> {
    let address = match i32::from(*body.first()?) {
        family if family == AddressFamily::Inet as i32 => {
            IpAddr::from(Ipv4Addr::from(<[u8; 4]>::try_from(body.get(8..12)?).ok()?))
        }
        _ => IpAddr::from(Ipv6Addr::from(<[u8; 16]>::try_from(body.get(8..24)?).ok()?)),
    };
    let port = u16::from_be_bytes(body.get(4..6)?.try_into().ok()?);
    let v6_only = flag(body.get(MESSAGE..)?, V6_ONLY);
    let (user, inode) = (number(body, MESSAGE - 8)?, number(body, MESSAGE - 4)?);
    Some(Bound { transport, address, port, v6_only, inode, user })
}

/// Returns whether the attribute of this type exists and is not zero.
fn flag(mut attributes: &[u8], wanted: u16) -> bool {
    let half = |bytes: &[u8], at: usize| Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?));
    while let (Some(length), Some(kind)) = (half(attributes, 0), half(attributes, 2)) {
        if kind == wanted {
            return attributes.get(4).is_some_and(|value| *value != 0);
        }
        let next = usize::from(length).max(4).next_multiple_of(4);
        attributes = attributes.get(next..).unwrap_or_default();
    }
    false
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, UdpSocket};
    use std::os::fd::AsFd as _;

    use super::*;

    fn find(transport: Transport, port: u16) -> Vec<Bound> {
        let of = |one: &Bound| (one.transport, one.port) == (transport, port);
        bound().unwrap().into_iter().filter(of).collect()
    }

    #[test]
    fn bound_sockets_are_found_with_their_inodes_and_connected_ones_are_not() {
        let udp = UdpSocket::bind("127.0.0.7:0").unwrap();
        let port = udp.local_addr().unwrap().port();
        let found = find(Transport::Udp, port);
        let inode = nix::sys::stat::fstat(udp.as_fd()).unwrap().st_ino;
        let addresses: Vec<_> = found.iter().map(|one| (one.address, u64::from(one.inode))).collect();
        assert_eq!(addresses, [("127.0.0.7".parse().unwrap(), inode)]);
        assert_eq!(found[0].user, nix::unistd::geteuid().as_raw());
        udp.connect("127.0.0.1:9").unwrap();
        assert_eq!(find(Transport::Udp, port), []);
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = tcp.local_addr().unwrap().port();
        let _dialled = std::net::TcpStream::connect(tcp.local_addr().unwrap()).unwrap();
        assert_eq!(find(Transport::Tcp, port).len(), 1, "and not the connections");
    }

    #[test]
    fn ipv6_sockets_tell_whether_they_take_ipv4() {
        for only in [true, false] {
            let family = AddressFamily::Inet6;
            let made = socket(family, SockType::Datagram, SockFlag::empty(), None).unwrap();
            setsockopt(&made, nix::sys::socket::sockopt::Ipv6V6Only, &only).unwrap();
            let any = nix::sys::socket::SockaddrIn6::from(std::net::SocketAddrV6::new(
                Ipv6Addr::UNSPECIFIED,
                0,
                0,
                0,
            ));
            if nix::sys::socket::bind(made.as_raw_fd(), &any).is_err() {
                return eprintln!("not run: this machine has no IPv6");
            }
            let inode = nix::sys::stat::fstat(made.as_fd()).unwrap().st_ino;
            let all = bound().unwrap();
            let found = all.iter().find(|one| u64::from(one.inode) == inode).unwrap();
            assert_eq!((found.address, found.v6_only), (Ipv6Addr::UNSPECIFIED.into(), only));
        }
    }

    #[test]
    fn bytes_that_mean_nothing_are_passed_over() {
        assert!(message(&[0; 15]).is_none() && message(&[0; 16]).is_none());
        assert!(parse(&[2; 40], Transport::Udp).is_none());
        assert!(!flag(&[0; 3], V6_ONLY) && !flag(&[0; 9], V6_ONLY));
        let body = (-2i32).to_ne_bytes();
        assert_eq!(refusal(&body).kind(), io::ErrorKind::NotFound);
    }
}
