//! What a customer's node announces to EPIC's web service: its pods behind Services that EPIC has load balancers for ([`Cluster`]).

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddrV4;

use crate::customer::Object;
use crate::ipv4::Transport;

/// A load balancer of EPIC's for a Service, as the Service's annotations name it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ordered {
    /// Its path in the web service.
    pub path: String,
    /// Where endpoints are announced.
    pub create_endpoint: String,
    /// The customer's cluster, as the load balancer knows it.
    pub cluster: String,
}

/// A port of pods on the node.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PodPort {
    /// The name of the Service's port. It may be empty.
    pub name: String,
    /// TCP or UDP.
    pub transport: Transport,
    /// The pod's address and port.
    pub at: SocketAddrV4,
}

/// An endpoint that is announced.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Announcement {
    /// Its load balancer.
    pub of: Ordered,
    /// The port.
    pub port: PodPort,
}

/// The Services of a customer's cluster, and their ready pods on one node.
#[derive(Debug, Default)]
pub struct Cluster {
    services: BTreeMap<Object, Ordered>,
    /// By EndpointSlice: its Service and its ports on the node.
    slices: BTreeMap<Object, (Object, Vec<PodPort>)>,
}

// === impl Cluster ===

impl Cluster {
    /// Replaces what is known of a Service. `None`: EPIC has no load balancer for it, or it is gone.
    pub fn set_service(&mut self, service: Object, ordered: Option<Ordered>) {
        match ordered {
            Some(ordered) => drop(self.services.insert(service, ordered)),
            None => drop(self.services.remove(&service)),
        }
    }

    /// Replaces what is known of an EndpointSlice: its Service and the ports of its ready pods on the node. `None`: it has none, or
    /// is gone.
    pub fn set_slice(&mut self, slice: Object, ports: Option<(Object, Vec<PodPort>)>) {
        match ports {
            Some(ports) => drop(self.slices.insert(slice, ports)),
            None => drop(self.slices.remove(&slice)),
        }
    }

    /// Forgets the Services that are not among these.
    pub fn keep_services(&mut self, listed: &BTreeSet<Object>) {
        self.services.retain(|service, _| listed.contains(service));
    }

    /// Forgets the EndpointSlices that are not among these.
    pub fn keep_slices(&mut self, listed: &BTreeSet<Object>) {
        self.slices.retain(|slice, _| listed.contains(slice));
    }

    /// Returns what the node announces.
    pub fn announcements(&self) -> BTreeSet<Announcement> {
        let mut all = BTreeSet::new();
        for (service, ports) in self.slices.values() {
            let Some(of) = self.services.get(service) else { continue };
            all.extend(ports.iter().map(|port| Announcement { of: of.clone(), port: port.clone() }));
        }
        all
    }
}
