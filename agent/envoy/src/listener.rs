//! Translates listeners: UDP to `udp_proxy`, TCP and WebSocket to filter chains (`chain`).

use std::sync::Arc;
use std::time::Duration;

use crate::Envoy;
use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::config::listener::v3 as envoy;
use envoy_types::pb::google::protobuf::BoolValue;
use portreeve_agent_core::translate::bind::{Bind, Families};
use portreeve_agent_core::translate::request::{Lookup, Request, qualified};
use portreeve_api::model::{Balancer, Listener, Protocol, Scope};
use portreeve_xds::{Name, Resource};
use prost::Message;

use super::peers::{self, Peers};
use super::principals::Principals;
use super::routes::{self, Way};
use super::target::{Layer, Target};
use super::unbuilt::Unbuilt;
use super::{chain, sockets, tls, udp};

/// The beginning of the names of filter chains, of which each rule has one.
const CHAIN: &str = "rule";

/// A listener and what it needs.
pub struct Built {
    /// The encoded listener.
    pub resource: Arc<Resource>,
    /// The secrets that it refers to.
    pub secrets: Vec<Arc<Resource>>,
    /// The names in the Plan of the clusters that it routes to, each with the timeout of connections that its retries set.
    pub clusters: Vec<(String, Option<Duration>)>,
}

/// Builds one listener.
///
/// # Errors
/// Returns a message about an unsupported setting, or that a group or secret is not known yet.
pub fn build(request: &Request<'_>, listener: &Listener, lookup: &dyn Lookup) -> Result<Built, Unbuilt> {
    let socket = listener.socket.as_ref().ok_or("the listener has no socket")?;
    let ways = routes::ways(request.plan, listener)?;
    let bind = Bind::of(socket, request.families)?;
    let port = socket.port.ok_or("the listener has no port")?;
    let name = qualified(request.plan, &listener.name);
    // The socket of a floating address is opened even while no interface has it.
    let freebind = (socket.scope == Scope::Floating).then_some(BoolValue { value: true });
    let mut built = envoy::Listener { name: name.to_string(), freebind, ..Default::default() };
    let v6_first = request.families == Families::DualV6First;
    let mut secrets = Vec::new();
    match socket.protocol {
        Protocol::Udp => {
            let addresses = sockets::addresses(bind, v6_first, core::socket_address::Protocol::Udp, port);
            sockets::open(&mut built, addresses, sockets::may_fragment);
            built.udp_listener_config = Some(envoy::UdpListenerConfig {
                downstream_socket_config: Some(udp::datagram_socket()),
                ..Default::default()
            });
            built.listener_filters.extend(datagrams(request, listener, &ways));
        }
        Protocol::Tcp | Protocol::Websocket => {
            let addresses = sockets::addresses(bind, v6_first, core::socket_address::Protocol::Tcp, port);
            sockets::open(&mut built, addresses, |_| Vec::new());
            secrets = connections(&mut built, request, listener, (&ways, lookup))?;
        }
        other => return Err(format!("an Envoy can't open a {} listener", other.name()).into()),
    }
    let resource = with_address(name.clone(), &built, &built.encode_to_vec());
    let clusters = ways.iter().map(|way| (way.cluster.name.clone(), way.retries.map(|one| one.timeout)));
    Ok(Built { resource, secrets, clusters: clusters.collect() })
}

/// Calls `with` with where the sessions of a way go.
fn with_target<R>(
    request: &Request<'_>,
    listener: &Listener,
    way: &Way<'_>,
    with: impl FnOnce(&Target<'_>) -> R,
) -> R {
    let protocol = listener.socket.as_ref().map(|socket| socket.protocol);
    let default_ms = match protocol {
        Some(Protocol::Udp) => request.defaults.udp_idle_ms,
        _ => request.defaults.tcp_idle_ms,
    };
    let stated = listener.options.as_ref().and_then(|options| options.idle_timeout);
    with(&Target {
        listener: &qualified(request.plan, &listener.name),
        cluster: &way.name(request),
        may_dangle: way.may_dangle(),
        hash: &way.hash,
        layer: match protocol {
            Some(Protocol::Websocket) => Layer::WebSocket,
            _ if listener.http => Layer::Http,
            _ => Layer::Bytes,
        },
        retries: way.retries,
        idle: stated.unwrap_or(Duration::from_millis(default_ms)),
        streams: request.streams,
    })
}

/// Returns the filter of a UDP listener. All ways choose endpoints as the first one.
fn datagrams(request: &Request<'_>, listener: &Listener, ways: &[Way<'_>]) -> Option<envoy::ListenerFilter> {
    let first = ways.first()?;
    let keyed = matches!(first.cluster.balancer, Some(Balancer::Key(_)));
    let routes = routes::matcher(ways, |_, way| udp::to_cluster(&way.name(request)));
    Some(with_target(request, listener, first, |to| udp::build(to, routes, keyed)))
}

