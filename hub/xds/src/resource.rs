//! A resource type with its rules ([`ResourceType`]), and one named, versioned, encoded [`Resource`].

use std::fmt::{self, Debug, Display};
use std::hash::Hash;
use std::num::ParseIntError;
use std::str::FromStr;
use std::sync::Arc;

use bytes::Bytes;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use crate::protobuf::{put_bytes, put_length, size_of_bytes};

/// A resource's name. All references share one allocation.
pub type Name = Arc<str>;

/// The answer about a subscribed name that does not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// The name is in `removed_resources` at once, and the subscription stays (xDS spec, "Deleting Resources").
    Removed,
    /// No answer until it exists. Envoy opens a TLS port without its certificate if the secret is in `removed_resources`.
    Hold,
}

/// An enum of resource types, and the protocol's rules for each.
pub trait ResourceType: Copy + Eq + Ord + Hash + Debug + Send + Sync + 'static {
    /// Every type, in make-before-break order: a type comes before the types that refer to it.
    const ALL: &'static [Self];

    /// The type URL, `type.googleapis.com/...`.
    fn type_url(self) -> &'static str;

    /// Returns the type of a URL; `None` if it is not in [`Self::ALL`].
    fn from_type_url(url: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|ty| ty.type_url() == url)
    }

    /// Whether a first subscription without names means all resources (xDS spec: LDS and CDS).
    fn legacy_wildcard(self) -> bool;

    /// Whether a state-of-the-world response must carry the whole set (xDS spec: LDS and CDS).
    fn full_state(self) -> bool;

    /// The type of [`Resource::companion`]. A companion is sent right behind its resource.
    fn companion(self) -> Option<Self> {
        None
    }

    /// The type that refers to this one. Removals of this type wait until the client has answered it, at most 1 s.
    fn remove_before(self) -> Option<Self> {
        None
    }

    /// The answer about names of this type that do not exist.
    fn on_missing(self) -> Missing {
        Missing::Removed
    }

    /// Returns a body that empties a resource, for types whose removal the client ignores (Envoy: EDS).
    fn vanished_body(self, _name: &str) -> Option<Bytes> {
        None
    }

    /// Whether a rejection is the environment's fault. The same bytes are sent again then, with backoff.
    fn transient(self, _detail: &str) -> bool {
        false
    }

    /// Whether a rejection tells that another resource of the client holds the address ([`Resource::address`]).
    fn conflict(self, _detail: &str) -> bool {
        false
    }

    /// Whether changes are sent even while a stream waits for its turn to send many others ([`Source::turn`](crate::Source::turn)).
    /// The client must not care in which order it gets this type and others.
    fn urgent(self) -> bool {
        false
    }

    /// Whether bodies are secret. The text of a rejection may quote them, so it is never passed on.
    fn secret(self) -> bool {
        false
    }
}

/// The position of a type in [`ResourceType::ALL`].
pub(crate) fn position<T: ResourceType>(ty: T) -> usize {
    T::ALL.iter().position(|known| *known == ty).unwrap_or_default()
}

/// A content hash: xxh3-64 of a resource's body, written as 16 hexadecimal characters.
///
/// It is the same in every process, so a restarted server recognises the versions that clients claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Version(pub u64);

// === impl Version ===

impl Version {
    /// Returns the version of a body.
    pub fn of(body: &[u8]) -> Self {
        Self(xxh3_64(body))
    }

    /// Returns the version of a set of names with their versions: the sum of a hash of each, so that order does not matter.
    /// State-of-the-world responses carry it as `version_info`.
    pub fn of_set<'a>(set: impl IntoIterator<Item = (&'a Name, Self)>) -> Self {
        Self(set.into_iter().fold(0, |sum: u64, (name, version)| sum.wrapping_add(version.share(name))))
    }

    /// The summand of a name with this version in [`Version::of_set`].
    pub(crate) fn share(self, name: &str) -> u64 {
        xxh3_64_with_seed(name.as_bytes(), self.0)
    }

    /// Returns the 16 characters of the wire format.
    pub fn text(self) -> [u8; 16] {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        std::array::from_fn(|at| DIGITS[(self.0 >> (60 - 4 * at)) as usize & 0xf])
    }
}

impl Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl FromStr for Version {
    type Err = ParseIntError;

    /// Parses 16 hexadecimal characters. Any other text is not a version of this crate.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = if text.len() == 16 && !text.starts_with('+') { text } else { "" };
        u64::from_str_radix(digits, 16).map(Self)
    }
}

/// One resource, encoded once and shared by all streams.
///
/// It is small, with its message in one other allocation: among ten thousand resources each access finds cold memory.
#[derive(Clone, PartialEq, Eq)]
pub struct Resource {
    name: Name,
    version: Version,
    /// The encoded `envoy.service.discovery.v3.Resource`; its last field is the `Any`, whose last field is the body.
    message: Box<[u8]>,
    any_at: u32,
    body_at: u32,
    relation: Relation,
}

