//! [`Endpoint`]: one endpoint of a Group's slice.

use std::net::IpAddr;

use portreeve_xds::Name;

use super::flaw::{self, Flaw};
use crate::plan as proto;

/// One endpoint of a Group (message `Endpoint`): a pod, or another endpoint with a stable identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The endpoint's identity. For a pod, its UID.
    pub uid: Name,
    /// The endpoint's namespace; may be empty.
    pub namespace: String,
    /// The endpoint's name; may be empty.
    pub name: String,
    /// The endpoint's node; empty for an endpoint outside all nodes.
    pub node: Name,
    /// The endpoint's addresses, the primary family first.
    pub ips: Vec<IpAddr>,
    /// The endpoint's creation, in milliseconds since the Unix epoch. `None`: not known.
    pub created_ms: Option<i64>,
    /// When the endpoint's termination began, in milliseconds since the Unix epoch. `None`: it is not terminating.
    pub terminating_ms: Option<i64>,
    /// Whether the endpoint is ready.
    pub ready: bool,
    /// The other Kubernetes cluster that the pod is in; empty for an endpoint of the hub's own cluster.
    pub source: Name,
}

// === impl Endpoint ===

impl TryFrom<proto::Endpoint> for Endpoint {
    type Error = Flaw;

    /// # Errors
    /// Returns an error with the endpoint's UID if one of its addresses is invalid.
    fn try_from(message: proto::Endpoint) -> Result<Self, Flaw> {
        let proto::Endpoint { uid, namespace, name, node, ips, created_ms, terminating_ms, ready, source } =
            message;
        let read: Result<_, Flaw> = ips.iter().map(|text| flaw::ip("ips", text)).collect();
        let ips = read.map_err(|flaw| flaw.of(format!("endpoint {uid}")))?;
        let time = |ms: i64| (ms != 0).then_some(ms);
        Ok(Self {
            uid: uid.into(),
            namespace,
            name,
            node: node.into(),
            ips,
            created_ms: time(created_ms),
            terminating_ms: time(terminating_ms),
            ready,
            source: source.into(),
        })
    }
}

impl From<&Endpoint> for proto::Endpoint {
    fn from(endpoint: &Endpoint) -> Self {
        let Endpoint { uid, namespace, name, node, ips, created_ms, terminating_ms, ready, source } =
            endpoint;
        Self {
            uid: uid.to_string(),
            namespace: namespace.clone(),
            name: name.clone(),
            node: node.to_string(),
            ips: ips.iter().map(ToString::to_string).collect(),
            created_ms: created_ms.unwrap_or_default(),
            terminating_ms: terminating_ms.unwrap_or_default(),
            ready: *ready,
            source: source.to_string(),
        }
    }
}
