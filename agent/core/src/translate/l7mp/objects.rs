//! The bodies of an l7mp proxy's resources, in JSON. The driver makes the proxy's own objects from them. Source: the
//! objects of l7mp's REST API, version 0.5.7.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Fields of a listener or cluster that depend on its protocol, with `protocol` among them.
pub type Spec = Map<String, Value>;

/// A cluster without its endpoints.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cluster {
    /// Protocol, port and the protocol's own settings.
    pub spec: Spec,
    /// How a session's endpoint is chosen. `None`: always the first one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loadbalancer: Option<LoadBalancer>,
}

/// How the endpoint of a new session is chosen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadBalancer {
    /// `Trivial` or `ConsistentHash`.
    pub policy: String,
    /// The path of the hashed value in the session's metadata. `None`: a random endpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

/// All endpoints of the cluster with the same resource name, ordered by address.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoints {
    /// The endpoints. No two have the same address.
    pub endpoints: Vec<Endpoint>,
}

/// One endpoint of a cluster.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Endpoint {
    /// An IP address, or the path of a Unix domain socket.
    pub address: String,
    /// The load balancing weight. `None`: 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<u32>,
}

/// A listener with its rules.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Listener {
    /// Protocol, port and the protocol's own settings.
    pub spec: Spec,
    /// How long, in seconds, the proxy shows sessions that have ended. `None`: not at all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub track: Option<u64>,
    /// The rules for its sessions.
    pub rules: Rules,
    /// Whether its sessions end when the listener is deleted.
    pub ends_sessions: bool,
}

/// The rules for a listener's sessions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rules {
    /// These rules, in this order.
    These(Vec<Rule>),
    /// The rule list with this name, which is in the proxy's own configuration.
    List(String),
}

/// A rule for a rule list in the proxy's own configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Insertion {
    /// The list's name.
    pub list: String,
    /// The rule's position in the list, from 0. It counts at the time of the insertion.
    pub position: u32,
    /// The rule.
    pub rule: Rule,
}

/// What happens to a matching session.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Rule {
    /// A JSON predicate over the session's metadata. `None`: every session matches.
    #[serde(rename = "match", skip_serializing_if = "Option::is_none")]
    pub predicate: Option<Value>,
    /// Changes to the session's metadata.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rewrite: Vec<Rewrite>,
    /// The session's way. At most one of `route` and `apply` is set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route: Option<Route>,
    /// The proxy's rule list that decides instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub apply: Option<String>,
}

/// A change to a session's metadata.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rewrite {
    /// The path to set.
    pub path: String,
    /// The new value.
    pub value: Value,
}

/// A session's way through clusters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// Where the session ends.
    pub destination: Hop,
    /// Clusters on the way to the destination.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ingress: Vec<Hop>,
    /// Clusters on the way back.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub egress: Vec<Hop>,
    /// Retries after a failed attempt.
    pub retry: Retry,
}

/// A cluster on a session's way.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Hop {
    /// The cluster resource with this name.
    Cluster(String),
    /// The cluster with this name in the proxy's own configuration.
    Own(String),
}

/// Retries after a failed attempt. The proxy has no defaults for single fields, so all are set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retry {
    /// `never`, `connect-failure`, `disconnect` or `always`.
    pub retry_on: String,
    /// The number of retries.
    pub num_retries: u32,
    /// The timeout of one attempt and the pause after it, in milliseconds.
    pub timeout: u64,
}
