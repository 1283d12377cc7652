//! The endpoints that a cluster may use, the same for every kind of proxy. Entry point: [`candidates`].

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::net::IpAddr;

use portreeve_api::plan;

use super::bind::Families;
use super::check;
use super::request::{Lookup, Request};

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
    lookup: &dyn Lookup,
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

    fn pod(&self, lookup: &dyn Lookup, endpoint: &plan::Endpoint) -> bool {
        self.port != 0 && lookup.pod_failed(endpoint, self.port, self.path)
    }

    fn address(&self, lookup: &dyn Lookup, ip: IpAddr) -> bool {
        self.port != 0 && lookup.address_failed(ip, self.port, self.path)
    }
}

fn address_of(source: &plan::EndpointSource) -> Option<IpAddr> {
    match &source.from {
        Some(plan::endpoint_source::From::Ip(ip)) => ip.parse().ok(),
        _ => None,
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
