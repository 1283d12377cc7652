//! [`EnvoyResource`]: a resource in the form that Envoy gets it.

use std::fmt;

use bytes::Bytes;

use super::flaw::{self, Flaw};
use crate::plan as proto;

/// A resource of an Envoy that a template made, in place of what is built from a listener or a cluster of the Plan (message
/// `EnvoyResource`; API C).
#[derive(Clone, PartialEq, Eq)]
pub struct EnvoyResource {
    /// The name of the Plan's listener or cluster.
    pub name: String,
    /// What it is. `None`: unknown to this version.
    pub body: Option<EnvoyBody>,
}

/// The type and the protobuf bytes of a resource. Its name in there, and the names that it refers to, are those that the proxy
/// knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EnvoyBody {
    /// `envoy.config.listener.v3.Listener`.
    Listener(Bytes),
    /// `envoy.config.cluster.v3.Cluster`.
    Cluster(Bytes),
    /// `envoy.config.endpoint.v3.ClusterLoadAssignment`.
    Assignment(Bytes),
}

// === impl EnvoyResource ===

impl fmt::Debug for EnvoyResource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (ty, bytes) = match &self.body {
            Some(EnvoyBody::Listener(body)) => ("listener", body.len()),
            Some(EnvoyBody::Cluster(body)) => ("cluster", body.len()),
            Some(EnvoyBody::Assignment(body)) => ("assignment", body.len()),
            None => ("unknown", 0),
        };
        write!(f, "{ty} {} of {bytes} bytes", self.name)
    }
}

impl TryFrom<proto::EnvoyResource> for EnvoyResource {
    type Error = Flaw;

    /// # Errors
    /// Returns an error if the name is empty.
    fn try_from(message: proto::EnvoyResource) -> Result<Self, Flaw> {
        use proto::envoy_resource::Body as Message;
        let proto::EnvoyResource { name, body } = message;
        let body = body.map(|body| match body {
            Message::Listener(bytes) => EnvoyBody::Listener(bytes),
            Message::Cluster(bytes) => EnvoyBody::Cluster(bytes),
            Message::Assignment(bytes) => EnvoyBody::Assignment(bytes),
        });
        Ok(Self { name: flaw::full("envoy.name", name)?, body })
    }
}

impl From<&EnvoyResource> for proto::EnvoyResource {
    fn from(resource: &EnvoyResource) -> Self {
        use proto::envoy_resource::Body as Message;
        let EnvoyResource { name, body } = resource.clone();
        let body = body.map(|body| match body {
            EnvoyBody::Listener(bytes) => Message::Listener(bytes),
            EnvoyBody::Cluster(bytes) => Message::Cluster(bytes),
            EnvoyBody::Assignment(bytes) => Message::Assignment(bytes),
        });
        Self { name, body }
    }
}
