//! The filter that forwards datagrams: [`build`].

use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::config::listener::v3 as envoy;
use envoy_types::pb::envoy::extensions::filters::udp::udp_proxy::v3 as udp_proxy;
use envoy_types::pb::xds::core::v3::TypedExtensionConfig;
use envoy_types::pb::xds::r#type::matcher::v3 as matcher;
use prost::Message;

use super::hash::Hash;
use super::routes;
use super::target::Target;
use super::wire::{any, duration, u64_value};

/// Largest datagram in bytes that is forwarded without loss. Envoy by default drops datagrams over 1,500
/// bytes. A later change of this value would recreate every session.
pub const MAX_DATAGRAM: u64 = 9_000;

const UDP_PROXY: &str = "envoy.extensions.filters.udp.udp_proxy.v3.UdpProxyConfig";
const UDP_ROUTE: &str = "envoy.extensions.filters.udp.udp_proxy.v3.Route";

/// Returns the settings of a socket for datagrams.
pub fn datagram_socket() -> core::UdpSocketConfig {
    core::UdpSocketConfig { max_rx_datagram_size: u64_value(MAX_DATAGRAM), ..Default::default() }
}

/// Builds the filter. `routes` chooses the cluster, and `to` says the rest. With `keyed`, all datagrams of all listeners of a
/// key have one endpoint.
pub fn build(to: &Target<'_>, routes: matcher::Matcher, keyed: bool) -> envoy::ListenerFilter {
    use udp_proxy::udp_proxy_config::hash_policy::PolicySpecifier;
    let by = |policy| udp_proxy::udp_proxy_config::HashPolicy { policy_specifier: Some(policy) };
    let hash_policies = match to.hash {
        Hash::Source => vec![by(PolicySpecifier::SourceIp(true))],
        Hash::Constant(text) => vec![by(PolicySpecifier::Key(text.clone()))],
        // Datagrams have no headers.
        Hash::None | Hash::Header(_) => Vec::new(),
    };
    let config = udp_proxy::UdpProxyConfig {
        stat_prefix: to.listener.into(),
        idle_timeout: duration(to.idle),
        hash_policies,
        upstream_socket_config: Some(datagram_socket()),
        // The assignment's priorities choose the endpoint of a key for each datagram, so that all listeners of a call
        // return to it together after a flap. Without a key, a sender keeps its endpoint.
        use_per_packet_load_balancing: keyed,
        route_specifier: Some(udp_proxy::udp_proxy_config::RouteSpecifier::Matcher(routes)),
        ..Default::default()
    };
    envoy::ListenerFilter {
        name: "envoy.filters.udp_listener.udp_proxy".into(),
        config_type: Some(envoy::listener_filter::ConfigType::TypedConfig(any(UDP_PROXY, &config))),
        ..Default::default()
    }
}

/// Returns the action that forwards datagrams to a cluster.
pub fn to_cluster(cluster: &str) -> TypedExtensionConfig {
    let route = udp_proxy::Route { cluster: cluster.into() };
    TypedExtensionConfig { name: "route".into(), typed_config: Some(any(UDP_ROUTE, &route)) }
}

/// Returns the first cluster to which a filter that [`build`] built routes.
pub fn target(filter: &envoy::ListenerFilter) -> Option<String> {
    use envoy::listener_filter::ConfigType::TypedConfig;
    let Some(TypedConfig(config)) = &filter.config_type else { return None };
    let config = udp_proxy::UdpProxyConfig::decode(&*config.value).ok()?;
    let Some(udp_proxy::udp_proxy_config::RouteSpecifier::Matcher(routes)) = config.route_specifier else {
        return None;
    };
    let action = routes::first_action(routes)?;
    Some(udp_proxy::Route::decode(&*action.typed_config?.value).ok()?.cluster)
}
