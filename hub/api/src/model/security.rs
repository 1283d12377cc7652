//! Access to listeners and its proof: [`Tls`], [`Secret`] and [`SourcePolicy`].

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use bytes::Bytes;
use portreeve_xds::Name;

use super::flaw::{self, Flaw};
use crate::plan as proto;

/// TLS settings by reference (message `Tls`). The keys are sent in Secret resources.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// The Secret with the certificate and its key.
    pub certificate: Option<Name>,
    /// The Secret with the authority that signs the peers' certificates.
    pub authority: Option<Name>,
    /// Whether a peer without a certificate is rejected.
    pub require_peer_certificate: bool,
    /// The offered ALPN protocols, the preferred one first.
    pub alpn: Vec<String>,
    /// The server name (SNI) that is requested.
    pub server_name: Option<String>,
    /// Of a cluster: the names of which the server's certificate must have at least one as a DNS, URI or IP SAN. Empty: any
    /// certificate of the authority is accepted.
    pub peer_names: Vec<String>,
}

/// Key material as PEM text (message `Secret`). Its `Debug` text has no content.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret {
    /// The certificate, then those of the authorities between it and the root. Empty for an authority's Secret.
    pub certificate_chain: Bytes,
    /// The certificate's private key. Empty for an authority's Secret.
    pub private_key: Bytes,
    /// The certificates of the authorities. Empty for a certificate's Secret.
    pub authority: Bytes,
}

/// The peers that may connect (message `SourcePolicy`). Entries of one list are alternatives. Each list that is not empty
/// must admit the peer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourcePolicy {
    /// Groups whose endpoints' addresses are admitted: every address of every endpoint, ready or not.
    pub groups: Vec<Name>,
    /// Networks that are admitted.
    pub cidrs: Vec<Cidr>,
    /// Admitted names, proved by a certificate: a URI SAN, a DNS SAN, or the subject as RFC 2253 text.
    pub principals: Vec<String>,
    /// Whether nobody is admitted if `groups` is empty.
    pub restricted: bool,
}

/// A network: an address and its prefix length. Its text is `10.0.0.0/8`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    ip: IpAddr,
    bits: u8,
}

/// The error for a text that is not a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an address and a number of bits, as 10.0.0.0/8")]
pub struct NotACidr;

// === impl Tls ===

impl From<proto::Tls> for Tls {
    fn from(message: proto::Tls) -> Self {
        let proto::Tls { certificate, authority, require_peer_certificate, alpn, server_name, peer_names } =
            message;
        Self {
            certificate: flaw::text(certificate),
            authority: flaw::text(authority),
            require_peer_certificate,
            alpn,
            server_name: flaw::text(server_name),
            peer_names,
        }
    }
}

impl From<&Tls> for proto::Tls {
    fn from(tls: &Tls) -> Self {
        let Tls { certificate, authority, require_peer_certificate, alpn, server_name, peer_names } = tls;
        let name = |name: &Option<Name>| name.as_deref().unwrap_or_default().to_owned();
        Self {
            certificate: name(certificate),
            authority: name(authority),
            require_peer_certificate: *require_peer_certificate,
            alpn: alpn.clone(),
            server_name: server_name.clone().unwrap_or_default(),
            peer_names: peer_names.clone(),
        }
    }
}

// === impl Secret ===

impl From<proto::Secret> for Secret {
    fn from(message: proto::Secret) -> Self {
        let proto::Secret { certificate_chain, private_key, authority } = message;
        Self { certificate_chain, private_key, authority }
    }
}

impl From<&Secret> for proto::Secret {
    fn from(secret: &Secret) -> Self {
        let Secret { certificate_chain, private_key, authority } = secret.clone();
        Self { certificate_chain, private_key, authority }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secret").finish_non_exhaustive()
    }
}

// === impl SourcePolicy ===

impl TryFrom<proto::SourcePolicy> for SourcePolicy {
    type Error = Flaw;

    /// # Errors
    /// Returns an error if a network is invalid.
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

/// Returns whether a principal is a subject as RFC 2253 text, such as `CN=alice,O=example`: it starts with an attribute's
/// type, which is a word or numbers with dots.
pub fn is_subject(principal: &str) -> bool {
    let attribute = principal.split_once('=').map(|(attribute, _)| attribute);
    let of_type = |c: char| c.is_ascii_alphanumeric() || c == '.' || c == '-';
    attribute.is_some_and(|attribute| !attribute.is_empty() && attribute.chars().all(of_type))
}

// === impl Cidr ===

impl Cidr {
    /// The address. Bits after the prefix may be set.
    pub fn ip(&self) -> IpAddr {
        self.ip
    }

    /// The prefix length: at most 32 for IPv4, 128 for IPv6.
    pub fn bits(&self) -> u8 {
        self.bits
    }
}

impl FromStr for Cidr {
    type Err = NotACidr;

    /// # Errors
    /// Returns an error if the text doesn't have this form, or if the prefix is longer than the address.
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

#[cfg(test)]
mod tests {
    use super::is_subject;

    #[test]
    fn principal_that_starts_with_an_attribute_is_a_subject() {
        for subject in ["CN=a", "CN=cluster.aws.io/bob,O=cert-manager", "2.5.4.3=a", "O=Acme\\, Inc.,CN=zoe"]
        {
            assert!(is_subject(subject), "{subject}");
        }
        for name in ["", "=a", "cluster.aws.io/bob", "spiffe://aws/a", "https://a/?b=c", "spiffe://a/b=c"] {
            assert!(!is_subject(name), "{name}");
        }
    }
}
