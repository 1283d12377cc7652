//! Health checks that an Envoy makes by itself.

use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::config::core::v3::health_check::{
    HealthChecker, HttpHealthCheck, TcpHealthCheck,
};
use envoy_types::pb::envoy::r#type::v3::Int64Range;
use portreeve_api::http_path::HttpPath;
use portreeve_api::plan;

use super::wire::{duration, u32_value};

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
