//! Assignments: which endpoints a cluster has, in which priority and health.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::config::endpoint::v3 as envoy;
use envoy_types::pb::google::protobuf::{Struct, Value, value};
use portreeve_api::model::{Balancer, Cluster, Plan, Protocol};

use super::wire::u32_value;
use crate::translate::candidates::Candidate;
use crate::translate::{rank, sources};

/// With Envoy's default of 140 % a priority spills over when a third of it is down; this says: never while one is up.
const OVERPROVISIONING: u32 = 100_000;

/// Builds the assignment. An empty one is sent as such: without it Envoy would keep the endpoints it had.
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

/// The winner alone in priority 0, the runner-up in 1, the rest in 2. A pod that is to go keeps the calls that are
/// older than its termination and is not shown to younger ones. Old knowledge changes nothing: without a hub there are no
/// younger calls.
fn keyed(
    key: &str,
    created_ms: Option<i64>,
    mut found: Vec<Candidate>,
    socket: Socket,
) -> Vec<envoy::LocalityLbEndpoints> {
    found.retain(|c| c.terminating_ms.is_none() || created_ms < c.terminating_ms);
    // The API tells whole seconds, and no pod is ready in the second of its creation: one of the object's own second
    // came after it. What has no time (addresses, a folder's first reading) was there before everything.
    rank::order(key, &mut found, |c| (c.created_ms.is_some() && c.created_ms >= created_ms, c.ip));
    let mut priorities: Vec<Vec<envoy::LbEndpoint>> = Vec::new();
    for (place, candidate) in found.iter().enumerate() {
        let priority = place.min(2);
        if priorities.len() <= priority {
            priorities.push(Vec::new());
        }
        // A failed one keeps its place: all pipes of a call go to its runner-up together, and come back together.
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

/// All in one priority. A pod that terminates is DEGRADED while another stays: it keeps its sessions and takes no new one.
/// Where none stays it is as good as any: Envoy's Maglev table holds healthy hosts alone, so a cluster of DEGRADED ones takes
/// no session at all. A pod that may be gone for long is DEGRADED while there is another; where there is none it is
/// UNHEALTHY: a session that has nowhere else to go stays, and no new one is made.
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
        // Hashing by bare address lets all listeners of a sender agree on the pod, whatever the ports.
        built.metadata = distinct.then(|| hash_key(candidate.ip));
        built
    };
    vec![envoy::LocalityLbEndpoints { lb_endpoints: found.iter().map(build).collect(), ..Default::default() }]
}

/// What all endpoints of a cluster have in common.
#[derive(Clone, Copy)]
struct Socket {
    protocol: Protocol,
    /// The proxy itself checks some of them.
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
        Protocol::Tcp => core::socket_address::Protocol::Tcp,
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

/// What the proxy is told of an endpoint against which nothing else is known: `good`.
fn told(candidate: &Candidate, good: core::HealthStatus) -> core::HealthStatus {
    if candidate.failed { core::HealthStatus::Unhealthy } else { good }
}
