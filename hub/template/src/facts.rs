//! What a template is rendered with: [`Facts`].

use std::net::{IpAddr, Ipv4Addr};

/// The facts of a LoadBalancer that its templates use (seed C.3 "Templates").
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Name of the LoadBalancer, `ServiceName` in templates.
    pub service_name: String,
    /// Its public address. Listeners open no other.
    pub public_address: IpAddr,
    /// The address that proxies connect from. `None`: any.
    pub source: Option<Ipv4Addr>,
    /// Its public ports. Each makes a listener of each listener template.
    pub ports: Vec<Port>,
    /// Its upstream clusters. Each makes a cluster and an assignment of each of their templates.
    pub clusters: Vec<Cluster>,
}

/// A port of a LoadBalancer or of an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// Its name. It may be empty.
    pub name: String,
    /// Its number.
    pub port: u16,
    /// Its protocol in any case, as it is stored. Empty means TCP, Kubernetes' default.
    pub protocol: String,
}

/// An upstream cluster of a LoadBalancer, and its endpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// Its name, `ClusterName` in templates.
    pub name: String,
    /// Its endpoints, in an order that doesn't change.
    pub endpoints: Vec<Endpoint>,
}

/// An endpoint: `.Spec` of E1's RemoteEndpoint (seed C.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Address of the pod.
    pub address: IpAddr,
    /// Address of its node.
    pub node_address: IpAddr,
    /// Port of the pod.
    pub port: Port,
}

/// A transport protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

// === impl Port ===

impl Port {
    /// Returns the protocol as it is stored, or `TCP` if there is none.
    pub fn stored_protocol(&self) -> &str {
        if self.protocol.is_empty() { "TCP" } else { &self.protocol }
    }

    /// Returns the protocol. `None` for protocols that Envoy has no listeners for.
    pub fn transport(&self) -> Option<Protocol> {
        match self.stored_protocol().to_ascii_uppercase().as_str() {
            "TCP" => Some(Protocol::Tcp),
            "UDP" => Some(Protocol::Udp),
            _ => None,
        }
    }
}

// === impl Protocol ===

impl std::fmt::Display for Protocol {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
        })
    }
}
