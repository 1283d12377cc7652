//! One proxy's ACKs and NACKs: [`Answers`].

use std::collections::BTreeMap;

use portreeve_xds::{Name, Version};

use super::announced::Announced;
use crate::translate::ProxyModel;

/// One proxy's ACKs and NACKs.
#[derive(Clone, Debug)]
pub struct Answers<T> {
    /// What each open stream announced, the oldest stream first.
    pub streams: BTreeMap<u64, Announced>,
    /// The last accepted version of each resource.
    pub accepted: BTreeMap<(T, Name), Version>,
    /// The versions that a disconnected proxy accepted last. A proxy keeps running without an agent and
    /// reconnects soon, so these count as running for a short time after its last stream ended.
    pub presumed: BTreeMap<(T, Name), Version>,
    /// Rejected resources, including those for which the last accepted version is served instead.
    pub refused: BTreeMap<(T, Name), Refusal>,
}

/// A NACK for one resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The rejected version. The NACK says nothing about later versions.
    pub version: Version,
    /// The proxy's error message, with advice added if the message gives none.
    pub text: String,
}

/// Counts over all proxies of a node since the agent started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Opened streams.
    pub streams: u64,
    /// Accepted responses.
    pub acks: u64,
    /// Rejected responses.
    pub nacks: u64,
}

// === impl Answers ===

impl<T> Default for Answers<T> {
    fn default() -> Self {
        let (accepted, presumed, refused) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Self { streams: BTreeMap::new(), accepted, presumed, refused }
    }
}

impl<T: ProxyModel> Answers<T> {
    /// Returns whether the proxy is connected, or was so recently that it counts as present.
    pub fn is_there(&self) -> bool {
        !self.streams.is_empty() || !self.presumed.is_empty()
    }

    /// Returns whether the proxy runs this version. While disconnected, assignments count as running with
    /// their clusters.
    pub fn runs(&self, key: &(T, Name), version: Version) -> bool {
        let presumed = || self.presumed.get(key) == Some(&version);
        let unsaid = || self.streams.is_empty() && key.0 == T::ASSIGNMENT;
        self.accepted.get(key) == Some(&version) || presumed() || unsaid()
    }

    /// Returns whether the proxy runs any version of a resource.
    pub fn has(&self, key: &(T, Name)) -> bool {
        self.accepted.contains_key(key) || self.presumed.contains_key(key)
    }

    /// Returns whether the proxy still has a resource of the Plan whose resource names start with `start`.
    /// Types that it asks for by name, such as assignments, are not checked: what refers to them is.
    pub fn has_any(&self, start: &str) -> bool {
        let types = T::ALL.iter().filter(|ty| ty.legacy_wildcard());
        types.copied().any(|ty| {
            let mut from = self.accepted.range((ty, Name::from(start))..);
            from.next().is_some_and(|((of, name), _)| *of == ty && name.starts_with(start))
        })
    }
}
