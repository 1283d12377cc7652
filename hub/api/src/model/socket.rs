//! [`Socket`]: the address and protocol of a listener or cluster.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::num::NonZeroU16;

use super::flaw::{self, Flaw};
use crate::plan as proto;

/// The address that a listener binds and its protocol, or the protocol of a cluster's endpoints (message `Socket`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Socket {
    /// The protocol.
    pub protocol: Protocol,
    /// A listener's port. `None` for clusters and for protocols without ports.
    pub port: Option<NonZeroU16>,
    /// The addresses that the listener binds.
    pub scope: Scope,
    /// The only peer to connect back to; API B.
    pub connect: Option<Address>,
    /// The local address: of a listener with [`Scope::Address`] or [`Scope::Floating`], or of the client side in API B.
    pub bind: Option<Address>,
    /// The path of HTTP and WebSocket.
    pub path: Option<String>,
    /// The path of a Unix domain socket.
    pub filename: Option<String>,
    /// The datagram transport of a JSONSocket.
    pub transport: Option<Box<Socket>>,
    /// The metadata fields in a JSONSocket's header.
    pub header: Vec<HeaderField>,
    /// Settings of protocols that have no other fields, by name.
    pub settings: BTreeMap<String, String>,
    /// The tunnel through which traffic leaves; API C.
    pub tunnel: Option<String>,
}

/// A protocol (enumeration `Protocol`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Datagrams.
    Udp,
    /// Streams.
    Tcp,
    /// HTTP.
    Http,
    /// WebSocket.
    Websocket,
    /// Datagrams over a Unix domain socket.
    Unix,
    /// Datagrams that begin with a JSON header.
    JsonSocket,
    /// Endpoints that synchronise, named by a query.
    Sync,
    /// Sends all data back.
    Echo,
    /// Discards all data.
    Discard,
    /// Writes all data to a file.
    Logger,
    /// The proxy's standard input and output.
    Stdio,
    /// Wraps payloads in JSON.
    JsonEncap,
    /// Unwraps payloads from JSON.
    JsonDecap,
    /// Counts traffic.
    Metric,
    /// Exposes counters to Prometheus.
    Prometheus,
    /// The proxy's own controller.
    L7mpController,
    /// The number of a protocol that this version does not know, or 0 if the hub sent none.
    Unknown(i32),
}

/// The addresses that a listener binds (enumeration `Scope`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The wildcard address of each IP family that the proxy has.
    Wildcard,
    /// The loopback address of each IP family that the proxy has.
    Loopback,
    /// Only [`Socket::bind`].
    Address,
    /// Only [`Socket::bind`], an address that one node has at a time. Proxies bind it on every node, so that a node which gets
    /// the address serves it at once.
    Floating,
    /// The number of a scope that this version does not know.
    Unknown(i32),
}

/// An address and a port (message `Address`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    /// The address. `None`: not set.
    pub ip: Option<IpAddr>,
    /// The port. `None`: not set.
    pub port: Option<NonZeroU16>,
}

/// One field of JSONSocket's header (message `HeaderField`), as API B has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderField {
    /// The source of the copied value.
    pub from: Option<String>,
    /// The target of the copied value.
    pub to: Option<String>,
    /// The key to set.
    pub key: Option<String>,
    /// The value of the key.
    pub value: Option<String>,
}

/// Each protocol that this version knows, with its wire number and its name in l7mp and its objects.
const PROTOCOLS: [(Protocol, proto::Protocol, &str); 16] = [
    (Protocol::Udp, proto::Protocol::Udp, "UDP"),
    (Protocol::Tcp, proto::Protocol::Tcp, "TCP"),
    (Protocol::Http, proto::Protocol::Http, "HTTP"),
    (Protocol::Websocket, proto::Protocol::Websocket, "WebSocket"),
    (Protocol::Unix, proto::Protocol::Unix, "UnixDomainSocket"),
    (Protocol::JsonSocket, proto::Protocol::Jsonsocket, "JSONSocket"),
    (Protocol::Sync, proto::Protocol::Sync, "Sync"),
    (Protocol::Echo, proto::Protocol::Echo, "Echo"),
    (Protocol::Discard, proto::Protocol::Discard, "Discard"),
    (Protocol::Logger, proto::Protocol::Logger, "Logger"),
    (Protocol::Stdio, proto::Protocol::Stdio, "Stdio"),
    (Protocol::JsonEncap, proto::Protocol::JsonEncap, "JSONEncap"),
    (Protocol::JsonDecap, proto::Protocol::JsonDecap, "JSONDecap"),
    (Protocol::Metric, proto::Protocol::Metric, "Metric"),
    (Protocol::Prometheus, proto::Protocol::Prometheus, "Prometheus"),
    (Protocol::L7mpController, proto::Protocol::L7mpController, "L7mpController"),
];

// === impl Socket ===

impl Socket {
    /// Creates a socket for a protocol on a port of every address.
    pub fn new(protocol: Protocol, port: Option<NonZeroU16>) -> Self {
        Self {
            protocol,
            port,
            scope: Scope::Wildcard,
            connect: None,
            bind: None,
            path: None,
            filename: None,
            transport: None,
            header: Vec::new(),
            settings: BTreeMap::new(),
            tunnel: None,
        }
    }
}

impl TryFrom<proto::Socket> for Socket {
    type Error = Flaw;

