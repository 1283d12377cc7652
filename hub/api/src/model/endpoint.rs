//! [`Endpoint`]: one endpoint of a Group's slice.

use std::net::IpAddr;

use portreeve_xds::Name;

use super::flaw::{self, Flaw};
use crate::plan as proto;

/// One endpoint of a Group (message `Endpoint`): a pod, or something with a stable identity of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Its identity: a pod's uid.
    pub uid: Name,
    /// Its namespace; may be empty.
    pub namespace: String,
    /// Its name; may be empty.
    pub name: String,
    /// Its node; empty for what is on none.
    pub node: Name,
    /// Its addresses, the primary family first.
    pub ips: Vec<IpAddr>,
    /// Its creation, in milliseconds since the Unix epoch. `None`: not known.
    pub created_ms: Option<i64>,
    /// When it was asked to go, in milliseconds since the Unix epoch. `None`: it stays.
    pub terminating_ms: Option<i64>,
    /// It is ready.
    pub ready: bool,
}

// === impl Endpoint ===

impl TryFrom<proto::Endpoint> for Endpoint {
    type Error = Flaw;

    /// # Errors
    /// One of its addresses is none, by the endpoint's uid.
    fn try_from(message: proto::Endpoint) -> Result<Self, Flaw> {
        let proto::Endpoint { uid, namespace, name, node, ips, created_ms, terminating_ms, ready } = message;
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
        })
    }
}

impl From<&Endpoint> for proto::Endpoint {
    fn from(endpoint: &Endpoint) -> Self {
        let Endpoint { uid, namespace, name, node, ips, created_ms, terminating_ms, ready } = endpoint;
        Self {
            uid: uid.to_string(),
            namespace: namespace.clone(),
            name: name.clone(),
            node: node.to_string(),
            ips: ips.iter().map(ToString::to_string).collect(),
            created_ms: created_ms.unwrap_or_default(),
            terminating_ms: terminating_ms.unwrap_or_default(),
            ready: *ready,
        }
    }
}
