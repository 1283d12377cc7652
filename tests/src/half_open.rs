//! Connections whose both ends believe in them while nothing passes: [`drop_established`] for those that are there now, and
//! [`cut`] for all of a namespace. No router, no refusal and no neighbour that is gone tells anybody.

use std::fs;
use std::net::{IpAddr, SocketAddr};

use anyhow::{Result, bail, ensure};

use crate::netns::{Bed, Netns};

/// The state of an established connection in `/proc/net/tcp`.
const ESTABLISHED: &str = "01";

/// Drops all that is sent, in both directions, over the TCP connections (of IPv4) that a namespace has to `server` now.
/// Later ones work. Returns how many there are.
///
/// # Errors
/// There is none; `ip` refuses.
pub fn drop_established(netns: &Netns, server: SocketAddr) -> Result<usize> {
    let table = netns.enter(|| fs::read_to_string("/proc/thread-self/net/tcp"))??;
    let ports: Vec<u16> = table
        .lines()
        .filter_map(connection)
        .filter(|(_, to)| *to == server.port())
        .map(|(from, _)| from)
        .collect();
    ensure!(!ports.is_empty(), "{} has no connection to {server}:\n{table}", netns.name());
    // What comes in is looked up among the namespace's own addresses first, unless that rule stands behind ours.
    let mut lines = vec!["rule add pref 10 lookup local".to_owned(), "rule del pref 0".to_owned()];
    for port in &ports {
        lines.push(format!("rule add pref 1 ipproto tcp sport {port} blackhole"));
        lines.push(format!("rule add pref 1 ipproto tcp dport {port} blackhole"));
    }
    netns.ip(&lines)?;
    Ok(ports.len())
}

/// Cuts a node or pod off, see [`Bed::cut`], without its and the servers' neighbour tables telling of it.
///
/// # Errors
/// It is not of this bed.
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

/// Local and remote port of an established connection.
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
