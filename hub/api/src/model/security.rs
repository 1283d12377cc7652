//! Who may connect and how that is proved: [`Tls`] and [`SourcePolicy`].

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use portreeve_xds::Name;

use super::flaw::{self, Flaw};
use crate::plan as proto;

/// TLS by reference (message `Tls`): the keys travel in Secret resources.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// The Secret with certificate and key.
    pub certificate: Option<Name>,
    /// The Secret with the authority that signs peers.
    pub authority: Option<Name>,
    /// A peer without a certificate is turned away.
    pub require_peer_certificate: bool,
    /// Protocols that are offered, the preferred one first.
    pub alpn: Vec<String>,
    /// The server's name that is asked for.
    pub server_name: Option<String>,
}

/// Who may connect (message `SourcePolicy`): entries of one list are alternatives, and each list that is not empty must admit
/// the peer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourcePolicy {
    /// Groups whose addresses are admitted.
    pub groups: Vec<Name>,
    /// Networks that are admitted.
    pub cidrs: Vec<Cidr>,
    /// Identities, proved by a certificate, that are admitted.
    pub principals: Vec<String>,
    /// Without any group nobody is admitted.
    pub restricted: bool,
}

/// A network: an address and the number of its leading bits that count. Its text is `10.0.0.0/8`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    ip: IpAddr,
    bits: u8,
}

/// A text that is no network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an address and a number of bits, as 10.0.0.0/8")]
pub struct NotACidr;

// === impl Tls ===

impl From<proto::Tls> for Tls {
    fn from(message: proto::Tls) -> Self {
        let proto::Tls { certificate, authority, require_peer_certificate, alpn, server_name } = message;
        Self {
            certificate: flaw::text(certificate),
            authority: flaw::text(authority),
            require_peer_certificate,
            alpn,
            server_name: flaw::text(server_name),
        }
    }
}

impl From<&Tls> for proto::Tls {
    fn from(tls: &Tls) -> Self {
        let Tls { certificate, authority, require_peer_certificate, alpn, server_name } = tls;
        let name = |name: &Option<Name>| name.as_deref().unwrap_or_default().to_owned();
        Self {
            certificate: name(certificate),
            authority: name(authority),
            require_peer_certificate: *require_peer_certificate,
            alpn: alpn.clone(),
            server_name: server_name.clone().unwrap_or_default(),
        }
    }
}

// === impl SourcePolicy ===

impl TryFrom<proto::SourcePolicy> for SourcePolicy {
    type Error = Flaw;

    /// # Errors
    /// A network is none.
    fn try_from(message: proto::SourcePolicy) -> Result<Self, Flaw> {
        let proto::SourcePolicy { groups, cidrs, principals, restricted } = message;
        let cidr = |text: &String| flaw::parsed("cidrs", text, "a network, as 10.0.0.0/8");
        Ok(Self {
            groups: groups.into_iter().map(Name::from).collect(),
            cidrs: cidrs.iter().map(cidr).collect::<Result<_, _>>()?,
            principals,
            restricted,
        })
    }
}

impl From<&SourcePolicy> for proto::SourcePolicy {
    fn from(policy: &SourcePolicy) -> Self {
        let SourcePolicy { groups, cidrs, principals, restricted } = policy;
        Self {
            groups: groups.iter().map(ToString::to_string).collect(),
            cidrs: cidrs.iter().map(ToString::to_string).collect(),
            principals: principals.clone(),
            restricted: *restricted,
        }
    }
}

// === impl Cidr ===

impl Cidr {
    /// The address, whose other bits may be set.
    pub fn ip(&self) -> IpAddr {
        self.ip
    }

    /// The number of leading bits that count: at most 32 for IPv4, 128 for IPv6.
    pub fn bits(&self) -> u8 {
        self.bits
    }
}

impl FromStr for Cidr {
    type Err = NotACidr;

    /// # Errors
    /// The text has not this form, or more bits than the address.
    fn from_str(text: &str) -> Result<Self, NotACidr> {
        let (ip, bits) = text.split_once('/').ok_or(NotACidr)?;
        let ip: IpAddr = ip.parse().map_err(|_| NotACidr)?;
        let bits: u8 = bits.parse().map_err(|_| NotACidr)?;
        let most = if ip.is_ipv4() { 32 } else { 128 };
        if bits <= most { Ok(Self { ip, bits }) } else { Err(NotACidr) }
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.ip, self.bits)
    }
}
