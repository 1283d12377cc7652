//! [`Tunnels`]: the endpoints of a Plan that are reached through GUE tunnels (API C).

use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};
use std::num::{NonZeroU16, NonZeroU32};

use super::flaw::{self, Flaw};
use super::{Address, Protocol};
use crate::c::tunnel_key::TunnelKey;
use crate::plan as proto;
use crate::tunnel_peer::TunnelPeer;

/// The GUE tunnels of a load balancer, as a gateway uses them (message `Tunnels`; seed C.4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tunnels {
    /// The load balancer's numbers on the wire: those of its account and its own.
    pub ids: (u16, u16),
    /// The key that authenticates packets.
    pub key: TunnelKey,
    /// The public address, from which proxies connect to the endpoints.
    pub public_address: Ipv4Addr,
    /// The tunnels, by id.
    pub tunnels: Vec<Tunnel>,
    /// The endpoints, each with its tunnel.
    pub endpoints: Vec<TunnelledEndpoint>,
}

/// A tunnel to one node of the customer (message `Tunnel`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tunnel {
    /// Its number, unique in the whole system.
    pub id: NonZeroU32,
    /// The gateway's end.
    pub epic: SocketAddrV4,
    /// The other end, as a gateway learned it last. `None`: none did.
    pub peer: Option<TunnelPeer>,
}

/// A pod's port behind a tunnel (message `TunnelledEndpoint`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TunnelledEndpoint {
    /// UDP or TCP.
    pub protocol: Protocol,
    /// The pod's address and port.
    pub at: SocketAddrV4,
    /// The tunnel's number.
    pub tunnel: NonZeroU32,
}

// === impl Tunnels ===

impl TryFrom<proto::Tunnels> for Tunnels {
    type Error = Flaw;

    /// # Errors
    /// Returns an error if a number, the key or an address is invalid, or if an endpoint has none of the tunnels.
    fn try_from(message: proto::Tunnels) -> Result<Self, Flaw> {
        let proto::Tunnels { group_id, service_id, key, public_address, tunnels, endpoints } = message;
        let length = key.len();
        let key: [u8; 16] = key
            .as_ref()
            .try_into()
            .map_err(|_| Flaw::new("tunnels.key", format!("has {length} bytes, not 16")))?;
        let tunnels: Vec<Tunnel> = flaw::all(tunnels)?;
        let endpoints: Vec<TunnelledEndpoint> = flaw::all(endpoints)?;
        let is_known = |one: &&TunnelledEndpoint| tunnels.iter().any(|tunnel| tunnel.id == one.tunnel);
        if let Some(strange) = endpoints.iter().find(|one| !is_known(one)) {
            let text = format!("{} of {} is not in tunnels.tunnels", strange.tunnel, strange.at);
            return Err(Flaw::new("tunnels.endpoints.tunnel", text));
        }
        Ok(Self {
            ids: ids("tunnels", group_id, service_id)?,
            key: key.into(),
            public_address: flaw::parsed("tunnels.public_address", &public_address, "an IPv4 address")?,
            tunnels,
            endpoints,
        })
    }
}

impl From<&Tunnels> for proto::Tunnels {
    fn from(all: &Tunnels) -> Self {
        let Tunnels { ids: (group_id, service_id), key, public_address, tunnels, endpoints } = all;
        Self {
            group_id: (*group_id).into(),
            service_id: (*service_id).into(),
            key: key.bytes().to_vec().into(),
            public_address: public_address.to_string(),
            tunnels: flaw::written(tunnels),
            endpoints: flaw::written(endpoints),
        }
    }
}

// === impl Tunnel ===

impl TryFrom<proto::Tunnel> for Tunnel {
    type Error = Flaw;

    /// # Errors
    /// Returns an error if the number is 0 or an end is no IPv4 address with a port.
    fn try_from(message: proto::Tunnel) -> Result<Self, Flaw> {
        let proto::Tunnel { id, epic, peer } = message;
        let id = number("tunnels.tunnels.id", id)?;
        let epic = end("tunnels.tunnels.epic", epic)?;
        Ok(Self { id, epic, peer: peer.map(TunnelPeer::try_from).transpose()? })
    }
}

