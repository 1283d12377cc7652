//! The resolved forms of API B's objects: the same for every spelling, with parsed values.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::num::{NonZeroU16, NonZeroU32};
use std::time::Duration;

use crate::selector::Selector;

/// Requirements on pods. A pod must meet all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodFilter {
    /// Requirements on labels, and on fields by their dotted paths.
    pub selector: Selector,
    /// The pods' namespace. `None`: where the object's selectors look.
    pub namespace: Option<String>,
    /// The Service whose pods are meant, as the object names it.
    pub service: Option<String>,
}

/// A VirtualService.
#[derive(Clone, Debug, PartialEq)]
pub struct VirtualServiceForm {
    /// The pods with the proxies that open the port.
    pub filter: PodFilter,
    /// The port and its rules.
    pub listener: ListenerForm,
}

/// A listener.
#[derive(Clone, Debug, PartialEq)]
pub struct ListenerForm {
    /// The protocol and port.
    pub socket: Socket,
    /// Whether a listener with a peer waits for the peer's first datagram instead of connecting to it.
    pub server_mode: bool,
    /// Settings of the sessions.
    pub options: Options,
    /// The rules. `None`: nothing is opened, the object only describes pods.
    pub rules: Option<RulesForm>,
}

/// The rules of a listener.
#[derive(Clone, Debug, PartialEq)]
pub enum RulesForm {
    /// These rules, in this order.
    These(Vec<RuleForm>),
    /// The rule list with this name in the proxy's own configuration.
    List(String),
}

/// A rule.
#[derive(Clone, Debug, PartialEq)]
pub struct RuleForm {
    /// A JSON predicate over the session's metadata. `None`: every session matches.
    pub match_json: Option<String>,
    /// Changes to the session's metadata.
    pub rewrites: Vec<Rewrite>,
    /// What happens to the session.
    pub action: ActionForm,
}

/// What happens to a session that matches a rule.
#[derive(Clone, Debug, PartialEq)]
pub enum ActionForm {
    /// It takes this route.
    Route(Reference<RouteForm>),
    /// The rule list with this name in the proxy's own configuration decides.
    Apply(String),
    /// It ends.
    None,
}

/// An object by its name, or an inline one.
#[derive(Clone, Debug, PartialEq)]
pub enum Reference<T> {
    /// The name, as the object spells it.
    Named(String),
    /// The definition.
    Inline(Box<T>),
}

/// A route.
#[derive(Clone, Debug, PartialEq)]
pub struct RouteForm {
    /// Where the session ends.
    pub destination: Reference<ClusterForm>,
    /// Clusters on the way to the destination.
    pub ingress: Vec<Reference<ClusterForm>>,
    /// Clusters on the way back.
    pub egress: Vec<Reference<ClusterForm>>,
    /// Retries after a failure, with all fields. `None`: l7mp's defaults.
    pub retry: Option<Retry>,
}

/// A cluster.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ClusterForm {
    /// Its name, if it has one.
    pub name: Option<String>,
    /// Protocol and port. `None`: those of `service`.
    pub socket: Option<Socket>,
    /// Endpoints, in addition to the pods of `service`.
    pub endpoints: Vec<EndpointForm>,
    /// The VirtualService or Service whose pods are the endpoints, as the object names it.
    pub service: Option<String>,
    /// How a session's endpoint is chosen. `None`: always the first one.
    pub balancer: Option<BalancerForm>,
}

/// How a session's endpoint is chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BalancerForm {
    /// The policy.
    pub policy: Policy,
    /// The path of the hashed value in the session's metadata. `None`: a random endpoint.
    pub key: Option<String>,
}

/// A load balancing policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// Always the first endpoint.
    Trivial,
    /// By a hash of the key's value.
    ConsistentHash,
}

/// An endpoint of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EndpointForm {
    /// An address that the object gives.
    Static {
        /// Its name, if it has one.
        name: Option<String>,
        /// The address.
        source: Source,
        /// The load balancing weight. `None`: 1.
        weight: Option<NonZeroU32>,
    },
    /// The pods that meet these requirements.
    Selected(PodFilter),
}

/// A Target.
#[derive(Clone, Debug, PartialEq)]
pub struct TargetForm {
    /// The pods whose proxies have the cluster. `None`: those of the objects that use it.
    pub filter: Option<PodFilter>,
    /// The cluster.
    pub cluster: ClusterForm,
}

/// A Rule.
#[derive(Clone, Debug, PartialEq)]
pub struct RuleObjectForm {
    /// The pods whose proxies have the rule.
    pub filter: PodFilter,
    /// The rule list in the proxies' own configuration.
    pub list: String,
    /// The position in the list, from 0.
    pub position: u32,
    /// The rule.
    pub rule: RuleForm,
}

/// Settings of a listener's sessions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// How long the proxy shows sessions that have ended. `None`: not at all.
    pub track: Option<Duration>,
    /// Whether the sessions of a deleted object end.
    pub remove_orphan_sessions: bool,
}

/// A protocol with its settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Socket {
    /// The protocol.
    pub protocol: Protocol,
    /// The port, for protocols that have one.
    pub port: Option<NonZeroU16>,
    /// The only peer of a UDP listener.
    pub connect: Option<Address>,
    /// The local address of a cluster's connections.
    pub bind: Option<Address>,
    /// The path of HTTP and WebSocket.
    pub path: Option<String>,
    /// The path of a Unix domain socket.
    pub filename: Option<String>,
    /// The transport of a JSONSocket.
    pub transport: Option<Box<Socket>>,
    /// The fields of a JSONSocket's header.
    pub header: Vec<HeaderField>,
    /// Settings of protocols that have no other fields, by l7mp's names.
    pub settings: BTreeMap<String, String>,
}

/// A protocol of l7mp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of l7mp's documentation")]
pub enum Protocol {
    Udp,
    Tcp,
    Http,
    WebSocket,
    UnixDomainSocket,
    JsonSocket,
    Sync,
    Echo,
    Discard,
    Logger,
    Stdio,
    JsonEncap,
    JsonDecap,
    Metric,
    Prometheus,
    L7mpController,
}

/// An address and a port, of which either may be missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    /// The address.
    pub ip: Option<IpAddr>,
    /// The port.
    pub port: Option<NonZeroU16>,
}

/// A field of a JSONSocket's header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeaderField {
    /// A copy of a part of the session's metadata.
    Path {
        /// The part's path.
        from: String,
        /// The path in the header.
        to: String,
    },
    /// A constant.
    Set {
        /// Its name.
        key: String,
        /// Its value.
        value: String,
    },
}

/// A change to a session's metadata.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rewrite {
    /// The path to set, with a slash at its beginning and none at its end.
    pub path: String,
    /// The new value, in JSON.
    pub value_json: String,
}

/// Retries after a failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retry {
    /// `never`, `connect-failure`, `disconnect` or `always`.
    pub on: String,
    /// The number of retries.
    pub retries: u32,
    /// The timeout of one attempt, and the pause after it.
    pub timeout: Duration,
}

/// The address of an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// An IP address.
    Ip(IpAddr),
    /// A DNS name.
    Host(String),
    /// The path of a Unix domain socket.
    File(String),
}

// === impl Socket ===

impl Socket {
    /// Creates a protocol on a port.
    pub fn new(protocol: Protocol, port: Option<NonZeroU16>) -> Self {
        Self {
            protocol,
            port,
            connect: None,
            bind: None,
            path: None,
            filename: None,
            transport: None,
            header: Vec::new(),
            settings: BTreeMap::new(),
        }
    }
}
