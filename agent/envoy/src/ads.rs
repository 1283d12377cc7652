//! The source of the resources that a cluster or listener refers to.

use std::time::Duration;

use envoy_types::pb::envoy::config::core::v3 as core;

use super::wire::duration;

/// Returns the source of resources on the same stream.
pub(super) fn over_ads() -> core::ConfigSource {
    core::ConfigSource {
        resource_api_version: core::ApiVersion::V3.into(),
        // Always wait: an assignment follows its cluster on the same stream, and without a secret a port must stay closed.
        initial_fetch_timeout: duration(Duration::ZERO),
        config_source_specifier: Some(core::config_source::ConfigSourceSpecifier::Ads(
            core::AggregatedConfigSource {},
        )),
        ..Default::default()
    }
}
