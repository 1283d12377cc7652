//! The filter chain of a TCP listener: [`build`].

use std::time::Duration;

use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::config::listener::v3 as envoy;
use envoy_types::pb::envoy::extensions::filters::network::tcp_proxy::v3 as tcp_proxy;
use envoy_types::pb::envoy::r#type::v3 as kinds;
use envoy_types::pb::google::protobuf::Any;
use prost::Message;

use super::hash::Hash;
use super::http;
use super::principals::Principals;
use super::target::{Layer, Target};
use super::wire::{any, duration, u32_value};

const TCP_PROXY: &str = "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy";

/// The most bytes of a client that `tcp_proxy` holds until it has connected.
const EARLY_BYTES: u32 = 65_536;

/// How long a client may take for the TLS handshake. Envoy has no limit by default.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(15);

/// Builds the filter chain. With TLS, `tcp_proxy` connects to an endpoint only after the handshake, or even after the
/// first byte if that is when the client's name is judged. Otherwise a rejected client would make the application
/// accept a connection, and get what it says first.
pub fn build(
    to: &Target<'_>,
    tls: Option<core::TransportSocket>,
    principals: Principals<'_>,
) -> envoy::FilterChain {
    use tcp_proxy::UpstreamConnectMode::{Immediate, OnDownstreamData, OnDownstreamTlsHandshake};
    let connect = match (&tls, principals) {
        (None, _) => Immediate,
        (Some(_), Principals::AtFirstByte(_)) => OnDownstreamData,
        (Some(_), Principals::All | Principals::InHandshake(_)) => OnDownstreamTlsHandshake,
    };
    let forward = match to.layer {
        Layer::Bytes => proxy(to, connect),
        Layer::Http | Layer::WebSocket => http::manager(to),
    };
    envoy::FilterChain {
        filters: principals.filter(to.listener).into_iter().chain([forward]).collect(),
        transport_socket_connect_timeout: tls.as_ref().and(duration(HANDSHAKE_TIMEOUT)),
        transport_socket: tls,
        ..Default::default()
    }
}

/// Returns the cluster to which a chain's last filter routes.
pub fn target(config: &Any) -> Option<String> {
    if config.type_url.ends_with(http::MANAGER) {
        return http::target(&config.value);
    }
    match tcp_proxy::TcpProxy::decode(&*config.value).ok()?.cluster_specifier? {
        tcp_proxy::tcp_proxy::ClusterSpecifier::Cluster(name) => Some(name),
        tcp_proxy::tcp_proxy::ClusterSpecifier::WeightedClusters(_) => None,
    }
}

fn proxy(to: &Target<'_>, connect: tcp_proxy::UpstreamConnectMode) -> envoy::Filter {
    let by_source = kinds::HashPolicy {
        policy_specifier: Some(kinds::hash_policy::PolicySpecifier::SourceIp(
            kinds::hash_policy::SourceIp {},
        )),
    };
    let delayed = connect != tcp_proxy::UpstreamConnectMode::Immediate;
    let config = tcp_proxy::TcpProxy {
        stat_prefix: to.listener.into(),
        idle_timeout: duration(to.idle),
        hash_policy: if *to.hash == Hash::Source { vec![by_source] } else { Vec::new() },
        upstream_connect_mode: connect.into(),
        max_early_data_bytes: if delayed { u32_value(EARLY_BYTES) } else { None },
        cluster_specifier: Some(tcp_proxy::tcp_proxy::ClusterSpecifier::Cluster(to.cluster.into())),
        ..Default::default()
    };
    envoy::Filter {
        name: "envoy.filters.network.tcp_proxy".into(),
        config_type: Some(envoy::filter::ConfigType::TypedConfig(any(TCP_PROXY, &config))),
    }
}
