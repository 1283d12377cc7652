//! [`EndpointSource`]: an entry in a cluster's list of endpoints.

use std::net::IpAddr;
use std::num::{NonZeroU16, NonZeroU32};

use portreeve_xds::Name;

use super::flaw::{self, Flaw};
use crate::plan as proto;

/// One entry in a cluster's list of endpoints (message `EndpointSource`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointSource {
    /// The entry's name in the custom resource, for messages to users; may be empty.
    pub name: String,
    /// The kind of the entry and its value.
    pub from: Source,
    /// The port of the traffic. `None` for protocols without ports.
    pub port: Option<NonZeroU16>,
    /// The TCP port of the health check. `None`: no health check.
    pub health_port: Option<NonZeroU16>,
    /// The load balancing weight. `None`: the same weight as all other entries without one.
    pub weight: Option<NonZeroU32>,
    /// The cluster that the entry belongs to; API D. `None`: this cluster.
    pub source: Option<String>,
}

/// The kind of an entry (the oneof `from` of message `EndpointSource`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The pods of a Group, by the Group's name.
    Group(Name),
    /// An address that is reachable from every node and pod.
    Address(IpAddr),
    /// A loopback address of a process in the proxy's own network namespace.
    Loopback(IpAddr),
    /// A host name that the agent resolves, relative to the Plan's namespace.
    Host(String),
    /// A Unix domain socket, by its path.
    File(String),
    /// A kind that this version does not know.
    Unknown,
}

// === impl EndpointSource ===

impl TryFrom<proto::EndpointSource> for EndpointSource {
    type Error = Flaw;

    /// # Errors
    /// Returns an error if an address or a port is invalid, or a name is empty. The field is written
    /// `endpoints[NAME].FIELD`.
    fn try_from(message: proto::EndpointSource) -> Result<Self, Flaw> {
        let proto::EndpointSource { name, from, port, health_port, weight, source } = message;
        let of = format!("endpoints[{name}]");
        let read = || {
            Ok(Self {
                name,
                from: Source::read(from)?,
                port: flaw::port("port", port)?,
                health_port: flaw::port("health_port", health_port)?,
                weight: NonZeroU32::new(weight),
                source: flaw::text(source),
            })
        };
        read().map_err(|flaw: Flaw| flaw.under(&of))
    }
}

impl From<&EndpointSource> for proto::EndpointSource {
    fn from(entry: &EndpointSource) -> Self {
        let EndpointSource { name, from, port, health_port, weight, source } = entry;
        Self {
            name: name.clone(),
            from: from.written(),
            port: flaw::port_number(*port),
            health_port: flaw::port_number(*health_port),
            weight: flaw::number(*weight),
            source: source.clone().unwrap_or_default(),
        }
    }
}

// === impl Source ===

impl Source {
    /// Returns the source for an IP address: `Loopback` or `Address`.
    pub fn of_ip(ip: IpAddr) -> Self {
        if ip.is_loopback() { Self::Loopback(ip) } else { Self::Address(ip) }
    }

    fn read(from: Option<proto::endpoint_source::From>) -> Result<Self, Flaw> {
        use proto::endpoint_source::From;
        match from {
            Some(From::Group(name)) => Ok(Self::Group(flaw::full("group", name)?)),
            Some(From::Ip(text)) => Ok(Self::of_ip(flaw::ip("ip", &text)?)),
            Some(From::Host(name)) => Ok(Self::Host(flaw::full("host", name)?)),
            Some(From::Filename(path)) => Ok(Self::File(flaw::full("filename", path)?)),
            None => Ok(Self::Unknown),
        }
    }

    fn written(&self) -> Option<proto::endpoint_source::From> {
        use proto::endpoint_source::From;
        match self {
            Self::Group(name) => Some(From::Group(name.to_string())),
            Self::Address(ip) | Self::Loopback(ip) => Some(From::Ip(ip.to_string())),
            Self::Host(name) => Some(From::Host(name.clone())),
            Self::File(path) => Some(From::Filename(path.clone())),
            Self::Unknown => None,
        }
    }
}
