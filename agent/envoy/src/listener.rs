//! Translates listeners: UDP to `udp_proxy`, TCP to a filter chain (`chain`).

use std::sync::Arc;
use std::time::Duration;

use crate::Envoy;
use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::config::listener::v3 as envoy;
use portreeve_agent_core::translate::bind::{Bind, Families};
use portreeve_agent_core::translate::request::{Lookup, Request, qualified};
use portreeve_api::model::{Cluster, Listener, Plan, Protocol};
use portreeve_xds::{Name, Resource};
use prost::Message;

use super::peers::{self, Peers};
use super::principals::Principals;
use super::target::Target;
use super::unbuilt::Unbuilt;
use super::{chain, sockets, support, tls, udp};

/// The kind of proxy in messages.
const PROXY: &str = "an Envoy";

/// A listener and what it needs.
pub struct Built {
    /// The encoded listener.
    pub resource: Arc<Resource>,
    /// The secrets that it refers to.
    pub secrets: Vec<Arc<Resource>>,
    /// The name in the Plan of the cluster that it routes to.
    pub cluster: String,
}

/// Builds one listener.
///
/// # Errors
/// Returns a message about an unsupported setting, or that a group or secret is not known yet.
pub fn build(request: &Request<'_>, listener: &Listener, lookup: &dyn Lookup) -> Result<Built, Unbuilt> {
    let socket = listener.socket.as_ref().ok_or("the listener has no socket")?;
    let cluster = supported(request.plan, listener)?;
    let bind = Bind::of(socket, request.families)?;
    let port = socket.port.ok_or("the listener has no port")?;
    let name = qualified(request.plan, &listener.name);
    let cluster_name = request.cluster_name(&cluster.name);
    let stated = listener.options.as_ref().and_then(|options| options.idle_timeout);
    let to = |default_ms| Target {
        listener: &name,
        cluster: &cluster_name,
        balancer: cluster.balancer.as_ref(),
        idle: stated.unwrap_or(Duration::from_millis(default_ms)),
        streams: request.streams,
    };
    let mut built = envoy::Listener { name: name.to_string(), ..Default::default() };
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
            built.listener_filters.push(udp::build(&to(request.defaults.udp_idle_ms)));
        }
        Protocol::Tcp => {
            let addresses = sockets::addresses(bind, v6_first, core::socket_address::Protocol::Tcp, port);
            sockets::open(&mut built, addresses, |_| Vec::new());
            secrets = admit(&mut built, &to(request.defaults.tcp_idle_ms), listener, lookup)?;
        }
        other => return Err(format!("an Envoy can't open a {} listener", other.name()).into()),
    }
    let resource = with_address(name.clone(), &built, &built.encode_to_vec());
    Ok(Built { resource, secrets, cluster: cluster.name.clone() })
}

/// Adds the filter chain of a TCP listener and the choice of its peers. Returns the secrets of its TLS.
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
    let mut chain = chain::build(to, listener.http, socket, principals);
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

/// Returns a listener's cluster.
///
/// # Errors
/// Returns a message about the settings of either that are not supported.
fn supported<'a>(plan: &'a Plan, listener: &Listener) -> Result<&'a Cluster, String> {
    if let Some(text) = support::listener(plan, listener).told("the listener", PROXY) {
        return Err(text);
    }
    let cluster = destination(plan, listener)?;
    if let Some(text) = support::cluster(cluster).told(&format!("its cluster {}", cluster.name), PROXY) {
        return Err(text);
    }
    let protocol = listener.socket.as_ref().map(|socket| socket.protocol);
    if cluster.socket.as_ref().is_some_and(|to| Some(to.protocol) != protocol) {
        return Err(format!("its cluster {} is of another protocol: an Envoy can't convert", cluster.name));
    }
    if cluster.http && !listener.http {
        return Err(format!(
            "its cluster {} is of HTTP/2, and the listener does not read HTTP",
            cluster.name
        ));
    }
    Ok(cluster)
}

fn destination<'a>(plan: &'a Plan, listener: &Listener) -> Result<&'a Cluster, String> {
    let [rule] = listener.rules.as_slice() else {
        return Err("an Envoy takes exactly one rule for each listener".into());
    };
    let route = rule.route.as_ref().ok_or("an Envoy takes only a rule with a route")?;
    plan.cluster(&route.destination)
        .ok_or_else(|| format!("cluster {} is not in the object", route.destination))
}
