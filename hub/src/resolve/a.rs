//! API A: `servicemesh.l7mp.io/v1` VirtualService → Plan.
//!
//! Each listener becomes one listener and one cluster of the Plan. Labels are ANDed; the replaced operator ORed them (its
//! defect 10). Selectors look in the object's own namespace by default.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::num::NonZeroU16;
use std::time::Duration;

use portreeve_api::a::virtual_service::{Cluster, DEFINITION, Endpoint, KIND, Listener, VirtualService};
use portreeve_api::conditions::Reason;
use portreeve_api::kind::Kind;
use portreeve_api::model::{
    self, Balancer, EndpointSource, HealthCheck, Options, Plan, Protocol, Rule, Socket, Source,
};
use portreeve_api::names;
use portreeve_api::refs::ClusterPath;
use portreeve_api::violation::Violation;
use portreeve_xds::Name;

use crate::lookup::Lookup;
use crate::object::{self, Custom, Rejection, Resolved, Role, Root};
use crate::resolve::{health, origin};
use crate::row::Row;
use crate::selection::{Selection, SelectorScope};
use crate::services::{Names, Services};

mod service_ports;
#[cfg(test)]
mod tests;

/// How the hub treats VirtualServices.
pub const ROW: Row = Row {
    kind: &KIND,
    letters: "vs",
    label: "virtualservice",
    plural: "virtualservices",
    watch: "watch of virtualservices",
    resource: DEFINITION.resource,
    read: object::read::<VirtualService>,
    removes: |finalizer| finalizer == "l7mp.io/delete",
    annotations: |_| Vec::new(),
    fields: &[],
    services: false,
    announces: false,
    interface: false,
    allocates: false,
};

/// How long a connection to an endpoint may take (the seed's figure).
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

fn resolve(object: &VirtualService, scope: SelectorScope) -> Result<Resolved, Rejection> {
    let violations = object.validate_stored();
    if !violations.is_empty() {
        return Err(Rejection::of_violations(&violations));
    }
    let origin = origin::of(&KIND, &object.metadata);
    let mut resolving =
        Resolving { namespace: origin.namespace.clone(), scope, groups: Vec::new(), warnings: Vec::new() };
    let workload = Selection::of_labels(&object.spec.selector, &origin.namespace, scope);
    let mut plan = Plan {
        workload: model::Workload {
            namespace: workload.namespace().map(ToString::to_string),
            selector: workload.requirements(),
            proxy_name: None,
            node_name: None,
            proxy_kind: None,
            other_kinds: false,
            service_group: None,
        },
        dns_namespace: origin.namespace.clone(),
        origin,
        listeners: Vec::new(),
        clusters: Vec::new(),
        rule_lists: Vec::new(),
        needs: Vec::new(),
        envoy: Vec::new(),
        pod_bridge: None,
        tunnels: None,
    };
    let mut pairs = Vec::new();
    for listener in &object.spec.listeners {
        pairs.extend(resolving.listener(listener)?);
    }
    for (mut listener, cluster) in pairs {
        listener.rules.push(Rule::forward(&cluster.name));
        plan.listeners.push(listener);
        plan.clusters.push(cluster);
    }
    if plan.listeners.is_empty() {
        let why: Vec<_> = resolving.warnings.into_iter().map(|(_, text)| text).collect();
        let message = format!("spec.listeners: none can be opened: {}", why.join("; "));
        return Err(Rejection { reason: Reason::Invalid, message });
    }
    let Resolving { groups, warnings, .. } = resolving;
    Ok(Resolved { plan, workload, groups, warnings, missing: Vec::new(), told: Vec::new() })
}

impl Custom for VirtualService {
    const KIND: &'static Kind = &KIND;

    fn rules(&self) -> Vec<Violation> {
        self.validate()
    }

    fn what_for(&self) -> Role<'_> {
        Role::Root(self)
    }

    fn lead(&mut self, services: &Services<'_>, names: &mut Names) -> Vec<String> {
        service_ports::route(services, self, names)
    }
}

impl Root for VirtualService {
    fn resolve(&self, lookup: &mut Lookup<'_>) -> Result<Resolved, Rejection> {
        resolve(self, lookup.scope())
    }
}

/// The state of one object's resolution.
struct Resolving {
    namespace: String,
    scope: SelectorScope,
    groups: Vec<Selection>,
    warnings: Vec<(Reason, String)>,
}

// === impl Resolving ===

impl Resolving {
    /// Returns a listener and its cluster. `None` if the listener has no destination.
    fn listener(
        &mut self,
        listener: &Listener,
    ) -> Result<Option<(model::Listener, model::Cluster)>, Rejection> {
        self.remark_on_name(&listener.name);
        let (protocol, port, cluster) = match (&listener.udp, &listener.tcp) {
            (Some(udp), None) => (Protocol::Udp, udp.port, Some(&udp.cluster)),
            (None, Some(tcp)) => (Protocol::Tcp, tcp.port, tcp.cluster.as_ref()),
            _ => return Err(invalid(listener, "set exactly one of udp and tcp")),
        };
        let Some(cluster) = cluster else {
            // The replaced API accepts such a listener, so it must not affect the object's other listeners.
            let text =
                format!("listener {}: tcp has no cluster to forward to and is not opened", listener.name);
            self.warnings.push((Reason::Unsupported, text));
            return Ok(None);
        };
        let options =
            Options { idle_timeout: idle_timeout(listener), remove_orphan_sessions: false, track: None };
        let opened = model::Listener {
            name: listener.name.clone(),
            socket: Some(Socket::new(protocol, port_of(port))),
            rules: Vec::new(),
            tls: None,
            sources: None,
            http: false,
            options: Some(options),
            needs: Vec::new(),
        };
        Ok(Some((opened, self.cluster(listener, cluster, protocol)?)))
    }