impl From<&Tunnel> for proto::Tunnel {
    fn from(tunnel: &Tunnel) -> Self {
        let Tunnel { id, epic, peer } = tunnel;
        Self { id: id.get(), epic: Some(written(*epic)), peer: peer.as_ref().map(Into::into) }
    }
}

// === impl TunnelPeer ===

impl TryFrom<proto::TunnelPeer> for TunnelPeer {
    type Error = Flaw;

    /// # Errors
    /// Returns an error if a number or the address is invalid.
    fn try_from(message: proto::TunnelPeer) -> Result<Self, Flaw> {
        let proto::TunnelPeer { at, group_id, service_id, since_ms } = message;
        let (at, ids) = (end("peer.at", at)?, ids("peer", group_id, service_id)?);
        Ok(Self { at, ids, since_ms })
    }
}

impl From<&TunnelPeer> for proto::TunnelPeer {
    fn from(peer: &TunnelPeer) -> Self {
        let TunnelPeer { at, ids: (group_id, service_id), since_ms } = *peer;
        let (group_id, service_id) = (group_id.into(), service_id.into());
        Self { at: Some(written(at)), group_id, service_id, since_ms }
    }
}

// === impl TunnelledEndpoint ===

impl TryFrom<proto::TunnelledEndpoint> for TunnelledEndpoint {
    type Error = Flaw;

    /// # Errors
    /// Returns an error if the protocol is another one, the address is no IPv4 address with a port, or the number is 0.
    fn try_from(message: proto::TunnelledEndpoint) -> Result<Self, Flaw> {
        let proto::TunnelledEndpoint { protocol, at, tunnel } = message;
        let field = "tunnels.endpoints.protocol";
        let protocol =
            Some(Protocol::from(protocol)).filter(|one| matches!(one, Protocol::Udp | Protocol::Tcp));
        Ok(Self {
            protocol: protocol.ok_or_else(|| Flaw::new(field, "is neither UDP nor TCP"))?,
            at: end("tunnels.endpoints.at", at)?,
            tunnel: number("tunnels.endpoints.tunnel", tunnel)?,
        })
    }
}

impl From<&TunnelledEndpoint> for proto::TunnelledEndpoint {
    fn from(endpoint: &TunnelledEndpoint) -> Self {
        let TunnelledEndpoint { protocol, at, tunnel } = endpoint;
        Self { protocol: (*protocol).into(), at: Some(written(*at)), tunnel: tunnel.get() }
    }
}

fn ids(field: &str, group: u32, service: u32) -> Result<(u16, u16), Flaw> {
    let read = |name: &str, number: u32| {
        let field = || format!("{field}.{name}");
        u16::try_from(number).map_err(|_| Flaw::new(&field(), format!("{number} is more than 65535")))
    };
    Ok((read("group_id", group)?, read("service_id", service)?))
}

fn number(field: &str, number: u32) -> Result<NonZeroU32, Flaw> {
    NonZeroU32::new(number).ok_or_else(|| Flaw::new(field, "is 0"))
}

fn end(field: &str, address: Option<proto::Address>) -> Result<SocketAddrV4, Flaw> {
    let address =
        Address::try_from(address.ok_or_else(|| Flaw::missing(field))?).map_err(|flaw| flaw.under(field))?;
    match address {
        Address { ip: Some(IpAddr::V4(ip)), port: Some(port) } => Ok(SocketAddrV4::new(ip, port.get())),
        _ => Err(Flaw::new(field, "must be an IPv4 address with a port")),
    }
}

fn written(at: SocketAddrV4) -> proto::Address {
    let (ip, port) = (Some((*at.ip()).into()), NonZeroU16::new(at.port()));
    (&Address { ip, port }).into()
}
