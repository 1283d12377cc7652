//! Resolves a cluster's endpoint sources, for translation, health checks and DNS. Entry point: [`found`].

use std::net::IpAddr;

use portreeve_api::model::{Cluster, Endpoint, EndpointSource, HealthCheck, Plan, Source};
use portreeve_xds::Name;

use super::request::Lookup;

/// The current result of a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found<'a> {
    /// Pods or other members of a group.
    Pods(Vec<&'a Endpoint>),
    /// The addresses of one host, reachable from every network namespace.
    Host(Vec<IpAddr>),
    /// An address in the proxy's own network namespace. Agents can't reach it, so the proxy itself checks its
    /// health.
    Beside(IpAddr),
    /// A source that this version does not support. Clusters with such a source are rejected.
    Nothing,
}

/// Resolves a source of a Plan; `None` while its group or host name is not known yet.
pub fn found<'a>(plan: &Plan, source: &EndpointSource, lookup: &'a dyn Lookup) -> Option<Found<'a>> {
    Some(match &source.from {
        Source::Group(group) => Found::Pods(lookup.group(group)?),
        Source::Host(host) => Found::Host(lookup.host(&plan.dns_namespace, host)?),
        Source::Address(ip) => Found::Host(vec![*ip]),
        Source::Loopback(ip) => Found::Beside(*ip),
        Source::File(_) | Source::Unknown => Found::Nothing,
    })
}

/// Returns the host names that a Plan's sources use.
pub fn hosts(plan: &Plan) -> impl Iterator<Item = &str> {
    sources(plan).filter_map(|source| match &source.from {
        Source::Host(host) => Some(host.as_str()),
        Source::Group(_) | Source::Address(_) | Source::Loopback(_) | Source::File(_) | Source::Unknown => {
            None
        }
    })
}

/// Returns the groups that a Plan uses: those of its sources, and those whose members may connect.
pub fn groups(plan: &Plan) -> impl Iterator<Item = &Name> {
    let of_sources = sources(plan).filter_map(|source| match &source.from {
        Source::Group(group) => Some(group),
        Source::Host(_) | Source::Address(_) | Source::Loopback(_) | Source::File(_) | Source::Unknown => {
            None
        }
    });
    let policies = plan.listeners.iter().filter_map(|listener| listener.sources.as_ref());
    of_sources.chain(policies.flat_map(|policy| &policy.groups))
}

/// Returns the health check that the proxy itself makes for some of a cluster's sources.
pub fn check_by_proxy(cluster: &Cluster) -> Option<&HealthCheck> {
    let beside = cluster.endpoints.iter().filter(|source| matches!(source.from, Source::Loopback(_)));
    beside.into_iter().find_map(|source| cluster.check_of(source))
}

fn sources(plan: &Plan) -> impl Iterator<Item = &EndpointSource> {
    plan.clusters.iter().flat_map(|cluster| &cluster.endpoints)
}
