//! Translates listeners: UDP to `udp_proxy`, TCP to `tcp_proxy`.

use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::config::listener::v3 as envoy;
use envoy_types::pb::envoy::extensions::filters::network::tcp_proxy::v3 as tcp_proxy;
use envoy_types::pb::envoy::extensions::filters::udp::udp_proxy::v3 as udp_proxy;
use envoy_types::pb::xds::core::v3::TypedExtensionConfig;
use envoy_types::pb::xds::r#type::matcher::v3 as matcher;
use portreeve_api::model::{Balancer, Cluster, Listener, Plan, Protocol};
use portreeve_xds::envoy::EnvoyType;
use portreeve_xds::{Name, Resource};
use prost::Message;

use super::support;
use super::wire::{any, duration, u64_value};
use crate::translate::bind::{Bind, Families, Part};
use crate::translate::request::{Request, qualified};

/// Largest datagram in bytes that is forwarded without loss. Envoy by default drops datagrams over 1,500
/// bytes. A later change of this value would recreate every session.
pub const MAX_DATAGRAM: u64 = 9_000;

const UDP_PROXY: &str = "envoy.extensions.filters.udp.udp_proxy.v3.UdpProxyConfig";
const UDP_ROUTE: &str = "envoy.extensions.filters.udp.udp_proxy.v3.Route";
const TCP_PROXY: &str = "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy";

/// A listener and the cluster that it routes to.
pub struct Built {
    /// The encoded listener.
    pub resource: Arc<Resource>,
    /// The cluster's name in the Plan.
    pub cluster: String,
}

/// Builds one listener.
///
/// # Errors
/// Returns a message about an unsupported setting.
pub fn build(request: &Request<'_>, listener: &Listener) -> Result<Built, String> {
    let socket = listener.socket.as_ref().ok_or("the listener has no socket")?;
    if let Some(text) = support::listener(request.plan, listener).told("the listener") {
        return Err(text);
    }
    let cluster = destination(request.plan, listener)?;
    if let Some(text) = support::cluster(cluster).told(&format!("its cluster {}", cluster.name)) {
        return Err(text);
    }
    if cluster.socket.as_ref().is_some_and(|to| to.protocol != socket.protocol) {
        return Err(format!("its cluster {} is of another protocol: an Envoy can't convert", cluster.name));
    }
    let bind = Bind::of(socket, request.families)?;
    let port = socket.port.ok_or("the listener has no port")?;
    let name = qualified(request.plan, &listener.name);
    let target = request.cluster_name(&cluster.name);
    let stated = listener.options.as_ref().and_then(|options| options.idle_timeout);
    let idle = |default_ms| stated.unwrap_or(Duration::from_millis(default_ms));
    let mut built = envoy::Listener { name: name.to_string(), ..Default::default() };
    let v6_first = request.families == Families::DualV6First;
    match socket.protocol {
        Protocol::Udp => {
            let addresses = addresses(bind, v6_first, core::socket_address::Protocol::Udp, port);
            open(&mut built, addresses, may_fragment);
            built.udp_listener_config = Some(envoy::UdpListenerConfig {
                downstream_socket_config: Some(datagram_socket()),
                ..Default::default()
            });
            let idle = idle(request.defaults.udp_idle_ms);
            built.listener_filters.push(udp_filter(&name, &target, cluster.balancer.as_ref(), idle));
        }
        Protocol::Tcp => {
            let addresses = addresses(bind, v6_first, core::socket_address::Protocol::Tcp, port);
            open(&mut built, addresses, |_| Vec::new());
            let idle = idle(request.defaults.tcp_idle_ms);
            built.filter_chains.push(tcp_chain(&name, &target, cluster.balancer.as_ref(), idle));
        }
        other => return Err(format!("an Envoy can't open a {} listener", other.name())),
    }
    let resource = with_address(name, &built, &built.encode_to_vec());
    Ok(Built { resource, cluster: cluster.name.clone() })
}

/// Returns a listener's resource from its bytes.
pub fn of_bytes(name: Name, body: &[u8]) -> Arc<Resource> {
    with_address(name, &envoy::Listener::decode(body).unwrap_or_default(), body)
}

