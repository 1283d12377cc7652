//! Assignments: which endpoints a cluster has, in which priority and health.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::config::endpoint::v3 as envoy;
use envoy_types::pb::google::protobuf::{Struct, Value, value};
use portreeve_api::plan;

use super::{Families, Lookup, Request, check, rank, u32_value};

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
    /// Its health check failed.
    pub failed: bool,
    /// Nobody checks it, and it may be gone for long.
    pub stale: bool,
    /// The port at which the proxy checks it by itself; 0: it doesn't.
    pub proxy_check: u32,
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
        let mut add = |candidate: Candidate| {
            let known = found.entry((candidate.ip, candidate.port)).or_insert_with(|| candidate.clone());
            *known = known.clone().merged(candidate);
        };
        let checked = Checked::of(cluster, source);
        let of_ip = |ip| Candidate { failed: checked.address(lookup, ip), ..Candidate::new(ip, source) };
        match &source.from {
            Some(From::Ip(_)) if check::is_by_proxy(source) => {
                let ip = address_of(source);
                let proxy_check = checked.port;
                ip.into_iter().for_each(|ip| add(Candidate { proxy_check, ..Candidate::new(ip, source) }));
            }
            Some(From::Ip(_)) => {
                address_of(source)
                    .filter(|ip| usable(families, *ip))
                    .into_iter()
                    .for_each(|ip| add(of_ip(ip)));
            }
            Some(From::Host(host)) => {
                let ips = lookup.host(&request.plan.dns_namespace, host)?;
                one_family(families, ips).into_iter().for_each(|ip| add(of_ip(ip)));
            }
            Some(From::Group(group)) => {
                let of_pod = |endpoint: &plan::Endpoint| {
                    let ip = pick(families, &endpoint.ips)?;
                    let (created_ms, terminating_ms) = (endpoint.created_ms, endpoint.terminating_ms);
                    let failed = checked.pod(lookup, endpoint);
                    let stale = checked.port == 0 && lookup.stale(endpoint);
                    let known = Candidate::new(ip, source);
                    Some(Candidate { created_ms, terminating_ms, failed, stale, ..known })
                };
                lookup.group(group)?.into_iter().filter_map(of_pod).for_each(&mut add);
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
    let socket = Socket {
        protocol: cluster.socket.as_ref().map_or(plan::Protocol::Udp, plan::Socket::protocol),
        by_proxy: check::by_proxy(cluster).is_some(),
    };
    let endpoints = match policy {
        Some(plan::balancer::Policy::Key(key)) => keyed(key, created_ms, found, socket),
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

// === impl Candidate ===

impl Candidate {
    /// One of an address, about which nothing is known.
    fn new(ip: IpAddr, source: &plan::EndpointSource) -> Self {
        let (created_ms, terminating_ms) = (0, 0);
        let (failed, stale, proxy_check) = (false, false, 0);
        Self { ip, port: source.port, created_ms, terminating_ms, failed, stale, proxy_check }
    }

    /// Of two that share address and port (pods on the host network, an address that is named twice): the one that
    /// stays, then the older, whatever the order in which they were found. What is known against either of equals counts.
    fn merged(self, other: Self) -> Self {
        let merit = |c: &Self| (c.terminating_ms != 0, c.created_ms, std::cmp::Reverse(c.terminating_ms));
        match merit(&self).cmp(&merit(&other)) {
            Ordering::Less => self,
            Ordering::Greater => other,
            Ordering::Equal => Self {
                failed: self.failed || other.failed,
                stale: self.stale && other.stale,
                proxy_check: self.proxy_check.max(other.proxy_check),
                ..self
            },
        }
    }

    /// What the proxy is told of it, when nothing is known against it: `good`.
    fn status(&self, good: core::HealthStatus) -> core::HealthStatus {
        if self.failed { core::HealthStatus::Unhealthy } else { good }
    }
}

/// How a source's endpoints are checked.
struct Checked<'a> {
    /// 0: not at all.
    port: u32,
    path: &'a str,
}

// === impl Checked ===

impl<'a> Checked<'a> {
    fn of(cluster: &'a plan::Cluster, source: &plan::EndpointSource) -> Self {
        match &cluster.health_check {
            Some(check) => Self { port: source.health_port, path: &check.http_path },
            None => Self { port: 0, path: "" },
        }
    }

    fn pod(&self, lookup: &impl Lookup, endpoint: &plan::Endpoint) -> bool {
        self.port != 0 && lookup.pod_failed(endpoint, self.port, self.path)
    }

    fn address(&self, lookup: &impl Lookup, ip: IpAddr) -> bool {
        self.port != 0 && lookup.address_failed(ip, self.port, self.path)
    }
}

fn address_of(source: &plan::EndpointSource) -> Option<IpAddr> {
    match &source.from {
        Some(plan::endpoint_source::From::Ip(ip)) => ip.parse().ok(),
        _ => None,
    }
}

/// The winner alone in priority 0, the runner-up in 1, the rest in 2. A pod that is to go keeps the calls that are
/// older than its termination and is not shown to younger ones. Old knowledge changes nothing: without a hub there are no
/// younger calls.
fn keyed(
    key: &str,
    created_ms: i64,
    mut found: Vec<Candidate>,
    socket: Socket,
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
        // A failed one keeps its place: all pipes of a call go to its runner-up together, and come back together.
        let status = candidate.status(core::HealthStatus::Unknown);
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
    let (other, stays) = (usable.peek().is_some(), usable.any(|c| c.terminating_ms == 0));
    let build = |candidate: &Candidate| {
        let leaving = candidate.terminating_ms != 0;
        let good = match candidate.stale {
            true if !other => core::HealthStatus::Unhealthy,
            true => core::HealthStatus::Degraded,
            false if leaving && stays => core::HealthStatus::Degraded,
            false => core::HealthStatus::Unknown,
        };
        let mut built = endpoint(candidate, candidate.status(good), socket);
        // Hashing by bare address lets all listeners of a sender agree on the pod, whatever the ports.
        built.metadata = distinct.then(|| hash_key(candidate.ip));
        built
    };
    vec![envoy::LocalityLbEndpoints { lb_endpoints: found.iter().map(build).collect(), ..Default::default() }]
}

/// What all endpoints of a cluster have in common.
#[derive(Clone, Copy)]
struct Socket {
    protocol: plan::Protocol,
    /// The proxy itself checks some of them.
    by_proxy: bool,
}

fn endpoint(candidate: &Candidate, health: core::HealthStatus, socket: Socket) -> envoy::LbEndpoint {
    let check = envoy::endpoint::HealthCheckConfig {
        port_value: candidate.proxy_check,
        disable_active_health_check: candidate.proxy_check == 0,
        ..Default::default()
    };
    let by_proxy = socket.by_proxy;
    let protocol = match socket.protocol {
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

/// The address of an endpoint that a proxy uses: its own primary family first.
pub(crate) fn pick(families: Families, ips: &[String]) -> Option<IpAddr> {
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
