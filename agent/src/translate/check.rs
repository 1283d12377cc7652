//! Health checks that a proxy makes by itself: of loopback addresses, which mean the proxy's own network namespace, where
//! no agent can look. Entry point: [`by_proxy`].

use std::net::IpAddr;

use portreeve_api::plan;

/// The health check of a cluster with a loopback address that is to be checked.
pub fn by_proxy(cluster: &plan::Cluster) -> Option<&plan::HealthCheck> {
    let asked = cluster.endpoints.iter().any(|source| source.health_port != 0 && is_by_proxy(source));
    cluster.health_check.as_ref().filter(|_| asked)
}

/// Whether a source is a loopback address.
pub fn is_by_proxy(source: &plan::EndpointSource) -> bool {
    use plan::endpoint_source::From;
    let Some(From::Ip(ip)) = &source.from else { return false };
    ip.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
}
