//! Health checks that a proxy makes by itself: of loopback addresses, which mean the proxy's own network namespace, where
//! no agent can look. Entry point: [`by_proxy`].

use std::net::IpAddr;

use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::config::core::v3::health_check::{
    HealthChecker, HttpHealthCheck, TcpHealthCheck,
};
use envoy_types::pb::envoy::r#type::v3::Int64Range;
use portreeve_api::http_path::HttpPath;
use portreeve_api::plan;

use super::{duration, u32_value};

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

/// The check as Envoy runs it.
pub fn build(check: &plan::HealthCheck) -> core::HealthCheck {
    let checker = if check.http_path.is_empty() {
        HealthChecker::TcpHealthCheck(TcpHealthCheck::default())
    } else {
        let path = HttpPath::parse(&check.http_path).map(|path| path.request_target().into_owned());
        HealthChecker::HttpHealthCheck(HttpHealthCheck {
            path: path.unwrap_or_else(|_| check.http_path.clone()),
            expected_statuses: vec![Int64Range { start: 200, end: 400 }],
            ..Default::default()
        })
    };
    core::HealthCheck {
        interval: duration(check.interval_ms),
        // Without it a cluster that nobody uses yet is looked at once a minute.
        no_traffic_interval: duration(check.interval_ms),
        timeout: duration(check.timeout_ms),
        unhealthy_threshold: u32_value(check.unhealthy_threshold),
        healthy_threshold: u32_value(check.healthy_threshold),
        health_checker: Some(checker),
        ..Default::default()
    }
}
