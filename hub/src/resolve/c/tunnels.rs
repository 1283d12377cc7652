//! Which endpoints of a load balancer are reached through GUE tunnels: [`of`] (seed C.4).

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::num::NonZeroU32;

use portreeve_api::c::endpoint_form::EndpointForm;
use portreeve_api::c::epic::Epic;
use portreeve_api::c::load_balancer::{LoadBalancer, LoadBalancerForm};
use portreeve_api::c::names::EPIC;
use portreeve_api::c::{self, port};
use portreeve_api::model::{Protocol, Tunnel, TunnelledEndpoint, Tunnels};
use portreeve_api::refs::ObjectRef;

use super::account;
use crate::lookup::Lookup;

/// How the endpoints of a load balancer are reached.
#[derive(Debug, Default)]
pub struct Reached {
    /// Those that can be reached.
    pub endpoints: Vec<EndpointForm>,
    /// The tunnels of those that have one.
    pub tunnels: Option<Tunnels>,
    /// What keeps the others from being served.
    pub waiting: Option<String>,
}

/// Returns how the endpoints of a load balancer are reached: those with a node's address through the tunnel to this node, the others
/// directly. An endpoint without its tunnel is left out, because its address may be that of another account's pod. No tunnels has
/// what asks for none (`true-ingress: false`).
pub fn of(
    lookup: &mut Lookup<'_>,
    (of, form): (&LoadBalancer, &LoadBalancerForm),
    all: Vec<EndpointForm>,
) -> Reached {
    let direct = |endpoints| Reached { endpoints, ..Reached::default() };
    let (behind, endpoints): (Vec<_>, Vec<_>) =
        all.into_iter().partition(|one| form.true_ingress && one.node_address.is_some());
    if behind.is_empty() {
        return direct(endpoints);
    }
    let left = |why: &str| Some(format!("{}: {why}", left_out(behind.len())));
    let IpAddr::V4(public_address) = form.public_address.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)) else {
        let why = "tunnels carry IPv4 only, and spec.public-address is not: set spec.true-ingress to false if gateways reach \
                   the endpoints without tunnels";
        return Reached { waiting: left(why), ..direct(endpoints) };
    };
    let namespace = of.metadata.namespace.as_deref().unwrap_or_default();
    let group = account::of_namespace(lookup, namespace).and_then(|(_, one)| one.form().ok()?.group_id);
    let (Some(group), Some(service), Some(key)) = (group, form.service_id, form.tunnel_key) else {
        let epic = ObjectRef::namespaced(&c::epic::KIND, EPIC, EPIC);
        let why = match lookup.object::<Epic>(&epic) {
            None => {
                "there is no EPIC epic/epic, which counts the numbers of tunnels: create the namespace epic"
            }
            Some(_) => "spec.service-id, spec.tunnel-key or spec.group-id of its account isn't set yet",
        };
        return Reached { waiting: left(why), ..direct(endpoints) };
    };
    let ids = (group.get(), service.get());
    let tunnels = Tunnels { ids, key, public_address, tunnels: Vec::new(), endpoints: Vec::new() };
    connect(of, tunnels, behind, endpoints)
}

/// Adds the tunnels and the endpoints behind them.
fn connect(
    of: &LoadBalancer,
    mut tunnels: Tunnels,
    behind: Vec<EndpointForm>,
    mut endpoints: Vec<EndpointForm>,
) -> Reached {
    let ends = ends(of);
    let (mut used, mut left) = (BTreeMap::new(), Vec::new());
    for endpoint in behind {
        let end = endpoint.node_address.and_then(|node| ends.get(&node));
        let (Some((id, epic)), IpAddr::V4(address)) = (end, endpoint.address) else {
            left.push(endpoint);
            continue;
        };
        used.insert(*id, *epic);
        tunnels.endpoints.push(TunnelledEndpoint {
            protocol: match endpoint.port.transport {
                port::Transport::Tcp => Protocol::Tcp,
                port::Transport::Udp => Protocol::Udp,
            },
            at: SocketAddrV4::new(address, endpoint.port.port.get()),
            tunnel: *id,
        });
        endpoints.push(endpoint);
    }
    let peers = of.peers();
    let tunnel = |(id, epic)| Tunnel { id, epic, peer: peers.get(&id).copied() };
    tunnels.tunnels = used.into_iter().map(tunnel).collect();
    let waiting = left.first().map(|first| {
        let node = first.node_address.map(|node| node.to_string()).unwrap_or_default();
        let why = match first.address {
            IpAddr::V4(_) => format!("there is no tunnel to {node} yet"),
            IpAddr::V6(address) => format!("{address} is not an IPv4 address, and tunnels carry no other"),
        };
        format!("{}: {why}", left_out(left.len()))
    });
    let tunnels = Some(tunnels).filter(|tunnels| !tunnels.tunnels.is_empty());
    Reached { endpoints, tunnels, waiting }
}

/// Returns the tunnel to each node of the customer, with its gateway's end. Of several it is the oldest.
fn ends(of: &LoadBalancer) -> BTreeMap<IpAddr, (NonZeroU32, SocketAddrV4)> {
    let mut ends = BTreeMap::new();
    for tunnel in of.tunnels() {
        let SocketAddr::V4(epic) = SocketAddr::new(tunnel.epic_address, tunnel.epic_port.get()) else {
            continue;
        };
        let end = ends.entry(tunnel.node).or_insert((tunnel.id, epic));
        *end = (*end).min((tunnel.id, epic));
    }
    ends
}

/// Returns the tunnels' port if a load balancer's own UDP port of this number would take it from them.
pub fn taken_port(tunnels: &Tunnels, form: &LoadBalancerForm) -> Option<u16> {
    let is_own = |ip: &Ipv4Addr| *ip == tunnels.public_address;
    let ends = tunnels.tunnels.iter().map(|tunnel| tunnel.epic).filter(|epic| is_own(epic.ip()));
    let is_taken = |port: &u16| {
        let same = |own: &port::Port| own.transport == port::Transport::Udp && own.port.get() == *port;
        form.ports.iter().any(same)
    };
    ends.map(|epic| epic.port()).find(is_taken)
}

fn left_out(count: usize) -> String {
    match count {
        1 => "an endpoint is left out".to_owned(),
        _ => format!("{count} endpoints are left out"),
    }
}
