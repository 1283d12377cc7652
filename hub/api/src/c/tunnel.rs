//! GUE tunnels between EPIC's nodes and the customers' nodes, as LoadBalancers list them. [`Tunnel`] is the same for both
//! forms: E1's, in the status, and the later one, in the spec (C11).
#![allow(unreachable_pub, reason = "KubeSchema repeats each type inside of a function")]

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};
use std::num::{NonZeroU16, NonZeroU32};

use jiff::Timestamp;
use kube::KubeSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::address;
use super::port::{EndpointPort, GUE_PORT};
use super::schema::{self, MAX_ID, MAX_TUNNEL_ID};
use crate::object_field;
use crate::tunnel_peer;

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

/// The customer's end of a tunnel, as its pings show it to the gateways. The hub keeps it, so that packets find it when the public
/// address moves to another gateway (C31).
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub struct TunnelPeer {
    /// Number of the tunnel.
    #[schemars(range(min = 1, max = MAX_TUNNEL_ID))]
    pub tunnel_id: i64,
    /// IPv4 address that the pings come from. Behind a NAT it is not the node's.
    #[schemars(length(max = 15))]
    pub address: String,
    /// UDP port that the pings come from.
    #[schemars(range(min = 1, max = MAX_ID))]
    pub port: i32,
    /// The account's number in the pings.
    #[schemars(range(min = 0, max = MAX_ID))]
    pub group_id: i32,
    /// The load balancer's number in the pings.
    #[schemars(range(min = 0, max = MAX_ID))]
    pub service_id: i32,
    /// When the first of these pings came from there.
    #[schemars(extend("format" = "date-time"), length(max = 64))]
    pub since: String,
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

// === impl TunnelPeer ===

impl TunnelPeer {
    /// Creates the entry of a tunnel.
    pub fn new(id: u32, peer: &tunnel_peer::TunnelPeer) -> Self {
        let since = Timestamp::from_millisecond(peer.since_ms).unwrap_or(Timestamp::UNIX_EPOCH);
        Self {
            tunnel_id: id.into(),
            address: peer.at.ip().to_string(),
            port: peer.at.port().into(),
            group_id: peer.ids.0.into(),
            service_id: peer.ids.1.into(),
            since: since.to_string(),
        }
    }

    /// Returns the tunnel's number and its other end; `None` if a field can't be read.
    pub fn read(&self) -> Option<(NonZeroU32, tunnel_peer::TunnelPeer)> {
        let port = NonZeroU16::new(u16::try_from(self.port).ok()?)?;
        let ids = (u16::try_from(self.group_id).ok()?, u16::try_from(self.service_id).ok()?);
        let since: Timestamp = self.since.parse().ok()?;
        let at = SocketAddrV4::new(self.address.parse::<Ipv4Addr>().ok()?, port.get());
        let id = NonZeroU32::new(u32::try_from(self.tunnel_id).ok()?)?;
        Some((id, tunnel_peer::TunnelPeer { at, ids, since_ms: since.as_millisecond() }))
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