    fn remark_on_name(&mut self, name: &str) {
        if !names::is_plain(name) {
            let form = names::proxy_part(name);
            let text = format!("listener {name}: proxies know it as {form}; give it a plain name");
            self.warnings.push((Reason::EscapedName, text));
        }
    }

    fn cluster(
        &mut self,
        listener: &Listener,
        cluster: &Cluster,
        protocol: Protocol,
    ) -> Result<model::Cluster, Rejection> {
        let balancer = match cluster.key() {
            Some(key) => Balancer::Key(key.into()),
            None => Balancer::SourceAddress,
        };
        let endpoints: Result<_, _> = cluster.endpoints.iter().map(|e| self.endpoint(listener, e)).collect();
        Ok(model::Cluster {
            name: ClusterPath::new(&listener.name, &cluster.name).to_string(),
            socket: Some(Socket::new(protocol, None)),
            endpoints: endpoints?,
            balancer: Some(balancer),
            health_check: self.health_check(listener, cluster),
            tls: None,
            http: false,
            connect_timeout: Some(CONNECT_TIMEOUT),
            needs: Vec::new(),
            elsewhere: None,
        })
    }

    fn health_check(&mut self, listener: &Listener, cluster: &Cluster) -> Option<HealthCheck> {
        let check = cluster.health_check.as_ref()?;
        let interval = Duration::from_millis(u64::try_from(check.interval).unwrap_or_default());
        if interval < health::SHORT_INTERVAL {
            let ms = interval.as_millis();
            let text = format!("listener {}: health_check.interval {ms} ms is under 500 ms", listener.name);
            self.warnings.push((Reason::ShortInterval, text));
        }
        for endpoint in cluster.endpoints.iter().filter(|e| e.health_check_port.is_none()) {
            let text = format!(
                "listener {}: endpoint {} has no health_check_port: it is not checked and counts as healthy",
                listener.name, endpoint.name
            );
            self.warnings.push((Reason::NoHealthPort, text));
        }
        Some(health::check(interval, check.http.as_ref().map(|http| http.path.as_str().into())))
    }

    fn endpoint(&mut self, listener: &Listener, endpoint: &Endpoint) -> Result<EndpointSource, Rejection> {
        let host = &endpoint.host;
        let from = match (host.address.as_deref(), host.selector.as_ref()) {
            (Some(address), _) => match address.parse::<IpAddr>() {
                // An IPv4-mapped IPv6 address is the same endpoint as its IPv4 address, and must rank the same.
                Ok(ip) => Source::of_ip(ip.to_canonical()),
                Err(_) if is_host(address) => Source::Host(address.to_ascii_lowercase()),
                Err(_) => {
                    let text = format!(
                        "endpoint {}: {address} is neither an IP address nor a DNS name",
                        endpoint.name
                    );
                    return Err(invalid(listener, &text));
                }
            },
            (None, Some(labels)) => Source::Group(self.group(labels)),
            (None, None) => return Err(invalid(listener, "set exactly one of address and selector")),
        };
        Ok(EndpointSource {
            name: endpoint.name.clone(),
            from,
            port: port_of(endpoint.port),
            health_port: endpoint.health_check_port.and_then(port_of),
            weight: None,
            source: None,
        })
    }

    fn group(&mut self, labels: &BTreeMap<String, String>) -> Name {
        let selection = Selection::of_labels(labels, &self.namespace, self.scope);
        let name = selection.name();
        if !self.groups.contains(&selection) {
            self.groups.push(selection);
        }
        name
    }
}

/// Returns whether a text that is not an IP address can be a DNS name: it has RFC 1035's lengths and no colon, unlike
/// `host:port`.
fn is_host(text: &str) -> bool {
    let labels = text.strip_suffix('.').unwrap_or(text).split('.');
    labels.into_iter().all(|label| (1..=63).contains(&label.len()) && !label.contains(':'))
}

fn invalid(listener: &Listener, text: &str) -> Rejection {
    Rejection { reason: Reason::Invalid, message: format!("spec.listeners[{}]: {text}", listener.name) }
}

/// Returns the idle timeout that the object sets.
fn idle_timeout(listener: &Listener) -> Option<Duration> {
    let ms = u64::try_from(listener.udp.as_ref()?.idle_timeout?).ok()?;
    Some(Duration::from_millis(ms)).filter(|timeout| !timeout.is_zero())
}

/// Returns a port of a valid object as its own type.
fn port_of(number: i32) -> Option<NonZeroU16> {
    u16::try_from(number).ok().and_then(NonZeroU16::new)
}
