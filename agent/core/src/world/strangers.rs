//! The world's verbs for ports that other processes than this node's proxies hold.

use std::collections::BTreeSet;

use portreeve_api::refs::ProxyId;

use super::World;
use crate::claims::strangers::{Known, Strangers};
use crate::claims::{Owner, Port, Transport};
use crate::fleet::AnyFleet;

/// The network namespace that is inspected.
pub(super) const HOST: &str = "host";

// === impl World ===

impl World {
    /// Sets the ports of the host's network that other processes hold now. A listener that was held back is
    /// served again once its port is free.
    pub fn set_strangers(&mut self, strangers: Strangers) {
        let owners = self.concerned_by(&strangers);
        self.note_strangers(strangers);
        self.bring_up_to_date(owners);
    }

    /// Like [`Self::set_strangers`], without a refresh of listeners.
    pub fn note_strangers(&mut self, strangers: Strangers) {
        let unsure = |port: &(Transport, u32)| strangers.get(port).is_some_and(|one| one.unsure);
        let guessed = self.wanted_ports().iter().any(unsure);
        self.strangers = Known { by_port: strangers, guessed };
    }

    /// Returns the owners whose listeners want a port with a changed holder.
    pub fn concerned_by(&self, strangers: &Strangers) -> BTreeSet<Owner> {
        let before = &self.strangers.by_port;
        let host = self.claims.ports().filter(|port| &*port.netns == HOST);
        let differs = |port: &&Port| {
            let key = (port.transport, port.number);
            before.get(&key) != strangers.get(&key)
        };
        host.filter(differs).flat_map(|port| self.claims.wanting(port)).collect()
    }

    /// Returns whether a listener is held back for a socket whose owning process has not been looked up yet.
    pub fn guesses_strangers(&self) -> bool {
        self.strangers.guessed
    }

    /// Returns whether pods on the host's network may run proxies.
    pub fn has_pods_on_host(&self) -> bool {
        let on_host = |fleet: &dyn AnyFleet| {
            let pods = fleet.ids().into_iter().filter(|id| matches!(id, ProxyId::Pod(_)));
            pods.filter_map(|id| fleet.facts(&id)).any(|facts| &*facts.netns == HOST)
        };
        self.gateways.is_some() || self.fleets.all().any(on_host)
    }

    /// Returns the ports of the host's network that listeners want.
    pub fn wanted_ports(&self) -> BTreeSet<(Transport, u32)> {
        let host = self.claims.ports().filter(|port| &*port.netns == HOST);
        host.map(|port| (port.transport, port.number)).collect()
    }
}
