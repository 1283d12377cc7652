//! Where an Envoy gets the resources that its clusters and listeners refer to: [`build`].

use std::time::Duration;

use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::config::core::v3::api_config_source::ApiType;
use envoy_types::pb::envoy::config::core::v3::config_source::ConfigSourceSpecifier;
use envoy_types::pb::envoy::config::core::v3::grpc_service::{EnvoyGrpc, TargetSpecifier};
use portreeve_agent_core::translate::Streams;
use portreeve_agent_core::translate::streams::Server;

use super::wire::duration;

/// First and longest delay before an Envoy opens an ended stream again. By default the delay reaches 30 s.
const RETRY_FIRST: Duration = Duration::from_millis(50);
const RETRY_LONGEST: Duration = Duration::from_secs(1);

/// Builds the source of assignments and secrets.
///
/// Without aggregated discovery in its bootstrap, an Envoy rejects a whole response of clusters if one of them refers to
/// the aggregated stream. It gets a reference to the same server by the name that its bootstrap gives it, and opens a
/// stream for each cluster and each secret.
pub fn build(streams: &Streams) -> core::ConfigSource {
    let specifier = match streams {
        Streams::Aggregated => ConfigSourceSpecifier::Ads(core::AggregatedConfigSource {}),
        Streams::Separate(server) => ConfigSourceSpecifier::ApiConfigSource(of_server(server)),
    };
    core::ConfigSource {
        resource_api_version: core::ApiVersion::V3.into(),
        // Always wait: an assignment follows its cluster, and without a secret a port must stay closed.
        initial_fetch_timeout: duration(Duration::ZERO),
        config_source_specifier: Some(specifier),
        ..Default::default()
    }
}

fn of_server(server: &Server) -> core::ApiConfigSource {
    let retry = core::RetryPolicy {
        retry_back_off: Some(core::BackoffStrategy {
            base_interval: duration(RETRY_FIRST),
            max_interval: duration(RETRY_LONGEST),
        }),
        ..Default::default()
    };
    let service = core::GrpcService {
        target_specifier: Some(TargetSpecifier::EnvoyGrpc(EnvoyGrpc {
            cluster_name: server.cluster.clone(),
            retry_policy: Some(retry),
            ..Default::default()
        })),
        ..Default::default()
    };
    core::ApiConfigSource {
        api_type: if server.delta { ApiType::DeltaGrpc } else { ApiType::Grpc }.into(),
        transport_api_version: core::ApiVersion::V3.into(),
        grpc_services: vec![service],
        set_node_on_first_message_only: true,
        ..Default::default()
    }
}