/// Adds the filter chains of a TCP listener and the choice among them. Returns the secrets of its TLS.
fn connections(
    built: &mut envoy::Listener,
    request: &Request<'_>,
    listener: &Listener,
    (ways, lookup): (&[Way<'_>], &dyn Lookup),
) -> Result<Vec<Arc<Resource>>, Unbuilt> {
    if let [only @ Way { condition: None, .. }] = ways {
        return with_target(request, listener, only, |to| admit(built, to, listener, lookup));
    }
    let chain_name = |at: usize| format!("{CHAIN}-{at}");
    for (at, way) in ways.iter().enumerate() {
        let chain = with_target(request, listener, way, |to| chain::build(to, None, Principals::All));
        built.filter_chains.push(envoy::FilterChain { name: chain_name(at), ..chain });
    }
    built.filter_chain_matcher = Some(routes::matcher(ways, |at, _| peers::to_chain(&chain_name(at))));
    Ok(Vec::new())
}

/// Adds the only filter chain of a TCP listener and the choice of its peers. Returns the secrets of its TLS.
fn admit(
    built: &mut envoy::Listener,
    to: &Target<'_>,
    listener: &Listener,
    lookup: &dyn Lookup,
) -> Result<Vec<Arc<Resource>>, Unbuilt> {
    let principals = Principals::of(listener.sources.as_ref());
    let (socket, secrets) = match &listener.tls {
        Some(tls) => {
            let name = to.listener.into();
            let secured = tls::server(&name, tls, principals, to.streams, lookup).ok_or(Unbuilt::Waiting)?;
            (Some(secured.socket), secured.secrets)
        }
        None => (None, Vec::new()),
    };
    let mut chain = chain::build(to, socket, principals);
    if let Some(policy) = &listener.sources {
        chain.name = peers::ALLOWED.into();
        built.filter_chain_matcher = Peers::of(policy, lookup).ok_or(Unbuilt::Waiting)?.matcher();
    }
    built.filter_chains.push(chain);
    Ok(secrets)
}

/// Returns a listener's resource from its bytes.
pub fn of_bytes(name: Name, body: &[u8]) -> Arc<Resource> {
    with_address(name, &envoy::Listener::decode(body).unwrap_or_default(), body)
}

/// Returns the cluster that a listener routes to, read from the listener's bytes.
pub fn target(body: &[u8]) -> Option<Name> {
    use envoy::filter::ConfigType::TypedConfig;
    let listener = envoy::Listener::decode(body).ok()?;
    if let Some(filter) = listener.listener_filters.first() {
        return udp::target(filter).map(Name::from);
    }
    let Some(TypedConfig(config)) = &listener.filter_chains.first()?.filters.last()?.config_type else {
        return None;
    };
    chain::target(config).map(Name::from)
}

/// Returns the names of the secrets that a listener refers to, read from the listener's bytes.
pub fn secrets(body: &[u8]) -> Vec<Name> {
    let listener = envoy::Listener::decode(body).unwrap_or_default();
    let sockets = listener.filter_chains.iter().filter_map(|chain| chain.transport_socket.as_ref());
    sockets.flat_map(tls::secrets).collect()
}

fn with_address(name: Name, listener: &envoy::Listener, body: &[u8]) -> Arc<Resource> {
    match address(listener) {
        Some(address) => Resource::with_address(Envoy::Listener, name, body, address),
        None => Resource::new(Envoy::Listener, name, body),
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
