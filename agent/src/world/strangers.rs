//! The world's verbs about ports that processes other than this node's proxies hold.

use std::collections::BTreeSet;

use portreeve_api::refs::ProxyId;

use super::World;
use crate::claims::strangers::{Known, Strangers};
use crate::claims::{Owner, Port, Transport};
use crate::fleet::AnyFleet;

/// The network namespace that is looked at.
const HOST: &str = "host";

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
        let on_host = |fleet: &dyn AnyFleet| {
            let pods = fleet.ids().into_iter().filter(|id| matches!(id, ProxyId::Pod(_)));
            pods.filter_map(|id| fleet.facts(&id)).any(|facts| &*facts.netns == HOST)
        };
        self.gateways.is_some() || self.fleets.all().any(on_host)
    }

    /// The ports of the host's network that NodeProxies' listeners want.
    pub fn wanted_ports(&self) -> BTreeSet<(Transport, u32)> {
        let host = self.claims.ports().filter(|port| &*port.netns == HOST);
        host.map(|port| (port.transport, port.number)).collect()
    }
}
