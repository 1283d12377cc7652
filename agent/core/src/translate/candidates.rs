//! The endpoints that a cluster may use, shared by all kinds of proxies. Entry point: [`candidates`].

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::num::{NonZeroU16, NonZeroU32};

use portreeve_api::model::{Cluster, Endpoint, EndpointSource, HealthCheck};

use super::bind::Families;
use super::rank;
use super::request::{Lookup, Request};
use super::sources::{self, Found};

/// An endpoint that a cluster may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The endpoint's address, in the proxy's family.
    pub ip: IpAddr,
    /// The port for traffic.
    pub port: NonZeroU16,
    /// When the endpoint's pod was created, in ms since the Unix epoch; `None` if it is not a pod.
    pub created_ms: Option<i64>,
    /// When its pod started terminating, in ms since the Unix epoch; `None` if it does not terminate.
    pub terminating_ms: Option<i64>,
    /// The endpoint's health check failed.
    pub failed: bool,
    /// The endpoint has no health check, and the hub's data about it is stale.
    pub stale: bool,
    /// The port at which the proxy itself checks the endpoint; `None` if it does not.
    pub proxy_check: Option<NonZeroU16>,
    /// The load balancing weight; `None` if its source sets none.
    pub weight: Option<NonZeroU32>,
}

/// Returns the endpoints of a cluster, each address and port once; `None` while a source is not known yet.
/// Addresses of a family that the proxy lacks are left out, so that a key's endpoint is always reachable.
pub fn candidates(request: &Request<'_>, cluster: &Cluster, lookup: &dyn Lookup) -> Option<Vec<Candidate>> {
    let mut all: BTreeMap<(IpAddr, NonZeroU16), Candidate> = BTreeMap::new();
    for source in &cluster.endpoints {
        let found = sources::found(request.plan, source, lookup)?;
        for candidate in of_source(request.families, cluster, (source, found), lookup) {
            let known = all.entry((candidate.ip, candidate.port)).or_insert_with(|| candidate.clone());
            *known = known.clone().merged(candidate);
        }
    }
    Some(all.into_values().collect())
}

/// Orders the endpoints of a key: the first is the one that all its sessions reach. `created_ms` is the creation of the object
/// with the key. A terminating pod keeps calls that are older than its termination and is left out for younger ones.
pub fn rank_for(key: &str, created_ms: Option<i64>, found: &mut Vec<Candidate>) {
    found.retain(|c| c.terminating_ms.is_none() || created_ms < c.terminating_ms);
    // The API server's times are whole seconds, and no pod is ready in the second of its creation. So a pod
    // created in the same second as the object came after it. Endpoints without a time (addresses, a folder's
    // first reading) came before it.
    rank::order(key, found, |c| (c.created_ms.is_some() && c.created_ms >= created_ms, c.ip));
}

/// Returns the endpoints of one of a cluster's sources. An address may be repeated. A source without a port has none: the
/// translation rejects clusters with such a source.
pub fn of_source(
    families: Families,
    cluster: &Cluster,
    (source, found): (&EndpointSource, Found<'_>),
    lookup: &dyn Lookup,
) -> Vec<Candidate> {
    let Some(port) = source.port else { return Vec::new() };
    let check = cluster.check_of(source).zip(source.health_port);
    let mut candidates = Reading { families, port, check, lookup }.candidates(found);
    candidates.iter_mut().for_each(|one| one.weight = source.weight);
    candidates
}

/// The settings for reading the endpoints of one source.
struct Reading<'a> {
    families: Families,
    port: NonZeroU16,
    /// The health check and its port; `None` if the endpoints are not checked.
    check: Option<(&'a HealthCheck, NonZeroU16)>,
    lookup: &'a dyn Lookup,
}

// === impl Reading ===

impl Reading<'_> {
    fn candidates(&self, found: Found<'_>) -> Vec<Candidate> {
        match found {
            Found::Pods(pods) => pods.into_iter().filter_map(|pod| self.of_pod(pod)).collect(),
            Found::Host(ips) => {
                one_family(self.families, ips).into_iter().map(|ip| self.of_address(ip)).collect()
            }
            Found::Beside(ip) => {
                let proxy_check = self.check.map(|(_, port)| port);
                vec![Candidate { proxy_check, ..Candidate::new(ip, self.port) }]
            }
            Found::Nothing => Vec::new(),
        }
    }

    fn of_pod(&self, pod: &Endpoint) -> Option<Candidate> {
        let ip = pick(self.families, &pod.ips)?;
        Some(Candidate {
            created_ms: pod.created_ms,
            terminating_ms: pod.terminating_ms,
            failed: self
                .check
                .is_some_and(|(check, port)| self.lookup.pod_failed(pod, port, check.http_path.as_deref())),
            stale: self.check.is_none() && self.lookup.stale(pod),
            ..Candidate::new(ip, self.port)
        })
    }

    fn of_address(&self, ip: IpAddr) -> Candidate {
        let failed = |(check, port): (&HealthCheck, _)| {
            self.lookup.address_failed(ip, port, check.http_path.as_deref())
        };
        Candidate { failed: self.check.is_some_and(failed), ..Candidate::new(ip, self.port) }
    }
}

// === impl Candidate ===

impl Candidate {
    /// Returns a candidate with only an address and a port.
    fn new(ip: IpAddr, port: NonZeroU16) -> Self {
        let (created_ms, terminating_ms) = (None, None);
        let (failed, stale, proxy_check, weight) = (false, false, None, None);
        Self { ip, port, created_ms, terminating_ms, failed, stale, proxy_check, weight }
    }

    /// Merges two candidates with the same address and port, such as pods on the host network. A pod that
    /// does not terminate wins over one that does, then the older one wins, independent of the order. For
    /// equal ones, a failed check of either counts.
    fn merged(self, other: Self) -> Self {
        let merit =
            |c: &Self| (c.terminating_ms.is_some(), c.created_ms, std::cmp::Reverse(c.terminating_ms));
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

/// Returns the address of an endpoint that a proxy uses, preferably of the proxy's primary family.
pub fn pick(families: Families, ips: &[IpAddr]) -> Option<IpAddr> {
    one_family(families, ips.to_vec()).into_iter().next()
}

/// Returns the addresses of one host that a proxy uses: those of its primary family, or those of the other
/// family if there are none. Using both would count the host twice.
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