/// A resource's relation to other resources.
#[derive(Clone, PartialEq, Eq)]
enum Relation {
    None,
    /// This resource must follow it.
    Companion(Name),
    /// No other resource of its type may hold this address at the same time.
    Address(Name),
}

// === impl Resource ===

impl Resource {
    /// Builds a resource from its encoded message.
    pub fn new<T: ResourceType>(ty: T, name: impl Into<Name>, body: &[u8]) -> Arc<Self> {
        Arc::new(Self::encode(ty.type_url(), name.into(), body))
    }

    /// Builds a resource that `companion` (of type [`ResourceType::companion`]) must always follow, as a load assignment must
    /// follow its Envoy cluster.
    pub fn with_companion<T: ResourceType>(
        ty: T,
        name: impl Into<Name>,
        body: &[u8],
        companion: impl Into<Name>,
    ) -> Arc<Self> {
        let plain = Self::encode(ty.type_url(), name.into(), body);
        let companion = Some(companion.into()).filter(|other| *other != plain.name);
        let companion = companion.unwrap_or_else(|| plain.name.clone());
        Arc::new(Self { relation: Relation::Companion(companion), ..plain })
    }

    /// Builds a resource that holds `address` at the client, as an Envoy listener does. The client rejects another resource
    /// of this type with the same address, so sessions order their responses by it. The text is only compared.
    pub fn with_address<T: ResourceType>(
        ty: T,
        name: impl Into<Name>,
        body: &[u8],
        address: impl Into<Name>,
    ) -> Arc<Self> {
        let plain = Self::encode(ty.type_url(), name.into(), body);
        Arc::new(Self { relation: Relation::Address(address.into()), ..plain })
    }

    fn encode(url: &str, name: Name, body: &[u8]) -> Self {
        let version = Version::of(body);
        let any_len = size_of_bytes(url.len()) + size_of_bytes(body.len());
        let room = size_of_bytes(16) + size_of_bytes(name.len()) + size_of_bytes(any_len);
        let mut out = Vec::with_capacity(room);
        put_bytes(&mut out, 1, &version.text());
        put_bytes(&mut out, 3, name.as_bytes());
        put_length(&mut out, 2, any_len);
        let any_at = out.len() as u32;
        put_bytes(&mut out, 1, url.as_bytes());
        put_length(&mut out, 2, body.len());
        let body_at = out.len() as u32;
        out.extend_from_slice(body);
        Self { name, version, message: out.into_boxed_slice(), any_at, body_at, relation: Relation::None }
    }

    /// The name, unique within its type.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// Replaces the name's allocation by another one of the same text.
    pub(crate) fn share_name(&mut self, name: &Name) {
        debug_assert_eq!(self.name, *name);
        match &mut self.relation {
            Relation::Companion(companion) if *companion == *name => *companion = name.clone(),
            _ => {}
        }
        self.name = name.clone();
    }

    /// The body's content hash.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The resource that must follow this one on every stream; `None` without one.
    pub fn companion(&self) -> Option<&Name> {
        match &self.relation {
            Relation::Companion(name) => Some(name),
            _ => None,
        }
    }

    /// The address of [`Resource::with_address`]; `None` without one.
    pub fn address(&self) -> Option<&Name> {
        match &self.relation {
            Relation::Address(address) => Some(address),
            _ => None,
        }
    }

    /// The encoded message, a slice of the shared allocation.
    pub fn body(&self) -> &[u8] {
        &self.message[self.body_at as usize..]
    }

    /// The encoded delta `Resource` (name, version, `Any`): the whole shared allocation.
    pub fn delta_bytes(&self) -> &[u8] {
        &self.message
    }

    /// The encoded `google.protobuf.Any` of a state-of-the-world response, a slice of the same allocation.
    pub fn any_bytes(&self) -> &[u8] {
        &self.message[self.any_at as usize..]
    }
}

impl Debug for Resource {
    /// Writes name and version only: a body may be secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.name, self.version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::EnvoyType;

    #[test]
    fn a_version_is_sixteen_characters_and_reads_back() {
        for value in [0, 1, 0x0123_4567_89ab_cdef, u64::MAX] {
            let version = Version(value);
            let text = version.to_string();
            assert_eq!(text.as_bytes(), version.text());
            assert_eq!(text.parse(), Ok(version));
        }
    }

    #[test]
    fn foreign_version_text_is_refused() {
        for text in ["", "1", "+123456789abcdef", "0123456789abcdefg", "zzzzzzzzzzzzzzzz"] {
            assert!(text.parse::<Version>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_body_is_a_slice_of_the_one_allocation() {
        let resource = Resource::new(EnvoyType::Cluster, "c", b"body");
        assert_eq!(resource.body(), b"body");
        let whole = resource.delta_bytes().as_ptr_range();
        assert!(whole.contains(&resource.body().as_ptr()));
        assert!(whole.contains(&resource.any_bytes().as_ptr()));
        assert!(resource.any_bytes().ends_with(b"body"));
    }

    #[test]
    fn debug_text_never_shows_the_body() {
        let resource = Resource::new(EnvoyType::Secret, "s", b"private key");
        assert!(!format!("{resource:?}").contains("private"));
    }
}
