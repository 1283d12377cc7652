//! Ports that processes other than this node's proxies hold. With SO_REUSEPORT two Envoys of one user can open one port, and
//! the kernel then splits the senders between them in silence. So a listener is not sent to its proxy while a stranger holds
//! its port; one that is open already stays open, since closing it would end its sessions, and the stranger is told of.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use portreeve_api::plan;

use super::claims::{Owner, Port, Transport};
use super::{ProxyId, World};
use crate::translate::bind::Bind;

/// The network namespace that is looked at.
const HOST: &str = "host";

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

/// What the world knows of strangers.
#[derive(Default)]
pub(super) struct Known {
    by_port: Strangers,
    /// A listener may be held back for a socket of a proxy.
    guessed: bool,
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

// === impl World ===

impl World {
    /// Takes the ports of the host's network that strangers hold now. Listeners that they keep from being served come back
    /// when their port is free.
    pub fn set_strangers(&mut self, strangers: Strangers) {
        let owners = self.concerned_by(&strangers);
        self.note_strangers(strangers);
        self.bring_up_to_date(owners);
    }

    /// The same where nobody is concerned.
    pub(crate) fn note_strangers(&mut self, strangers: Strangers) {
        let unsure = |port: &(Transport, u32)| strangers.get(port).is_some_and(|one| one.unsure);
        let guessed = self.wanted_ports().iter().any(unsure);
        self.strangers = Known { by_port: strangers, guessed };
    }

    /// Those whose listeners want a port of which something else is known than before.
    pub(crate) fn concerned_by(&self, strangers: &Strangers) -> BTreeSet<Owner> {
        let before = &self.strangers.by_port;
        let host = self.claims.ports().filter(|port| &*port.netns == HOST);
        let differs = |port: &&Port| {
            let key = (port.transport, port.number);
            before.get(&key) != strangers.get(&key)
        };
        host.filter(differs).flat_map(|port| self.claims.wanting(port)).collect()
    }

    /// Whether a listener is held back for a socket of which nobody has looked up yet whose it is.
    pub fn guesses_strangers(&self) -> bool {
        self.strangers.guessed
    }

    /// Whether there are proxies on the host's network that run in pods.
    pub fn has_pods_on_host(&self) -> bool {
        let mut proxies = self.proxies.iter();
        self.gateways.is_some()
            || proxies.any(|(id, proxy)| matches!(id, ProxyId::Pod(_)) && &*proxy.facts.netns == HOST)
    }

    /// The ports of the host's network that NodeProxies' listeners want.
    pub fn wanted_ports(&self) -> BTreeSet<(Transport, u32)> {
        let host = self.claims.ports().filter(|port| &*port.netns == HOST);
        host.map(|port| (port.transport, port.number)).collect()
    }

    /// The listeners of a Plan on a NodeProxy whose ports strangers hold.
    pub(super) fn taken(&mut self, id: &ProxyId, plan: &plan::Plan) -> BTreeMap<String, Taken> {
        let (ProxyId::Node(_), Some(proxy)) = (id, self.proxies.get(id)) else { return BTreeMap::new() };
        let mut taken = BTreeMap::new();
        for wish in proxy.facts.wishes(plan) {
            let Some(by) = self.strangers.by_port.get(&(wish.port.transport, wish.port.number)) else {
                continue;
            };
            if !by.at.iter().any(|at| at.overlaps(&wish.bind)) {
                continue;
            }
            self.strangers.guessed |= by.unsure;
            taken.insert(wish.listener, Taken { port: wish.port, by: by.clone() });
        }
        taken
    }
}

/// The listeners that are not to be sent.
pub(super) fn held_back(taken: &BTreeMap<String, Taken>) -> impl Iterator<Item = &String> {
    taken.iter().filter(|(_, one)| !one.by.beside).map(|(listener, _)| listener)
}
