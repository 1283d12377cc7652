//! Translates assignments: a cluster's endpoints with their priority and health.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::config::endpoint::v3 as envoy;
use envoy_types::pb::google::protobuf::{Struct, Value, value};
use portreeve_agent_core::translate::candidates::Candidate;
use portreeve_agent_core::translate::{candidates, sources};
use portreeve_api::model::{Balancer, Cluster, Plan, Protocol};

use super::wire::u32_value;

/// With Envoy's default of 140 %, traffic spills over to the next priority when a third of one is down. With
/// this value it does not while a single endpoint is up.
const OVERPROVISIONING: u32 = 100_000;

/// Builds the assignment. An empty one is sent too: otherwise Envoy would keep the previous endpoints.
pub fn build(
    plan: &Plan,
    cluster: &Cluster,
    name: &str,
    found: Vec<Candidate>,
) -> envoy::ClusterLoadAssignment {
    let socket = Socket {
        protocol: cluster.socket.as_ref().map_or(Protocol::Udp, |socket| socket.protocol),
        by_proxy: sources::check_by_proxy(cluster).is_some(),
    };
    let endpoints = match &cluster.balancer {
        Some(Balancer::Key(key)) => keyed(key, plan.origin.created_ms, found, socket),
        None if cluster.socket.as_ref().is_some_and(|socket| socket.port.is_some()) => first(&found, socket),
        _ => unkeyed(found, socket),
    };
    envoy::ClusterLoadAssignment {
        cluster_name: name.into(),
        endpoints,
        policy: Some(envoy::cluster_load_assignment::Policy {
            overprovisioning_factor: u32_value(OVERPROVISIONING),
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// Puts the first endpoint by rank in priority 0, the second in 1, and the rest in 2. Staleness is ignored: without a hub
/// there are no younger calls.
fn keyed(
    key: &str,
    created_ms: Option<i64>,
    mut found: Vec<Candidate>,
    socket: Socket,
) -> Vec<envoy::LocalityLbEndpoints> {
    candidates::rank_for(key, created_ms, &mut found);
    let mut priorities: Vec<Vec<envoy::LbEndpoint>> = Vec::new();
    for (place, candidate) in found.iter().enumerate() {
        let priority = place.min(2);
        if priorities.len() <= priority {
            priorities.push(Vec::new());
        }
        // A failed endpoint keeps its place: all listeners of a call move to the second endpoint together,
        // and return together.
        let status = told(candidate, core::HealthStatus::Unknown);
        priorities[priority].push(endpoint(candidate, status, socket));
    }
    let locality = |(priority, lb_endpoints)| envoy::LocalityLbEndpoints {
        priority: priority as u32,
        lb_endpoints,
        ..Default::default()
    };
    priorities.into_iter().enumerate().map(locality).collect()
}

/// Puts the endpoint with the lowest address in priority 0, the second in 1, and the rest in 2. API B's clusters without a
/// balancer use the first endpoint only.
fn first(found: &[Candidate], socket: Socket) -> Vec<envoy::LocalityLbEndpoints> {
    let mut priorities: Vec<envoy::LocalityLbEndpoints> = Vec::new();
    for (place, candidate) in found.iter().enumerate() {
        if place <= 2 {
            let priority = u32::try_from(place).unwrap_or_default();
            priorities.push(envoy::LocalityLbEndpoints { priority, ..Default::default() });
        }
        let status = told(candidate, core::HealthStatus::Unknown);
        if let Some(last) = priorities.last_mut() {
            last.lb_endpoints.push(endpoint(candidate, status, socket));
        }
    }
    priorities
}

/// Puts all endpoints in one priority. A terminating pod is DEGRADED while another pod stays: it keeps its
/// sessions and takes no new ones. If no other pod stays, it counts as healthy, because Envoy's Maglev table
/// contains only healthy hosts and a cluster of DEGRADED hosts takes no session at all. A stale pod is
/// DEGRADED while there is another pod. Without one it is UNHEALTHY: its sessions stay, because there is no
/// alternative, and no new ones are made.
fn unkeyed(found: Vec<Candidate>, socket: Socket) -> Vec<envoy::LocalityLbEndpoints> {
    if found.is_empty() {
        return Vec::new();
    }
    let addresses: BTreeSet<IpAddr> = found.iter().map(|c| c.ip).collect();
    let distinct = addresses.len() == found.len();
    let mut usable = found.iter().filter(|c| !c.stale && !c.failed).peekable();
    let (other, stays) = (usable.peek().is_some(), usable.any(|c| c.terminating_ms.is_none()));
    let build = |candidate: &Candidate| {
        let leaving = candidate.terminating_ms.is_some();
        let good = match candidate.stale {
            true if !other => core::HealthStatus::Unhealthy,
            true => core::HealthStatus::Degraded,
            false if leaving && stays => core::HealthStatus::Degraded,
            false => core::HealthStatus::Unknown,
        };
        let mut built = endpoint(candidate, told(candidate, good), socket);
        // Hashing by address without the port makes all listeners of a sender choose the same pod.
        built.metadata = distinct.then(|| hash_key(candidate.ip));
        built
    };
    vec![envoy::LocalityLbEndpoints { lb_endpoints: found.iter().map(build).collect(), ..Default::default() }]
}

/// Settings shared by all endpoints of a cluster.
#[derive(Clone, Copy)]
struct Socket {
    protocol: Protocol,
    /// The proxy itself checks some of the endpoints.
    by_proxy: bool,
}

fn endpoint(candidate: &Candidate, health: core::HealthStatus, socket: Socket) -> envoy::LbEndpoint {
    let check = envoy::endpoint::HealthCheckConfig {
        port_value: candidate.proxy_check.map_or(0, |port| port.get().into()),
        disable_active_health_check: candidate.proxy_check.is_none(),
        ..Default::default()
    };
    let by_proxy = socket.by_proxy;
    let protocol = match socket.protocol {
        Protocol::Tcp | Protocol::Websocket => core::socket_address::Protocol::Tcp,
        _ => core::socket_address::Protocol::Udp,
    };
    let socket = core::SocketAddress {
        protocol: protocol.into(),
        address: candidate.ip.to_string(),
        port_specifier: Some(core::socket_address::PortSpecifier::PortValue(candidate.port.get().into())),
        ..Default::default()
    };
    let address = core::Address { address: Some(core::address::Address::SocketAddress(socket)) };
    envoy::LbEndpoint {
        health_status: health.into(),
        load_balancing_weight: candidate.weight.and_then(|weight| u32_value(weight.get())),
        host_identifier: Some(envoy::lb_endpoint::HostIdentifier::Endpoint(envoy::Endpoint {
            address: Some(address),
            health_check_config: by_proxy.then_some(check),
            ..Default::default()
        })),
        ..Default::default()
    }
}

fn hash_key(ip: IpAddr) -> core::Metadata {
    let text = Value { kind: Some(value::Kind::StringValue(ip.to_string())) };
    let fields = Struct { fields: HashMap::from([("hash_key".to_string(), text)]) };
    core::Metadata {
        filter_metadata: HashMap::from([("envoy.lb".to_string(), fields)]),
        ..Default::default()
    }
}

/// Returns an endpoint's health status for the proxy: `good` unless the endpoint failed.
fn told(candidate: &Candidate, good: core::HealthStatus) -> core::HealthStatus {
    if candidate.failed { core::HealthStatus::Unhealthy } else { good }
}
