//! The desired state of one proxy ([`Desired`]).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use portreeve_agent_core::translate::l7mp::objects::{Cluster, Endpoints, Insertion, Listener};
use portreeve_xds::{Name, Version};

use crate::names::{Key, Kind};

/// The resources that a proxy should have.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Desired {
    /// Clusters by resource name, with the endpoints of the same name.
    pub clusters: BTreeMap<Name, ClusterEntry>,
    /// Listeners by resource name.
    pub listeners: BTreeMap<Name, (Version, Arc<Listener>)>,
    /// Rules for rule lists of the proxy's own configuration, by resource name.
    pub insertions: BTreeMap<Name, (Version, Arc<Insertion>)>,
    /// Resource names whose absence is not a deletion. An entry that ends with `/` stands for all names that start with
    /// it.
    pub kept: BTreeSet<String>,
    /// Whether no absence is a deletion, because the picture may be incomplete.
    pub keep_all: bool,
}

/// A cluster and its endpoints.
#[derive(Clone, Debug, PartialEq)]
pub struct ClusterEntry {
    /// The version of `cluster`.
    pub version: Version,
    /// The cluster.
    pub cluster: Arc<Cluster>,
    /// The version of `endpoints`.
    pub endpoints_version: Version,
    /// The endpoints.
    pub endpoints: Arc<Endpoints>,
}

// === impl Desired ===

impl Desired {
    /// Returns the version of a resource; `None` if it is absent.
    pub fn version(&self, key: &Key) -> Option<Version> {
        match key.kind {
            Kind::Cluster => self.clusters.get(&key.name).map(|entry| entry.version),
            Kind::Endpoints => self.clusters.get(&key.name).map(|entry| entry.endpoints_version),
            Kind::Rule => self.insertions.get(&key.name).map(|(version, _)| *version),
            Kind::Listener => self.listeners.get(&key.name).map(|(version, _)| *version),
        }
    }

    /// Returns the keys of all resources, in the order of creation.
    pub fn keys(&self) -> impl Iterator<Item = Key> {
        let of = |kind| move |name: &Name| Key { kind, name: name.clone() };
        let clusters = self.clusters.keys().map(of(Kind::Cluster));
        let endpoints = self.clusters.keys().map(of(Kind::Endpoints));
        let rules = self.insertions.keys().map(of(Kind::Rule));
        clusters.chain(endpoints).chain(rules).chain(self.listeners.keys().map(of(Kind::Listener)))
    }

    /// Whether a resource of this name must not be deleted although it is absent.
    pub(crate) fn keeps(&self, resource: &str) -> bool {
        let within = |kept: &String| kept.ends_with('/') && resource.starts_with(kept.as_str());
        self.keep_all || self.kept.contains(resource) || self.kept.iter().any(within)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kept_names_match_whole_and_folders_by_prefix() {
        let mk_desired = |kept: &str| Desired { kept: [kept.to_owned()].into(), ..Desired::default() };
        let table = [
            ("B/Target/ns/a", "B/Target/ns/a", true),
            ("B/Target/ns/a", "B/Target/ns/ab", false),
            ("B/Target/ns/", "B/Target/ns/a", true),
            ("B/Target/ns/", "B/Target/other/a", false),
        ];
        for (kept, name, expected) in table {
            assert_eq!(mk_desired(kept).keeps(name), expected, "{kept} {name}");
        }
        assert!(Desired { keep_all: true, ..Desired::default() }.keeps("x"));
        assert!(!Desired::default().keeps("x"));
    }
}
