//! Translates clusters. Endpoints come by EDS. Every Envoy default that loses datagrams
//! is overridden.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::Envoy;
use envoy_types::pb::envoy::config::cluster::v3 as envoy;
use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::r#type::v3::Percent;
use envoy_types::pb::google::protobuf::BoolValue;
use portreeve_agent_core::translate::Request;
use portreeve_agent_core::translate::sources;
use portreeve_api::model::{Balancer, Cluster, Scope};
use portreeve_xds::{Name, Resource};
use prost::Message;

use super::wire::{duration, u32_value, u64_value};
use super::{config_source, health_check, http, tls};

/// Limit of sessions, connections and requests of one cluster. Envoy's default of 1,024 silently drops the
/// 1,025th UDP session.
const CIRCUIT_LIMIT: u32 = 1_000_000;

/// Size of a Maglev table, a prime. The default of 65,537 costs 3 s at startup and 70 kB per cluster.
const MAGLEV_TABLE: u64 = 16_381;

/// Builds a cluster, with the transport socket of its TLS. Its assignment has the same name.
pub fn build(
    cluster: &Cluster,
    name: &Name,
    request: &Request<'_>,
    tls: Option<core::TransportSocket>,
) -> Arc<Resource> {
    let limits = |priority: core::RoutingPriority| envoy::circuit_breakers::Thresholds {
        priority: priority.into(),
        max_connections: u32_value(CIRCUIT_LIMIT),
        max_pending_requests: u32_value(CIRCUIT_LIMIT),
        max_requests: u32_value(CIRCUIT_LIMIT),
        max_retries: u32_value(CIRCUIT_LIMIT),
        ..Default::default()
    };
    let timeout =
        cluster.connect_timeout.unwrap_or(Duration::from_millis(request.defaults.connect_timeout_ms));
    let mut built = envoy::Cluster {
        name: name.to_string(),
        connect_timeout: duration(timeout),
        cluster_discovery_type: Some(envoy::cluster::ClusterDiscoveryType::Type(
            envoy::cluster::DiscoveryType::Eds.into(),
        )),
        eds_cluster_config: Some(envoy::cluster::EdsClusterConfig {
            eds_config: Some(config_source::build(request.streams)),
            ..Default::default()
        }),
        circuit_breakers: Some(envoy::CircuitBreakers {
            thresholds: vec![limits(core::RoutingPriority::Default), limits(core::RoutingPriority::High)],
            ..Default::default()
        }),
        // With Envoy's default of 50 %, unhealthy endpoints get traffic too.
        common_lb_config: Some(envoy::cluster::CommonLbConfig {
            healthy_panic_threshold: Some(Percent { value: 0.0 }),
            ..Default::default()
        }),
        health_checks: sources::check_by_proxy(cluster).map(health_check::build).into_iter().collect(),
        ignore_health_on_host_removal: true,
        transport_socket: tls,
        upstream_bind_config: source(cluster).map(bind_to),
        typed_extension_protocol_options: if cluster.http { http::upstream() } else { HashMap::new() },
        ..Default::default()
    };
    let by_chance = matches!(&cluster.balancer, Some(Balancer::MetadataPath(path)) if path.is_empty());
    if by_chance {
        built.set_lb_policy(envoy::cluster::LbPolicy::Random);
    } else if matches!(cluster.balancer, Some(Balancer::SourceAddress | Balancer::MetadataPath(_))) {
        built.set_lb_policy(envoy::cluster::LbPolicy::Maglev);
        built.lb_config = Some(envoy::cluster::LbConfig::MaglevLbConfig(envoy::cluster::MaglevLbConfig {
            table_size: u64_value(MAGLEV_TABLE),
        }));
    }
    Resource::with_companion(Envoy::Cluster, name.clone(), &built.encode_to_vec(), name.clone())
}

/// Returns the address that the proxy connects from; `None` for any.
fn source(cluster: &Cluster) -> Option<IpAddr> {
    let socket = cluster.socket.as_ref().filter(|socket| socket.scope == Scope::Floating)?;
    socket.bind?.ip
}

/// Connects from an address, also while another node has it.
fn bind_to(source: IpAddr) -> core::BindConfig {
    let address = core::SocketAddress {
        address: source.to_string(),
        port_specifier: Some(core::socket_address::PortSpecifier::PortValue(0)),
        ..Default::default()
    };
    core::BindConfig {
        source_address: Some(address),
        freebind: Some(BoolValue { value: true }),
        ..Default::default()
    }
}

/// Returns a cluster's resource from its bytes.
pub fn of_bytes(name: Name, body: &[u8]) -> Arc<Resource> {
    match asks_for_endpoints(body) {
        true => Resource::with_companion(Envoy::Cluster, name.clone(), body, name),
        false => Resource::new(Envoy::Cluster, name, body),
    }
}

/// Returns whether a cluster gets its endpoints by EDS, read from the cluster's bytes. Those that templates make need not.
pub fn asks_for_endpoints(body: &[u8]) -> bool {
    let eds: i32 = envoy::cluster::DiscoveryType::Eds.into();
    envoy::Cluster::decode(body).map_or(true, |cluster| {
        matches!(cluster.cluster_discovery_type, Some(envoy::cluster::ClusterDiscoveryType::Type(ty)) if ty == eds)
    })
}

/// Returns the names of the secrets that a cluster refers to, read from the cluster's bytes.
pub fn secrets(body: &[u8]) -> Vec<Name> {
    let cluster = envoy::Cluster::decode(body).unwrap_or_default();
    cluster.transport_socket.iter().flat_map(tls::secrets).collect()
}
