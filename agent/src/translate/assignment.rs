//! Assignments: which endpoints a cluster has, in which priority and health.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::config::endpoint::v3 as envoy;
use envoy_types::pb::google::protobuf::{Struct, Value, value};
use portreeve_api::plan;

use super::{Families, Lookup, Request, rank, u32_value};

/// With Envoy's default of 140 % a priority spills over when a third of it is down; this says: never while one is up.
const OVERPROVISIONING: u32 = 100_000;

/// An endpoint that a cluster may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Address in the proxy's family.
    pub ip: IpAddr,
    /// Port of the traffic.
    pub port: u32,
    /// Creation of its pod in ms since the Unix epoch; 0 for what is not a pod.
    pub created_ms: i64,
    /// When its pod was asked to go; 0 while it stays.
    pub terminating_ms: i64,
}

/// The endpoints of a cluster, each address and port once; none while a source is not known yet. Addresses that the
/// proxy can't reach for want of their family are left out: a key's winner must be one that it can.
pub fn candidates(
    request: &Request<'_>,
    cluster: &plan::Cluster,
    lookup: &impl Lookup,
) -> Option<Vec<Candidate>> {
    use plan::endpoint_source::From;
    let families = request.families;
    let mut found: BTreeMap<(IpAddr, u32), Candidate> = BTreeMap::new();
    for source in &cluster.endpoints {
        let mut add = |ip, created_ms, terminating_ms| {
            let candidate = Candidate { ip, port: source.port, created_ms, terminating_ms };
            let known = found.entry((ip, source.port)).or_insert_with(|| candidate.clone());
            *known = known.clone().min_by_merit(candidate);
        };
        match &source.from {
            Some(From::Ip(ip)) => {
                let ip: Option<IpAddr> =
                    ip.parse().ok().filter(|ip: &IpAddr| ip.is_loopback() || usable(families, *ip));
                ip.into_iter().for_each(|ip| add(ip, 0, 0));
            }
            Some(From::Host(host)) => {
                let ips = lookup.host(&request.plan.dns_namespace, host)?;
                one_family(families, ips).into_iter().for_each(|ip| add(ip, 0, 0));
            }
            Some(From::Group(group)) => {
                for endpoint in lookup.group(group)? {
                    if let Some(ip) = pick(families, &endpoint.ips) {
                        add(ip, endpoint.created_ms, endpoint.terminating_ms);
                    }
                }
            }
            Some(From::Filename(_)) | None => {}
        }
    }
    Some(found.into_values().collect())
}