/// Returns the cluster that a listener routes to, read from the listener's bytes.
pub fn target(body: &[u8]) -> Option<Name> {
    use envoy::filter::ConfigType::TypedConfig as OfChain;
    use envoy::listener_filter::ConfigType::TypedConfig as OfListener;
    let listener = envoy::Listener::decode(body).ok()?;
    if let Some(filter) = listener.listener_filters.first() {
        let Some(OfListener(config)) = &filter.config_type else { return None };
        let config = udp_proxy::UdpProxyConfig::decode(&*config.value).ok()?;
        let Some(udp_proxy::udp_proxy_config::RouteSpecifier::Matcher(routes)) = config.route_specifier
        else {
            return None;
        };
        let matcher::matcher::on_match::OnMatch::Action(action) = routes.on_no_match?.on_match? else {
            return None;
        };
        let route = udp_proxy::Route::decode(&*action.typed_config?.value).ok()?;
        return Some(route.cluster.into());
    }
    let Some(OfChain(config)) = &listener.filter_chains.first()?.filters.first()?.config_type else {
        return None;
    };
    match tcp_proxy::TcpProxy::decode(&*config.value).ok()?.cluster_specifier? {
        tcp_proxy::tcp_proxy::ClusterSpecifier::Cluster(name) => Some(name.into()),
        tcp_proxy::tcp_proxy::ClusterSpecifier::WeightedClusters(_) => None,
    }
}

fn with_address(name: Name, listener: &envoy::Listener, body: &[u8]) -> Arc<Resource> {
    match address(listener) {
        Some(address) => Resource::with_address(EnvoyType::Listener, name, body, address),
        None => Resource::new(EnvoyType::Listener, name, body),
    }
}

/// Returns a listener's transport and port as one text, with its address unless that is the wildcard. Envoy
/// accepts a listener on one address beside one on the wildcard address.
fn address(listener: &envoy::Listener) -> Option<String> {
    use core::socket_address::{PortSpecifier, Protocol};
    let Some(core::address::Address::SocketAddress(socket)) = listener.address.as_ref()?.address.as_ref()
    else {
        return None;
    };
    let Some(PortSpecifier::PortValue(port)) = socket.port_specifier else { return None };
    let transport = match socket.protocol() {
        Protocol::Udp => "udp",
        Protocol::Tcp => "tcp",
    };
    match socket.address.as_str() {
        "0.0.0.0" | "::" => Some(format!("{transport} {port}")),
        one => Some(format!("{transport} {port} at {one}")),
    }
}

fn destination<'a>(plan: &'a Plan, listener: &Listener) -> Result<&'a Cluster, String> {
    let [rule] = listener.rules.as_slice() else {
        return Err("an Envoy takes exactly one rule for each listener".into());
    };
    let route = rule.route.as_ref().ok_or("an Envoy takes only a rule with a route")?;
    plan.cluster(&route.destination)
        .ok_or_else(|| format!("cluster {} is not in the object", route.destination))
}

/// Returns the sockets to open, the main one first.
fn addresses(
    bind: Bind,
    v6_first: bool,
    protocol: core::socket_address::Protocol,
    port: NonZeroU16,
) -> Vec<core::SocketAddress> {
    let at = |address: String, ipv4_compat| core::SocketAddress {
        protocol: protocol.into(),
        address,
        port_specifier: Some(core::socket_address::PortSpecifier::PortValue(port.get().into())),
        ipv4_compat,
        ..Default::default()
    };
    if let (Part::Any, Part::Any) = (bind.v4, bind.v6) {
        return vec![at("::".into(), true)];
    }
    let v4 = match bind.v4 {
        Part::Nothing => None,
        Part::Any => Some("0.0.0.0".to_owned()),
        Part::One(ip) => Some(ip.to_string()),
    };
    let v6 = match bind.v6 {
        Part::Nothing => None,
        Part::Any => Some("::".to_owned()),
        Part::One(ip) => Some(ip.to_string()),
    };
    let both = if v6_first { [v6, v4] } else { [v4, v6] };
    both.into_iter().flatten().map(|address| at(address, false)).collect()
}

/// Sets a listener's sockets, each with the options that `options` returns.
fn open(
    built: &mut envoy::Listener,
    addresses: Vec<core::SocketAddress>,
    options: impl Fn(&core::SocketAddress) -> Vec<core::SocketOption>,
) {
    let address = |socket| core::Address { address: Some(core::address::Address::SocketAddress(socket)) };
    let mut addresses = addresses.into_iter();
    let Some(main) = addresses.next() else { return };
    built.socket_options = options(&main);
    built.address = Some(address(main));
    built.additional_addresses = addresses
        .map(|socket| {
            // Without its own options, an additional address would get those of the main one.
            let own = core::SocketOptionsOverride { socket_options: options(&socket) };
            envoy::AdditionalAddress {
                address: Some(address(socket)),
                socket_options: Some(own),
                ..Default::default()
            }
        })
        .collect();
}

