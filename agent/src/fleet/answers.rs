//! What one proxy says of what it is sent: [`Answers`].

use std::collections::BTreeMap;

use portreeve_xds::{Name, Version};

use crate::translate::ProxyModel;

/// What a proxy said of what it was sent.
#[derive(Clone, Debug)]
pub struct Answers<T> {
    /// Streams that are open now.
    pub streams: usize,
    /// The version of each resource that was last accepted.
    pub accepted: BTreeMap<(T, Name), Version>,
    /// What a proxy without a stream accepted last. For a moment it is taken to run that still: it goes on without an agent,
    /// and is on its way back to one.
    pub presumed: BTreeMap<(T, Name), Version>,
    /// Resources that were refused, also where what was accepted before has taken their place.
    pub refused: BTreeMap<(T, Name), Refusal>,
}

/// What a proxy refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The version that it refused: of a later one nothing is known yet.
    pub version: Version,
    /// The proxy's own words, and what to do where they leave that open.
    pub text: String,
}

/// What all proxies of a node said since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Streams that were opened.
    pub streams: u64,
    /// Responses that were accepted.
    pub acks: u64,
    /// Responses that were refused.
    pub nacks: u64,
}

// === impl Answers ===

impl<T> Default for Answers<T> {
    fn default() -> Self {
        let (accepted, presumed, refused) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Self { streams: 0, accepted, presumed, refused }
    }
}

impl<T: ProxyModel> Answers<T> {
    /// Whether the proxy is there, as far as is known or to be presumed.
    pub fn is_there(&self) -> bool {
        self.streams > 0 || !self.presumed.is_empty()
    }

    /// Whether the proxy runs this version. While disconnected, assignments count as running with their clusters.
    pub fn runs(&self, key: &(T, Name), version: Version) -> bool {
        let presumed = || self.presumed.get(key) == Some(&version);
        let unsaid = || self.streams == 0 && key.0 == T::ASSIGNMENT;
        self.accepted.get(key) == Some(&version) || presumed() || unsaid()
    }

    /// Whether the proxy accepted something of a Plan and still has it. Assignments go with their cluster.
    pub fn has_any(&self, start: &str) -> bool {
        let types = T::ALL.iter().filter(|ty| **ty != T::ASSIGNMENT);
        types.copied().any(|ty| {
            let mut from = self.accepted.range((ty, Name::from(start))..);
            from.next().is_some_and(|((of, name), _)| *of == ty && name.starts_with(start))
        })
    }
}