/// Builds the assignment. An empty one is sent as such: without it Envoy would keep the endpoints it had.
pub fn build(
    plan: &plan::Plan,
    cluster: &plan::Cluster,
    name: &str,
    found: Vec<Candidate>,
) -> envoy::ClusterLoadAssignment {
    let policy = cluster.balancer.as_ref().and_then(|b| b.policy.as_ref());
    let created_ms = plan.origin.as_ref().map_or(0, |o| o.created_ms);
    let protocol = cluster.socket.as_ref().map_or(plan::Protocol::Udp, plan::Socket::protocol);
    let endpoints = match policy {
        Some(plan::balancer::Policy::Key(key)) => keyed(key, created_ms, found, protocol),
        _ => unkeyed(found, protocol),
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

// === impl Candidate ===

impl Candidate {
    /// Of two that share address and port (pods on the host network, an address that is named twice): the one that
    /// stays, then the older, whatever the order in which they were found.
    fn min_by_merit(self, other: Self) -> Self {
        let merit = |c: &Self| (c.terminating_ms != 0, c.created_ms, std::cmp::Reverse(c.terminating_ms));
        if merit(&other) < merit(&self) { other } else { self }
    }
}

/// The winner alone in priority 0, the runner-up in 1, the rest in 2. A pod that is to go keeps the calls that are
/// older than its termination and is not shown to younger ones.
fn keyed(
    key: &str,
    created_ms: i64,
    mut found: Vec<Candidate>,
    protocol: plan::Protocol,
) -> Vec<envoy::LocalityLbEndpoints> {
    found.retain(|c| c.terminating_ms == 0 || created_ms < c.terminating_ms);
    // The API tells whole seconds, and no pod is ready in the second of its creation: one of the object's own second
    // came after it. What has no time (addresses, a folder's first reading) was there before everything.
    rank::order(key, &mut found, |c| (c.created_ms != 0 && c.created_ms >= created_ms, c.ip));
    let mut priorities: Vec<Vec<envoy::LbEndpoint>> = Vec::new();
    for (place, candidate) in found.iter().enumerate() {
        let priority = place.min(2);
        if priorities.len() <= priority {
            priorities.push(Vec::new());
        }
        priorities[priority].push(endpoint(candidate, core::HealthStatus::Unknown, protocol));
    }
    let locality = |(priority, lb_endpoints)| envoy::LocalityLbEndpoints {
        priority: priority as u32,
        lb_endpoints,
        ..Default::default()
    };
    priorities.into_iter().enumerate().map(locality).collect()
}

/// All in one priority. A pod that is to go is DEGRADED: it keeps its sessions and takes no new one.
fn unkeyed(found: Vec<Candidate>, protocol: plan::Protocol) -> Vec<envoy::LocalityLbEndpoints> {
    if found.is_empty() {
        return Vec::new();
    }
    let addresses: BTreeSet<IpAddr> = found.iter().map(|c| c.ip).collect();
    let distinct = addresses.len() == found.len();
    let build = |candidate: &Candidate| {
        let leaving = candidate.terminating_ms != 0;
        let health = if leaving { core::HealthStatus::Degraded } else { core::HealthStatus::Unknown };
        let mut built = endpoint(candidate, health, protocol);
        // Hashing by bare address lets all listeners of a sender agree on the pod, whatever the ports.
        built.metadata = distinct.then(|| hash_key(candidate.ip));
        built
    };
    vec![envoy::LocalityLbEndpoints { lb_endpoints: found.iter().map(build).collect(), ..Default::default() }]
}

fn endpoint(
    candidate: &Candidate,
    health: core::HealthStatus,
    protocol: plan::Protocol,
) -> envoy::LbEndpoint {
    let protocol = match protocol {
        plan::Protocol::Tcp => core::socket_address::Protocol::Tcp,
        _ => core::socket_address::Protocol::Udp,
    };
    let socket = core::SocketAddress {
        protocol: protocol.into(),
        address: candidate.ip.to_string(),
        port_specifier: Some(core::socket_address::PortSpecifier::PortValue(candidate.port)),
        ..Default::default()
    };
    let address = core::Address { address: Some(core::address::Address::SocketAddress(socket)) };
    envoy::LbEndpoint {
        health_status: health.into(),
        host_identifier: Some(envoy::lb_endpoint::HostIdentifier::Endpoint(envoy::Endpoint {
            address: Some(address),
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

/// The address of an endpoint that a proxy uses: its own primary family first.
fn pick(families: Families, ips: &[String]) -> Option<IpAddr> {
    one_family(families, ips.iter().filter_map(|ip| ip.parse().ok()).collect()).into_iter().next()
}

/// The addresses of one host that a proxy uses: those of its primary family, and only without any those of the other.
/// Both would count one host twice.
fn one_family(families: Families, ips: Vec<IpAddr>) -> Vec<IpAddr> {
    let v6_first = matches!(families, Families::V6 | Families::DualV6First);
    let (primary, other): (Vec<_>, Vec<_>) = ips.into_iter().partition(|ip| ip.is_ipv6() == v6_first);
    let chosen = if primary.is_empty() { other } else { primary };
    chosen.into_iter().filter(|ip| usable(families, *ip)).collect()
}

fn usable(families: Families, ip: IpAddr) -> bool {
    match families {
        Families::V4 => ip.is_ipv4(),
        Families::V6 => ip.is_ipv6(),
        Families::Dual | Families::DualV6First => true,
    }
}
