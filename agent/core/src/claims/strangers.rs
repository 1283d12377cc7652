//! Ports that processes other than this node's proxies hold. With SO_REUSEPORT two Envoys of the same user
//! can open the same port, and the kernel then silently splits the senders between them. So a listener is not
//! sent to its proxy while another process holds its port. A listener that is already open stays open,
//! because closing it would end its sessions; its status reports the other process.

use std::collections::BTreeMap;
use std::fmt;

use super::{Port, Transport, Wish};
use crate::translate::bind::Bind;

/// A process that holds a port of the host's network and is not a proxy of this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stranger {
    /// The process, for messages.
    pub who: String,
    /// The addresses on which this process, or another one that is not a proxy, holds the port.
    pub at: Vec<Bind>,
    /// A proxy of this node has the port open too.
    pub beside: bool,
    /// The socket's process has not been looked up yet. It may be a proxy, so no running listener is removed.
    pub unsure: bool,
}

/// Such processes by transport and port of the host's network.
pub type Strangers = BTreeMap<(Transport, u32), Stranger>;

/// The known processes that hold ports.
#[derive(Default)]
pub struct Known {
    /// The processes by port.
    pub by_port: Strangers,
    /// A listener may be held back for a proxy's own socket.
    pub guessed: bool,
}

/// A listener whose port is held by a process that is not a proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// The port.
    pub port: Port,
    /// The process that holds it.
    pub by: Stranger,
}

impl fmt::Display for Taken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let transport = match self.port.transport {
            Transport::Udp => "udp",
            Transport::Tcp => "tcp",
        };
        let (number, who) = (self.port.number, &self.by.who);
        if self.by.beside {
            write!(f, "{transport} port {number} is in use by {who} too, which gets a part of the traffic")?;
        } else {
            write!(f, "{transport} port {number} is in use by {who}")?;
        }
        f.write_str(", which is no proxy of this node: end that process, or choose another port")
    }
}

// === impl Known ===

impl Known {
    /// Returns the listeners whose ports other processes hold, among the requests of a proxy on the host's
    /// network.
    pub fn taken(&mut self, wishes: Vec<Wish>) -> BTreeMap<String, Taken> {
        let mut taken = BTreeMap::new();
        for wish in wishes {
            let Some(by) = self.by_port.get(&(wish.port.transport, wish.port.number)) else { continue };
            if !by.at.iter().any(|at| at.overlaps(&wish.bind)) {
                continue;
            }
            self.guessed |= by.unsure;
            taken.insert(wish.listener, Taken { port: wish.port, by: by.clone() });
        }
        taken
    }
}

/// Returns the listeners that must not be sent.
pub fn held_back(taken: &BTreeMap<String, Taken>) -> impl Iterator<Item = &String> {
    taken.iter().filter(|(_, one)| !one.by.beside).map(|(listener, _)| listener)
}
