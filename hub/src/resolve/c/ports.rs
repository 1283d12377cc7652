//! The listeners that a load balancer has without a template: one for each port, to the endpoints of the port's name and
//! protocol ([`Served::open`]).

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::num::{NonZeroU16, NonZeroU32};

use portreeve_api::c::endpoint_form::EndpointForm;
use portreeve_api::c::port::{Port, Transport};
use portreeve_api::model::{
    Address, Balancer, Cluster, EndpointSource, Listener, Protocol, Rule, Scope, Socket, Source,
};
use portreeve_api::refs::ClusterPath;

/// The name of each listener's only cluster.
const CLUSTER: &str = "endpoints";

/// What the weights of a cluster's endpoints add up to, if there are several clusters.
const WEIGHT: u32 = 10_000;

/// The endpoints of a load balancer.
pub struct Served<'a> {
    /// The upstream clusters.
    pub clusters: &'a [String],
    /// The endpoints of all clusters.
    pub endpoints: &'a [EndpointForm],
    /// The address that proxies connect from, if some endpoints are behind tunnels.
    pub source: Option<Ipv4Addr>,
}

/// Returns a listener's socket. An address that is not a wildcard moves between nodes.
pub fn socket(protocol: Protocol, address: IpAddr, port: NonZeroU16) -> Socket {
    let socket = Socket::new(protocol, Some(port));
    if address.is_unspecified() {
        return socket;
    }
    let bind = Address { ip: Some(address), port: Some(port) };
    Socket { scope: Scope::Floating, bind: Some(bind), ..socket }
}

/// Returns the socket of a cluster. With a source, proxies connect from this address, which moves between nodes.
pub fn upstream(protocol: Protocol, source: Option<Ipv4Addr>) -> Socket {
    let socket = Socket::new(protocol, None);
    match source {
        None => socket,
        Some(source) => {
            let bind = Address { ip: Some(source.into()), port: None };
            Socket { scope: Scope::Floating, bind: Some(bind), ..socket }
        }
    }
}

// === impl Served ===

impl Served<'_> {
    /// Returns the listener of a port on an address, and its cluster.
    pub fn open(&self, address: IpAddr, port: &Port) -> (Listener, Cluster) {
        let name = format!("{}-{}", port.transport.lower_case(), port.port);
        let (protocol, balancer) = match port.transport {
            Transport::Udp => (Protocol::Udp, Balancer::SourceAddress),
            Transport::Tcp => (Protocol::Tcp, Balancer::RoundRobin),
        };
        let cluster = Cluster {
            name: ClusterPath::new(&name, CLUSTER).to_string(),
            socket: Some(upstream(protocol, self.source)),
            endpoints: self.of_port(port),
            balancer: Some(balancer),
            health_check: None,
            tls: None,
            http: false,
            connect_timeout: None,
            needs: Vec::new(),
            elsewhere: None,
        };
        let listener = Listener {
            name,
            socket: Some(socket(protocol, address, port.port)),
            rules: vec![Rule::forward(&cluster.name)],
            tls: None,
            sources: None,
            http: false,
            options: None,
            needs: Vec::new(),
        };
        (listener, cluster)
    }

    /// Returns the endpoints of a port: those with its protocol and name, of the clusters that use the load balancer. All
    /// clusters get the same share of the sessions, however many endpoints they have.
    fn of_port(&self, port: &Port) -> Vec<EndpointSource> {
        let mut by_cluster: BTreeMap<Option<&str>, Vec<&EndpointForm>> = BTreeMap::new();
        let is_of_port =
            |one: &&EndpointForm| (one.port.transport, &one.port.name) == (port.transport, &port.name);
        for endpoint in self.endpoints.iter().filter(is_of_port) {
            let cluster = endpoint.cluster.as_deref();
            // Endpoints of the document form are of no cluster.
            if cluster.is_none_or(|name| self.clusters.iter().any(|one| one == name)) {
                by_cluster.entry(cluster).or_default().push(endpoint);
            }
        }
        let several = by_cluster.len() > 1;
        let sources = by_cluster.into_values().flat_map(|endpoints| {
            let count = u32::try_from(endpoints.len()).unwrap_or(u32::MAX);
            let weight = NonZeroU32::new((WEIGHT / count).max(1)).filter(|_| several);
            endpoints.into_iter().map(move |endpoint| source(endpoint, weight))
        });
        sources.collect()
    }
}

pub fn source(endpoint: &EndpointForm, weight: Option<NonZeroU32>) -> EndpointSource {
    EndpointSource {
        name: endpoint.cluster.clone().unwrap_or_default(),
        from: Source::Address(endpoint.address),
        port: Some(endpoint.port.port),
        health_port: None,
        weight,
        source: None,
    }
}
