//! The table of proxies, listeners and endpoints that `portreeve up` prints: plain data, then text.

use std::fmt::Write;
use std::sync::Arc;

use envoy_types::pb::envoy::config::core::v3::{HealthStatus, address, socket_address};
use envoy_types::pb::envoy::config::endpoint::v3::{ClusterLoadAssignment, lb_endpoint};
use portreeve_agent::local::{Answers, Local};
use portreeve_agent::world::claims::Denied;
use portreeve_agent::world::{Proxy, ProxyId};
use portreeve_api::plan;
use portreeve_xds::Resource;
use portreeve_xds::envoy::EnvoyType;
use prost::Message;

/// One listener on one proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The proxy, as people know it.
    pub proxy: String,
    /// Whether it shares this process's network.
    pub on_host: bool,
    /// `<api>/<namespace>/<object>/<listener>`.
    pub listener: String,
    /// True for UDP, false for TCP.
    pub udp: bool,
    /// The port.
    pub port: u32,
    /// All sessions share one endpoint.
    pub keyed: bool,
    /// Where it stands.
    pub state: State,
    /// The endpoints that are to take new sessions, the preferred one first.
    pub endpoints: Vec<String>,
}

/// Where a listener stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// The proxy accepted it.
    Active,
    /// The proxy has not answered yet.
    Pending,
    /// The proxy refused it, in these words.
    Refused(String),
    /// It is not served, for this reason.
    Denied(String),
}

/// All listeners of all proxies.
pub fn rows(local: &Local) -> Vec<Row> {
    let answers = local.answers();
    local.read(|world| {
        let mut rows = Vec::new();
        for (id, proxy) in world.proxies() {
            for name in proxy.plans.keys() {
                let plan = world.plan(name).cloned().unwrap_or_default();
                rows.extend(
                    plan.listeners.iter().map(|l| row((id, proxy), answers.get(id), (name, &plan), l)),
                );
            }
        }
        rows
    })
}

fn denied(lost: &Denied) -> State {
    State::Denied(lost.to_string())
}

fn state(proxy: &Proxy, answers: Option<&Answers>, listener: &str) -> State {
    let key = (EnvoyType::Listener, listener.into());
    let wanted = proxy.view.snapshot(|s| s.get(EnvoyType::Listener, listener).map(|r| r.version()));
    let Some(answers) = answers else { return State::Pending };
    if let Some(refusal) = answers.refused.get(&key) {
        return State::Refused(refusal.text.clone());
    }
    match wanted {
        Some(version) if answers.accepted.get(&key) == Some(&version) => State::Active,
        _ => State::Pending,
    }
}

fn row(
    (id, proxy): (&ProxyId, &Proxy),
    answers: Option<&Answers>,
    (name, plan): (&str, &plan::Plan),
    listener: &plan::Listener,
) -> Row {
    let lost = proxy.plans.get(name).and_then(|part| part.denied.get(&listener.name));
    let full = format!("{name}/{}", listener.name);
    let state = lost.map_or_else(|| state(proxy, answers, &full), denied);
    let socket = listener.socket.clone().unwrap_or_default();
    let cluster = listener
        .rules
        .first()
        .and_then(|r| r.route.as_ref())
        .map(|r| r.destination.clone())
        .unwrap_or_default();
    let balancer = plan.clusters.iter().find(|c| c.name == cluster).and_then(|c| c.balancer.as_ref());
    let keyed = matches!(balancer.and_then(|b| b.policy.as_ref()), Some(plan::balancer::Policy::Key(_)));
    Row {
        proxy: proxy.facts.title.clone(),
        on_host: matches!(id, ProxyId::Node(_)) || &*proxy.facts.netns == "host",
        listener: full,
        udp: socket.protocol() == plan::Protocol::Udp,
        port: socket.port,
        keyed,
        state,
        endpoints: endpoints(proxy, &format!("{name}/{cluster}")),
    }
}

/// What the proxy was told of a cluster, without endpoints that take no new session.
fn endpoints(proxy: &Proxy, cluster: &str) -> Vec<String> {
    let decode = |one: &Arc<Resource>| ClusterLoadAssignment::decode(one.body());
    let assignment = proxy.view.snapshot(|s| s.get(EnvoyType::Endpoint, cluster).map(decode));
    let Some(Ok(assignment)) = assignment else { return Vec::new() };
    let all = assignment.endpoints.iter().flat_map(|locality| &locality.lb_endpoints);
    let unused = [HealthStatus::Degraded, HealthStatus::Unhealthy];
    let usable = all.filter(|e| !unused.contains(&e.health_status()));
    usable.filter_map(|e| e.host_identifier.as_ref()).filter_map(address_of).collect()
}

fn address_of(host: &lb_endpoint::HostIdentifier) -> Option<String> {
    let lb_endpoint::HostIdentifier::Endpoint(endpoint) = host else { return None };
    let address::Address::SocketAddress(socket) = endpoint.address.as_ref()?.address.as_ref()? else {
        return None;
    };
    let socket_address::PortSpecifier::PortValue(port) = socket.port_specifier.as_ref()? else { return None };
    let colons = socket.address.contains(':');
    Some(if colons { format!("[{}]:{port}", socket.address) } else { format!("{}:{port}", socket.address) })
}

/// The table as text.
pub fn render(rows: &[Row]) -> String {
    let head = ["PROXY", "LISTENER", "PORT", "STATE", "ENDPOINTS"].map(str::to_string);
    let mut lines = vec![head];
    for row in rows {
        let protocol = if row.udp { "udp" } else { "tcp" };
        let key = if row.keyed && !row.endpoints.is_empty() { " (the first)" } else { "" };
        let endpoints = if row.endpoints.is_empty() { "none".into() } else { row.endpoints.join(" ") };
        let port = format!("{protocol} {}", row.port);
        lines.push([row.proxy.clone(), row.listener.clone(), port, row.state.to_string(), endpoints + key]);
    }
    let width = |column: usize| lines.iter().map(|l| l[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..4).map(width).collect();
    let mut text = String::new();
    for line in &lines {
        for (cell, width) in line.iter().zip(&widths) {
            // Writing to a String can't fail.
            let _ = write!(text, "{cell:width$}  ");
        }
        let _ = writeln!(text, "{}", line[4]);
    }
    text
}

// === impl State ===

impl std::fmt::Display for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            State::Active => f.write_str("active"),
            State::Pending => f.write_str("pending"),
            State::Refused(text) => write!(f, "refused: {text}"),
            State::Denied(text) => write!(f, "not served: {text}"),
        }
    }
}
