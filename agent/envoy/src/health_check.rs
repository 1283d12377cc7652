//! Health checks that Envoy makes itself.

use std::num::NonZeroU32;

use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::config::core::v3::health_check::{
    HealthChecker, HttpHealthCheck, TcpHealthCheck,
};
use envoy_types::pb::envoy::r#type::v3::Int64Range;
use portreeve_api::http_path::HttpPath;
use portreeve_api::model::HealthCheck;

use super::wire::{duration, u32_value};

/// Builds the check for Envoy.
pub fn build(check: &HealthCheck) -> core::HealthCheck {
    let checker = match &check.http_path {
        None => HealthChecker::TcpHealthCheck(TcpHealthCheck::default()),
        Some(path) => HealthChecker::HttpHealthCheck(HttpHealthCheck {
            path: HttpPath::parse(path)
                .map_or_else(|_| path.to_string(), |path| path.request_target().into()),
            expected_statuses: vec![Int64Range { start: 200, end: 400 }],
            ..Default::default()
        }),
    };
    let threshold = |stated: Option<NonZeroU32>| u32_value(stated.map_or(1, NonZeroU32::get));
    let interval = check.interval.unwrap_or(HealthCheck::SHORTEST_INTERVAL);
    core::HealthCheck {
        interval: duration(interval),
        // Without this, Envoy checks a cluster without traffic only once a minute.
        no_traffic_interval: duration(interval),
        timeout: duration(check.timeout.unwrap_or(HealthCheck::DEFAULT_TIMEOUT)),
        unhealthy_threshold: threshold(check.unhealthy_threshold),
        healthy_threshold: threshold(check.healthy_threshold),
        health_checker: Some(checker),
        ..Default::default()
    }
}
