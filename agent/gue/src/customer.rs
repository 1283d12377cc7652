//! Which tunnels a customer's node has, from the objects of load balancers: [`Customer`].

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};

use portreeve_api::c::endpoint_form::{EndpointForm, EndpointStatus};
use portreeve_api::c::load_balancer::LoadBalancer;
use portreeve_api::c::port;
use portreeve_api::c::tunnel_key::TunnelKey;

use crate::client::Tunnel;
use crate::gateway;
use crate::ipv4::Transport;
use crate::wire::Ids;

/// A namespace and a name.
pub type Object = (String, String);

/// What a node needs of a load balancer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    key: TunnelKey,
    service: u16,
    public: Ipv4Addr,
    /// The tunnels to the node, each with EPIC's end.
    tunnels: BTreeMap<u32, SocketAddrV4>,
}

/// An endpoint on the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    load_balancer: Object,
    at: gateway::Endpoint,
    /// The number of its account.
    group: u16,
}

/// The load balancers and endpoints that concern a customer's node.
#[derive(Debug, Default)]
pub struct Customer {
    load_balancers: BTreeMap<Object, Facts>,
    /// By the objects' kinds too.
    endpoints: BTreeMap<(&'static str, Object), Endpoint>,
}

/// A tunnel of a node, with the public address from which its packets come.
pub type Way = (Tunnel, Ipv4Addr);

// === impl Facts ===

impl Facts {
    /// Returns what a node needs of a load balancer. `None`: it isn't complete, or has no tunnel to the node.
    pub fn of(object: &LoadBalancer, node: IpAddr) -> Option<Self> {
        let form = object.form().ok().filter(|form| form.true_ingress)?;
        let IpAddr::V4(public) = form.public_address? else { return None };
        let own = object.tunnels().into_iter().filter(|tunnel| tunnel.node == node);
        let ends = own.filter_map(|tunnel| match tunnel.epic_address {
            IpAddr::V4(epic) => Some((tunnel.id.get(), SocketAddrV4::new(epic, tunnel.epic_port.get()))),
            IpAddr::V6(_) => None,
        });
        let tunnels: BTreeMap<_, _> = ends.collect();
        let facts = Self { key: form.tunnel_key?, service: form.service_id?.get(), public, tunnels };
        Some(facts).filter(|facts| !facts.tunnels.is_empty())
    }
}

// === impl Endpoint ===

impl Endpoint {
    /// Creates an endpoint of a load balancer, whose account has this number.
    pub fn new(load_balancer: Object, at: gateway::Endpoint, group: u16) -> Self {
        Self { load_balancer, at, group }
    }

    /// Returns an endpoint of a namespace if it is on the node. `None`: it is elsewhere, or has no number of its account yet.
    pub fn of(
        namespace: &str,
        form: &EndpointForm,
        status: Option<&EndpointStatus>,
        node: IpAddr,
    ) -> Option<Self> {
        let name = form.load_balancer.as_ref().ok()?.clone()?;
        let IpAddr::V4(address) = form.address else { return None };
        let transport = match form.port.transport {
            port::Transport::Tcp => Transport::Tcp,
            port::Transport::Udp => Transport::Udp,
        };
        let group = status.and_then(|status| u16::try_from(status.group_id?).ok())?;
        let at = (transport, SocketAddrV4::new(address, form.port.port.get()));
        let endpoint = Self { load_balancer: (namespace.to_owned(), name), at, group };
        Some(endpoint).filter(|_| form.node_address == Some(node))
    }
}

// === impl Customer ===

impl Customer {
    /// Replaces what is known of a load balancer. `None`: it doesn't concern the node, or is gone.
    pub fn set_load_balancer(&mut self, object: Object, facts: Option<Facts>) {
        match facts {
            Some(facts) => drop(self.load_balancers.insert(object, facts)),
            None => drop(self.load_balancers.remove(&object)),
        }
    }

    /// Replaces what is known of an endpoint of a kind. `None`: it isn't on the node, or is gone.
    pub fn set_endpoint(&mut self, kind: &'static str, object: Object, endpoint: Option<Endpoint>) {
        match endpoint {
            Some(endpoint) => drop(self.endpoints.insert((kind, object), endpoint)),
            None => drop(self.endpoints.remove(&(kind, object))),
        }
    }

    /// Forgets the load balancers that are not among these.
    pub fn keep_load_balancers(&mut self, listed: &BTreeSet<Object>) {
        self.load_balancers.retain(|object, _| listed.contains(object));
    }

    /// Forgets the endpoints of a kind that are not among these.
    pub fn keep_endpoints(&mut self, kind: &str, listed: &BTreeSet<Object>) {
        self.endpoints.retain(|(of, object), _| *of != kind || listed.contains(object));
    }

    /// Returns the node's tunnels by their numbers.
    pub fn tunnels(&self) -> BTreeMap<u32, Way> {
        let mut all: BTreeMap<u32, Way> = BTreeMap::new();
        for endpoint in self.endpoints.values() {
            let Some(of) = self.load_balancers.get(&endpoint.load_balancer) else { continue };
            let ids = Ids { group: endpoint.group, service: of.service };
            for (id, epic) in &of.tunnels {
                let new = || Tunnel { ids, key: of.key, epic: *epic, endpoints: BTreeSet::new() };
                let (tunnel, _) = all.entry(*id).or_insert_with(|| (new(), of.public));
                tunnel.endpoints.insert(endpoint.at);
            }
        }
        all
    }
}