    /// # Errors
    /// Returns an error if a port or an address is invalid.
    fn try_from(message: proto::Socket) -> Result<Self, Flaw> {
        let proto::Socket {
            protocol,
            port,
            scope,
            connect,
            bind,
            path,
            filename,
            transport,
            header,
            settings,
            tunnel,
        } = message;
        let address = |field: &str, one: Option<proto::Address>| {
            one.map(Address::try_from).transpose().map_err(|flaw| flaw.under(field))
        };
        let transport = transport.map(|one| Self::try_from(*one).map(Box::new)).transpose();
        Ok(Self {
            protocol: protocol.into(),
            port: flaw::port("port", port)?,
            scope: scope.into(),
            connect: address("connect", connect)?,
            bind: address("bind", bind)?,
            path: flaw::text(path),
            filename: flaw::text(filename),
            transport: transport.map_err(|flaw| flaw.under("transport"))?,
            header: header.into_iter().map(HeaderField::from).collect(),
            settings,
            tunnel: flaw::text(tunnel),
        })
    }
}

impl From<&Socket> for proto::Socket {
    fn from(socket: &Socket) -> Self {
        let Socket {
            protocol,
            port,
            scope,
            connect,
            bind,
            path,
            filename,
            transport,
            header,
            settings,
            tunnel,
        } = socket;
        Self {
            protocol: (*protocol).into(),
            port: flaw::port_number(*port),
            scope: (*scope).into(),
            connect: connect.as_ref().map(Into::into),
            bind: bind.as_ref().map(Into::into),
            path: path.clone().unwrap_or_default(),
            filename: filename.clone().unwrap_or_default(),
            transport: transport.as_ref().map(|one| Box::new(Self::from(&**one))),
            header: flaw::written(header),
            settings: settings.clone(),
            tunnel: tunnel.clone().unwrap_or_default(),
        }
    }
}

// === impl Protocol ===

impl Protocol {
    /// Returns the protocol's name in l7mp and its objects. `None`: this version does not know it.
    pub fn known_name(self) -> Option<&'static str> {
        PROTOCOLS.iter().find(|(known, ..)| *known == self).map(|(.., name)| *name)
    }

    /// Returns the protocol's name, or the number of an unknown protocol.
    pub fn name(self) -> String {
        self.known_name().map_or_else(|| i32::from(self).to_string(), str::to_owned)
    }
}

impl From<i32> for Protocol {
    fn from(number: i32) -> Self {
        let known = PROTOCOLS.iter().find(|(_, wire, _)| i32::from(*wire) == number);
        known.map_or(Self::Unknown(number), |(known, ..)| *known)
    }
}

impl From<Protocol> for i32 {
    fn from(protocol: Protocol) -> Self {
        if let Protocol::Unknown(number) = protocol {
            return number;
        }
        let wire = PROTOCOLS.iter().find(|(known, ..)| *known == protocol);
        wire.map_or_else(|| proto::Protocol::Unspecified.into(), |(_, wire, _)| (*wire).into())
    }
}

// === impl Scope ===

impl From<i32> for Scope {
    fn from(number: i32) -> Self {
        match proto::Scope::try_from(number) {
            Ok(proto::Scope::Wildcard) => Self::Wildcard,
            Ok(proto::Scope::Loopback) => Self::Loopback,
            Ok(proto::Scope::Address) => Self::Address,
            Ok(proto::Scope::Floating) => Self::Floating,
            Err(_) => Self::Unknown(number),
        }
    }
}

impl From<Scope> for i32 {
    fn from(scope: Scope) -> Self {
        match scope {
            Scope::Wildcard => proto::Scope::Wildcard.into(),
            Scope::Loopback => proto::Scope::Loopback.into(),
            Scope::Address => proto::Scope::Address.into(),
            Scope::Floating => proto::Scope::Floating.into(),
            Scope::Unknown(number) => number,
        }
    }
}

// === impl Address ===

impl TryFrom<proto::Address> for Address {
    type Error = Flaw;

    /// # Errors
    /// Returns an error if the address or the port is invalid.
    fn try_from(message: proto::Address) -> Result<Self, Flaw> {
        let proto::Address { ip, port } = message;
        let ip = flaw::text(ip).map(|text: String| flaw::ip("ip", &text)).transpose()?;
        Ok(Self { ip, port: flaw::port("port", port)? })
    }
}

impl From<&Address> for proto::Address {
    fn from(address: &Address) -> Self {
        let Address { ip, port } = address;
        let ip = ip.map(|ip| ip.to_string()).unwrap_or_default();
        Self { ip, port: flaw::port_number(*port) }
    }
}

// === impl HeaderField ===

impl From<proto::HeaderField> for HeaderField {
    fn from(message: proto::HeaderField) -> Self {
        let proto::HeaderField { from, to, key, value } = message;
        Self { from: flaw::text(from), to: flaw::text(to), key: flaw::text(key), value: flaw::text(value) }
    }
}

impl From<&HeaderField> for proto::HeaderField {
    fn from(field: &HeaderField) -> Self {
        let HeaderField { from, to, key, value } = field.clone();
        Self {
            from: from.unwrap_or_default(),
            to: to.unwrap_or_default(),
            key: key.unwrap_or_default(),
            value: value.unwrap_or_default(),
        }
    }
}
