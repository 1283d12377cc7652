//! Whether a proxy can open a port that another socket already uses. Entry point: [`is_possible`].

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsRawFd as _;

use nix::sys::socket::sockopt::{ReuseAddr, ReusePort};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrStorage, bind, setsockopt, socket};
use portreeve_agent_core::claims::Transport;

use super::sockets::Bound;

/// An address without traffic: next to a wildcard socket, the attempt takes no datagram from it.
const UNUSED: Ipv4Addr = Ipv4Addr::new(127, 77, 84, 1);

/// Tries to open the port, because the kernel doesn't report whether a socket has SO_REUSEPORT. Without it, and for
/// sockets of other users, the proxy itself reports that the address is in use.
pub(super) fn is_possible(other: &Bound) -> bool {
    attempt(other).is_ok()
}

fn attempt(other: &Bound) -> nix::Result<()> {
    let address = match other.address {
        IpAddr::V6(any) if any.is_unspecified() && other.v6_only => Ipv6Addr::LOCALHOST.into(),
        any if any.is_unspecified() => IpAddr::from(UNUSED),
        one => one,
    };
    let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let kind = match other.transport {
        Transport::Udp => SockType::Datagram,
        Transport::Tcp => SockType::Stream,
    };
    let made = socket(family, kind, SockFlag::SOCK_CLOEXEC, None)?;
    setsockopt(&made, ReusePort, &true)?;
    if other.transport == Transport::Tcp {
        // Like Envoy: old connections are no obstacle.
        setsockopt(&made, ReuseAddr, &true)?;
    }
    bind(made.as_raw_fd(), &SockaddrStorage::from(SocketAddr::new(address, other.port)))
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, UdpSocket};

    use super::*;
    use crate::ports::sockets;

    fn find(port: u16) -> Bound {
        sockets::bound().unwrap().into_iter().find(|one| one.port == port).unwrap()
    }

    #[test]
    fn socket_that_lets_no_other_beside_it_is_told_from_one_that_does() {
        for address in ["0.0.0.0:0", "127.0.0.9:0"] {
            let alone = UdpSocket::bind(address).unwrap();
            assert!(!is_possible(&find(alone.local_addr().unwrap().port())), "{address}");
            let made = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None).unwrap();
            setsockopt(&made, ReusePort, &true).unwrap();
            let wanted: SocketAddr = address.parse().unwrap();
            bind(made.as_raw_fd(), &SockaddrStorage::from(wanted)).unwrap();
            let sociable = UdpSocket::from(made);
            assert!(is_possible(&find(sociable.local_addr().unwrap().port())), "{address}");
        }
        let alone = TcpListener::bind("0.0.0.0:0").unwrap();
        assert!(!is_possible(&find(alone.local_addr().unwrap().port())));
    }
}
