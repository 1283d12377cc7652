//! What a cluster's endpoint sources stand for: the one place that interprets them, for translation, health and the names
//! that are resolved. Entry point: [`found`].

use std::net::IpAddr;

use portreeve_api::model::{Cluster, Endpoint, EndpointSource, HealthCheck, Plan, Source};
use portreeve_xds::Name;

use super::request::Lookup;

/// What a source stands for at present.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found<'a> {
    /// Pods, or other members of a group.
    Pods(Vec<&'a Endpoint>),
    /// The addresses of one host, reached from everywhere.
    Host(Vec<IpAddr>),
    /// An address in the proxy's own network namespace, where no agent can look: the proxy checks it by itself.
    Beside(IpAddr),
    /// Nothing that this version can reach: clusters with such a source are refused.
    Nothing,
}

/// What a source of a Plan stands for; `None` while its group or its host name is not known yet.
pub fn found<'a>(plan: &Plan, source: &EndpointSource, lookup: &'a dyn Lookup) -> Option<Found<'a>> {
    Some(match &source.from {
        Source::Group(group) => Found::Pods(lookup.group(group)?),
        Source::Host(host) => Found::Host(lookup.host(&plan.dns_namespace, host)?),
        Source::Address(ip) => Found::Host(vec![*ip]),
        Source::Loopback(ip) => Found::Beside(*ip),
        Source::File(_) | Source::Unknown => Found::Nothing,
    })
}

/// The host names that a Plan's sources need the addresses of.
pub fn hosts(plan: &Plan) -> impl Iterator<Item = &str> {
    sources(plan).filter_map(|source| match &source.from {
        Source::Host(host) => Some(host.as_str()),
        Source::Group(_) | Source::Address(_) | Source::Loopback(_) | Source::File(_) | Source::Unknown => {
            None
        }
    })
}

/// The groups that a Plan's sources need the endpoints of.
pub fn groups(plan: &Plan) -> impl Iterator<Item = &Name> {
    sources(plan).filter_map(|source| match &source.from {
        Source::Group(group) => Some(group),
        Source::Host(_) | Source::Address(_) | Source::Loopback(_) | Source::File(_) | Source::Unknown => {
            None
        }
    })
}

/// The health check that a proxy makes by itself for some of a cluster's sources.
pub fn check_by_proxy(cluster: &Cluster) -> Option<&HealthCheck> {
    let beside = cluster.endpoints.iter().filter(|source| matches!(source.from, Source::Loopback(_)));
    beside.into_iter().find_map(|source| cluster.check_of(source))
}

fn sources(plan: &Plan) -> impl Iterator<Item = &EndpointSource> {
    plan.clusters.iter().flat_map(|cluster| &cluster.endpoints)
}
