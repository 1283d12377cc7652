//! Half-open connections: both ends are established, but no packet passes. [`drop_established`] affects the existing
//! connections, [`cut`] all of a namespace. Neither end gets an error, because no router, reset or missing neighbour
//! reports the loss.

use std::fs;
use std::net::{IpAddr, SocketAddr};

use anyhow::{Result, bail, ensure};

use crate::netns::{Bed, Netns};

/// The state of an established connection in `/proc/net/tcp`.
const ESTABLISHED: &str = "01";

/// Drops all packets, in both directions, of the TCP connections (IPv4) that a namespace has to `server` now. Later
/// connections work. Returns the number of affected connections.
///
/// # Errors
/// Returns an error if there is no connection or `ip` fails.
pub fn drop_established(netns: &Netns, server: SocketAddr) -> Result<usize> {
    let table = netns.enter(|| fs::read_to_string("/proc/thread-self/net/tcp"))??;
    let ports: Vec<u16> = table
        .lines()
        .filter_map(connection)
        .filter(|(_, to)| *to == server.port())
        .map(|(from, _)| from)
        .collect();
    ensure!(!ports.is_empty(), "{} has no connection to {server}:\n{table}", netns.name());
    // Incoming packets are routed by the namespace's local table first, unless that rule comes after ours.
    let mut lines = vec!["rule add pref 10 lookup local".to_owned(), "rule del pref 0".to_owned()];
    for port in &ports {
        lines.push(format!("rule add pref 1 ipproto tcp sport {port} blackhole"));
        lines.push(format!("rule add pref 1 ipproto tcp dport {port} blackhole"));
    }
    netns.ip(&lines)?;
    Ok(ports.len())
}

/// Disconnects a node or pod, see [`Bed::cut`]. Neighbour tables stay valid, so nothing notices.
///
/// # Errors
/// Returns an error if the namespace doesn't belong to this bed.
pub fn cut(bed: &Bed, netns: &Netns) -> Result<()> {
    let (IpAddr::V4(own), IpAddr::V4(server)) = (netns.v4(), bed.root().v4()) else {
        bail!("{} has no IPv4 address", netns.name());
    };
    let [_, _, node, host] = own.octets();
    bed.root().ip(&[format!(
        "neigh replace {own} lladdr 02:77:00:00:{node:02x}:{host:02x} dev br0 nud permanent"
    )])?;
    netns.ip(&[format!("neigh replace {server} lladdr 02:77:00:00:00:00 dev eth0 nud permanent")])?;
    bed.cut(netns)
}

/// Returns local and remote port of an established connection.
fn connection(line: &str) -> Option<(u16, u16)> {
    let mut fields = line.split_whitespace().skip(1);
    let port = |address: &str| u16::from_str_radix(address.rsplit_once(':')?.1, 16).ok();
    let (from, to) = (port(fields.next()?)?, port(fields.next()?)?);
    (fields.next()? == ESTABLISHED).then_some((from, to))
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::time::Duration;

    use super::*;

    #[test]
    fn established_connections_carry_nothing_and_later_ones_do() {
        let bed = Bed::new().unwrap();
        let node = bed.node(1).unwrap();
        let address = SocketAddr::new(bed.root().v4(), 0);
        let listener = bed.root().enter(|| TcpListener::bind(address)).unwrap().unwrap();
        let server = listener.local_addr().unwrap();
        let connect = || {
            let near = node.enter(|| TcpStream::connect(server)).unwrap().unwrap();
            let (far, _) = listener.accept().unwrap();
            for end in [&near, &far] {
                end.set_read_timeout(Some(Duration::from_millis(700))).unwrap();
            }
            (near, far)
        };
        let passes = |(from, to): (&mut TcpStream, &mut TcpStream)| {
            from.write_all(b"x").is_ok() && to.read_exact(&mut [0]).is_ok()
        };
        let (mut near, mut far) = connect();
        assert!(passes((&mut near, &mut far)) && passes((&mut far, &mut near)));
        assert_eq!(drop_established(&node, server).unwrap(), 1);
        assert!(!passes((&mut near, &mut far)), "from the namespace");
        assert!(!passes((&mut far, &mut near)), "to the namespace");
        let (mut near, mut far) = connect();
        assert!(passes((&mut near, &mut far)) && passes((&mut far, &mut near)));
        cut(&bed, &node).unwrap();
        assert!(!passes((&mut near, &mut far)) && !passes((&mut far, &mut near)));
    }
}
