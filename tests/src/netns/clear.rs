//! Cleaning a bed for the next test.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};

use super::{Bed, Netns};
use crate::wait::wait_until;

/// How long sockets of ended processes may stay. Long, because the machine may be busy.
const LINGER: Duration = Duration::from_secs(10);
/// The state of a listening TCP socket in the kernel's tables.
const LISTEN: &str = "0A";

// === impl Bed ===

impl Bed {
    /// Detaches all nodes and pods, and waits until no ports except `kept` are open in the bridge's namespace.
    ///
    /// # Errors
    /// Returns an error if another port stays open.
    pub fn clear(&self, kept: &BTreeSet<u16>) -> Result<()> {
        let shown = self.root.command("ip").args(["-o", "link", "show", "type", "veth"]).output()?;
        for name in String::from_utf8_lossy(&shown.stdout).lines().filter_map(link_name) {
            // The kernel may delete the link first, together with its namespace: a missing link is no error.
            self.root.command("ip").args(["link", "delete", name]).output()?;
        }
        let closed = || self.root.open_ports().is_ok_and(|open| open.is_subset(kept));
        wait_until("the bed's ports to be closed", LINGER, closed)
            .with_context(|| format!("{:?} are open, {kept:?} may be", self.root.open_ports()))
    }
}

// === impl Netns ===

impl Netns {
    /// Returns the listening TCP ports and all UDP ports inside.
    ///
    /// # Errors
    /// Returns an error if the namespace can't be entered or its tables can't be read.
    pub fn open_ports(&self) -> Result<BTreeSet<u16>> {
        self.enter(|| {
            let mut ports: BTreeSet<u16> =
                super::own_udp_sockets()?.iter().map(|socket| socket.port).collect();
            for family in ["tcp", "tcp6"] {
                // Without IPv6 in the kernel, there is no tcp6.
                let table = fs::read_to_string(format!("/proc/thread-self/net/{family}")).unwrap_or_default();
                ports.extend(table.lines().skip(1).filter_map(accepting));
            }
            Ok(ports)
        })?
    }
}

/// Returns the name in a line of `ip -o link`: `7: n1@if2: <…`.
fn link_name(line: &str) -> Option<&str> {
    let name = line.split_whitespace().nth(1)?.trim_end_matches(':');
    Some(name.split_once('@').map_or(name, |(name, _)| name))
}

/// Returns the port in a line of `/proc/net/tcp` if it is listening.
fn accepting(line: &str) -> Option<u16> {
    let mut fields = line.split_whitespace().skip(1);
    let (_, port) = fields.next()?.rsplit_once(':')?;
    (fields.nth(1)? == LISTEN).then(|| u16::from_str_radix(port, 16).ok())?
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, UdpSocket};

    use super::*;

    #[test]
    fn names_of_links_are_read_with_and_without_a_peer() {
        assert_eq!(link_name("7: n1@if2: <BROADCAST,UP> mtu 1500"), Some("n1"));
        assert_eq!(link_name("3: br0: <BROADCAST,UP> mtu 1500"), Some("br0"));
    }

    #[test]
    fn cleared_bed_takes_the_same_nodes_again_and_none_of_their_ports_is_open() {
        let bed = Bed::new().unwrap();
        let (node, pod) = (bed.node(1).unwrap(), bed.pod(1, 1).unwrap());
        let bind = || (TcpListener::bind(("10.77.0.1", 0)), UdpSocket::bind(("10.77.0.1", 0)));
        let (kept, closed) = bed.root().enter(bind).unwrap();
        let (kept, closed) = (kept.unwrap(), closed.unwrap());
        let port = closed.local_addr().unwrap().port();
        let ports = BTreeSet::from([kept.local_addr().unwrap().port()]);
        assert!(bed.root().open_ports().unwrap().contains(&port));
        drop(closed);
        bed.clear(&ports).unwrap();
        assert_eq!(bed.root().open_ports().unwrap(), ports);
        let again = (bed.node(1).unwrap(), bed.pod(1, 1).unwrap());
        assert_eq!((again.0.v4(), again.1.v4()), (node.v4(), pod.v4()));
        let reach = || std::net::TcpStream::connect(kept.local_addr().unwrap());
        again.0.enter(reach).unwrap().unwrap();
    }
}