/// Returns options that allow fragmentation of sent datagrams. Envoy forbids it for UDP listeners, and an
/// answer larger than the link's MTU would be lost. The values are the Linux kernel's defaults. They are set
/// after Envoy's own option, which is set before the bind.
fn may_fragment(socket: &core::SocketAddress) -> Vec<core::SocketOption> {
    use core::socket_option::{SocketState, Value};
    const PMTUDISC_WANT: i64 = 1;
    let option = |description: &str, level, name| core::SocketOption {
        description: description.into(),
        level,
        name,
        value: Some(Value::IntValue(PMTUDISC_WANT)),
        state: SocketState::StateBound.into(),
        ..Default::default()
    };
    // Protocol numbers of IP and IPv6, with their options. An IPv4 socket does not accept IPv6 options.
    let mut options = vec![option("IP_MTU_DISCOVER", 0, 10)];
    if socket.address.contains(':') {
        options.push(option("IPV6_MTU_DISCOVER", 41, 23));
    }
    options
}

fn datagram_socket() -> core::UdpSocketConfig {
    core::UdpSocketConfig { max_rx_datagram_size: u64_value(MAX_DATAGRAM), ..Default::default() }
}

fn udp_filter(
    name: &str,
    target: &str,
    balancer: Option<&Balancer>,
    idle: Duration,
) -> envoy::ListenerFilter {
    // A key has one endpoint. The assignment's priorities choose it for each datagram, so that all listeners
    // of a call return to it together after a flap. Without a key, a sender keeps its endpoint.
    let keyed = matches!(balancer, Some(Balancer::Key(_)));
    let by_source = udp_proxy::udp_proxy_config::HashPolicy {
        policy_specifier: Some(udp_proxy::udp_proxy_config::hash_policy::PolicySpecifier::SourceIp(true)),
    };
    let config = udp_proxy::UdpProxyConfig {
        stat_prefix: name.into(),
        idle_timeout: duration(idle),
        hash_policies: match balancer {
            Some(Balancer::SourceAddress) => vec![by_source],
            _ => Vec::new(),
        },
        upstream_socket_config: Some(datagram_socket()),
        use_per_packet_load_balancing: keyed,
        route_specifier: Some(udp_proxy::udp_proxy_config::RouteSpecifier::Matcher(always(target))),
        ..Default::default()
    };
    envoy::ListenerFilter {
        name: "envoy.filters.udp_listener.udp_proxy".into(),
        config_type: Some(envoy::listener_filter::ConfigType::TypedConfig(any(UDP_PROXY, &config))),
        ..Default::default()
    }
}

fn always(target: &str) -> matcher::Matcher {
    let route = udp_proxy::Route { cluster: target.into() };
    let action = TypedExtensionConfig { name: "route".into(), typed_config: Some(any(UDP_ROUTE, &route)) };
    let on_match = matcher::matcher::OnMatch {
        on_match: Some(matcher::matcher::on_match::OnMatch::Action(action)),
        ..Default::default()
    };
    matcher::Matcher { on_no_match: Some(Box::new(on_match)), ..Default::default() }
}

fn tcp_chain(name: &str, target: &str, balancer: Option<&Balancer>, idle: Duration) -> envoy::FilterChain {
    use envoy_types::pb::envoy::r#type::v3 as kinds;
    let by_source = kinds::HashPolicy {
        policy_specifier: Some(kinds::hash_policy::PolicySpecifier::SourceIp(
            kinds::hash_policy::SourceIp {},
        )),
    };
    let config = tcp_proxy::TcpProxy {
        stat_prefix: name.into(),
        idle_timeout: duration(idle),
        hash_policy: match balancer {
            Some(Balancer::SourceAddress) => vec![by_source],
            _ => Vec::new(),
        },
        cluster_specifier: Some(tcp_proxy::tcp_proxy::ClusterSpecifier::Cluster(target.into())),
        ..Default::default()
    };
    let filter = envoy::Filter {
        name: "envoy.filters.network.tcp_proxy".into(),
        config_type: Some(envoy::filter::ConfigType::TypedConfig(any(TCP_PROXY, &config))),
    };
    envoy::FilterChain { filters: vec![filter], ..Default::default() }
}
