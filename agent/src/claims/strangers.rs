//! Ports that processes other than this node's proxies hold. With SO_REUSEPORT two Envoys of one user can open one port, and
//! the kernel then splits the senders between them in silence. So a listener is not sent to its proxy while a stranger holds
//! its port; one that is open already stays open, since closing it would end its sessions, and the stranger is told of.

use std::collections::BTreeMap;
use std::fmt;

use super::{Port, Transport, Wish};
use crate::translate::bind::Bind;

/// A process that holds a port of the host's network and is none of this node's proxies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stranger {
    /// The process, for people.
    pub who: String,
    /// The addresses that it, or another like it, has the port on.
    pub at: Vec<Bind>,
    /// A proxy of this node has the port open too.
    pub beside: bool,
    /// Whose socket it is has not been looked up yet: it may be a proxy's, so no listener that runs is taken away.
    pub unsure: bool,
}

/// Strangers by transport and port of the host's network.
pub type Strangers = BTreeMap<(Transport, u32), Stranger>;

/// What is known of strangers.
#[derive(Default)]
pub struct Known {
    /// Those that there are.
    pub by_port: Strangers,
    /// A listener may be held back for a socket of a proxy.
    pub guessed: bool,
}

/// A listener whose port a stranger holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// The port.
    pub port: Port,
    /// Who has it.
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
    /// The listeners whose ports strangers hold, of these wishes of a proxy on the host's network.
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

/// The listeners that are not to be sent.
pub fn held_back(taken: &BTreeMap<String, Taken>) -> impl Iterator<Item = &String> {
    taken.iter().filter(|(_, one)| !one.by.beside).map(|(listener, _)| listener)
}
