//! GUE tunnels between EPIC's nodes and the customers' nodes, as LoadBalancers list them. [`Tunnel`] is the same for both
//! forms: E1's, in the status, and the later one, in the spec (C11).
#![allow(unreachable_pub, reason = "KubeSchema repeats each type inside of a function")]

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::num::{NonZeroU16, NonZeroU32};

use kube::KubeSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::address;
use super::port::{EndpointPort, GUE_PORT};
use super::schema::{self, MAX_TUNNEL_ID};
use crate::object_field;

/// EPIC's end of a tunnel.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub struct TunnelEndpoint {
    /// IP address of the EPIC node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::address_or_empty")]
    pub epic_address: Option<String>,
    /// UDP port of the EPIC node.
    #[serde(default, deserialize_with = "object_field::read", skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = json!({"port": GUE_PORT, "protocol": "UDP", "appProtocol": "gue"})))]
    pub epic_port: Option<EndpointPort>,
    /// Number of the tunnel, unique in the whole system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = MAX_TUNNEL_ID))]
    pub tunnel_id: Option<i64>,
}

/// The tunnels to one node of the customer, in the later form.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub struct NodeTunnels {
    /// EPIC's ends of the tunnels, by the addresses of EPIC's nodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epic_endpoints: Option<BTreeMap<String, TunnelEndpoint>>,
}

/// The network interface of a proxy, in the later form.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub struct ProxyInterface {
    /// IP address of the EPIC node that the proxy runs on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epic_node_address: Option<String>,
    /// UDP port of the EPIC node.
    #[serde(default, deserialize_with = "object_field::read", skip_serializing_if = "Option::is_none")]
    pub epic_port: Option<EndpointPort>,
    /// Index of the interface.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<i64>,
    /// Name of the interface.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// A tunnel between a node of EPIC and a node of a customer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tunnel {
    /// The address of the customer's node.
    pub node: IpAddr,
    /// The address of EPIC's node.
    pub epic_address: IpAddr,
    /// The UDP port of EPIC's node.
    pub epic_port: NonZeroU16,
    /// The number of the tunnel.
    pub id: NonZeroU32,
}

// === impl TunnelEndpoint ===

impl TunnelEndpoint {
    /// Returns the tunnel to a node; `None` if an address, the port or the id is missing or can't be parsed.
    pub(super) fn tunnel(&self, node: &str) -> Option<Tunnel> {
        let port = match self.epic_port.as_ref().and_then(|port| port.port) {
            Some(port) => u16::try_from(port).ok()?,
            None => GUE_PORT,
        };
        Some(Tunnel {
            node: address::parse(node)?,
            epic_address: address::parse(self.epic_address.as_deref()?)?,
            epic_port: NonZeroU16::new(port)?,
            id: self.id()?,
        })
    }

    /// Returns the tunnel's id, if it has one.
    pub(super) fn id(&self) -> Option<NonZeroU32> {
        NonZeroU32::new(u32::try_from(self.tunnel_id?).ok()?)
    }
}

/// Returns the later form of E1's tunnels, by the customer's nodes. Answers of the web service carry both (C22).
pub fn in_spec(status: &BTreeMap<String, TunnelEndpoint>) -> BTreeMap<String, NodeTunnels> {
    let later = |endpoint: &TunnelEndpoint| {
        let epic = endpoint.epic_address.clone().unwrap_or_default();
        NodeTunnels { epic_endpoints: Some([(epic, endpoint.clone())].into()) }
    };
    status.iter().map(|(node, endpoint)| (node.clone(), later(endpoint))).collect()
}
