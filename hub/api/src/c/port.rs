//! Ports: those of load balancers ([`ServicePort`]), those of endpoints and tunnels ([`EndpointPort`]), and their parsed
//! forms. The fields are those of the Kubernetes kinds with the same names.
#![allow(unreachable_pub, reason = "KubeSchema repeats each type inside of a function")]

use std::num::NonZeroU16;

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::schema::{self, MAX_NAME, MAX_PORT_NAME};
use crate::violation::Checks;

/// The schema's pattern for protocols. Templates write them in upper case, so any case is accepted.
pub(super) const PROTOCOL: &str = "^([Tt][Cc][Pp]|[Uu][Dd][Pp])?$";

/// The UDP port of GUE tunnels if none is given.
pub const GUE_PORT: u16 = 6080;

/// A port of a load balancer, as in a Kubernetes Service.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ServicePort {
    /// Name, for example `http`. Only endpoint ports of this name serve the port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = MAX_PORT_NAME))]
    pub name: Option<String>,
    /// `TCP` or `UDP`. Empty: `TCP`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = PROTOCOL))]
    pub protocol: Option<String>,
    /// Application protocol. It has no effect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = MAX_NAME))]
    pub app_protocol: Option<String>,
    /// Port that the load balancer listens on.
    #[schemars(required, range(min = 1, max = 65_535))]
    pub port: Option<i32>,
    /// Port of the customer's pods. It has no effect: endpoints bring their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::number_or_name")]
    pub target_port: Option<IntOrString>,
    /// Port of the customer's nodes. It has no effect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 65_535))]
    pub node_port: Option<i32>,
}

/// A port of an endpoint or a tunnel, as in Kubernetes Endpoints.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct EndpointPort {
    /// Name, that of the load balancer's port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = MAX_PORT_NAME))]
    pub name: Option<String>,
    /// Port number.
    #[schemars(required, range(min = 1, max = 65_535))]
    pub port: Option<i32>,
    /// `TCP` or `UDP`. Empty: `TCP`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = PROTOCOL))]
    pub protocol: Option<String>,
    /// Application protocol. It has no effect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = MAX_NAME))]
    pub app_protocol: Option<String>,
}

/// A protocol that tunnels carry (C.4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    /// TCP.
    #[default]
    Tcp,
    /// UDP.
    Udp,
}

/// A parsed port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Port {
    /// The name; empty if it has none.
    pub name: String,
    /// The protocol.
    pub transport: Transport,
    /// The number.
    pub port: NonZeroU16,
}

// === impl Transport ===

impl Transport {
    /// Parses a protocol of any case. The empty text is TCP (C9). `None` for any other text.
    pub fn parse(text: &str) -> Option<Self> {
        match text.to_ascii_lowercase().as_str() {
            "" | "tcp" => Some(Self::Tcp),
            "udp" => Some(Self::Udp),
            _ => None,
        }
    }

    /// Returns `tcp` or `udp`.
    pub fn lower_case(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }

    /// Returns `TCP` or `UDP`.
    pub fn upper_case(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
        }
    }
}

// === impl ServicePort ===

impl ServicePort {
    pub(super) fn check(&self, path: &str, checks: &mut Checks) -> Option<Port> {
        if let Some(node) = self.node_port {
            checks.range(node, (0, 65_535), &format!("{path}.nodePort"));
        }
        app_protocol(self.app_protocol.as_deref(), path, checks);
        check(self.name.as_deref(), self.protocol.as_deref(), self.port, (path, checks))
    }
}

// === impl EndpointPort ===

impl EndpointPort {
    /// Returns the port of GUE tunnels: UDP 6080, with `appProtocol: gue`.
    pub fn gue() -> Self {
        Self {
            name: None,
            port: Some(GUE_PORT.into()),
            protocol: Some("UDP".into()),
            app_protocol: Some("gue".into()),
        }
    }

    pub(super) fn check(&self, path: &str, checks: &mut Checks) -> Option<Port> {
        app_protocol(self.app_protocol.as_deref(), path, checks);
        check(self.name.as_deref(), self.protocol.as_deref(), self.port, (path, checks))
    }
}

fn app_protocol(text: Option<&str>, path: &str, checks: &mut Checks) {
    checks.length(text.unwrap_or_default(), (0, MAX_NAME), &format!("{path}.appProtocol"));
}

fn check(
    name: Option<&str>,
    protocol: Option<&str>,
    port: Option<i32>,
    at: (&str, &mut Checks),
) -> Option<Port> {
    let (path, checks) = at;
    let name = name.unwrap_or_default();
    checks.length(name, (0, MAX_PORT_NAME), &format!("{path}.name"));
    let protocol = protocol.unwrap_or_default();
    let transport = Transport::parse(protocol);
    let message = format!("must be TCP or UDP, is {protocol:?}");
    checks.must(transport.is_some(), format!("{path}.protocol"), message);
    let port = checks.given_port(port, &format!("{path}.port"));
    Some(Port { name: name.to_owned(), transport: transport?, port: port? })
}
