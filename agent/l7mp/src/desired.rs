//! The desired state of one proxy ([`Desired`]), and changes of it ([`Changes`]).

use std::collections::BTreeMap;
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
    /// Whether no absence is a deletion, because the picture may be incomplete.
    pub keep_all: bool,
}

/// Changes of a desired state. `None` removes a resource.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Changes {
    /// Clusters with their endpoints.
    pub clusters: BTreeMap<Name, Option<ClusterEntry>>,
    /// Listeners.
    pub listeners: BTreeMap<Name, Option<(Version, Arc<Listener>)>>,
    /// Rules for rule lists of the proxy's own configuration.
    pub insertions: BTreeMap<Name, Option<(Version, Arc<Insertion>)>>,
    /// The new [`Desired::keep_all`]; `None`: unchanged.
    pub keep_all: Option<bool>,
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
        keys(&self.clusters, &self.insertions, &self.listeners)
    }

    /// Applies changes.
    pub fn apply(&mut self, changes: Changes) {
        let Changes { clusters, listeners, insertions, keep_all } = changes;
        self.keep_all = keep_all.unwrap_or(self.keep_all);
        put(&mut self.clusters, clusters);
        put(&mut self.listeners, listeners);
        put(&mut self.insertions, insertions);
    }
}

/// Returns the keys of all resources in maps of them, in the order of creation.
fn keys<'a, C, R, L>(
    clusters: &'a BTreeMap<Name, C>,
    insertions: &'a BTreeMap<Name, R>,
    listeners: &'a BTreeMap<Name, L>,
) -> impl Iterator<Item = Key> + use<'a, C, R, L> {
    let of = |kind| move |name: &Name| Key { kind, name: name.clone() };
    let rules = insertions.keys().map(of(Kind::Rule));
    let endpoints = clusters.keys().map(of(Kind::Endpoints));
    let first = clusters.keys().map(of(Kind::Cluster)).chain(endpoints);
    first.chain(rules).chain(listeners.keys().map(of(Kind::Listener)))
}

fn put<T>(state: &mut BTreeMap<Name, T>, changes: BTreeMap<Name, Option<T>>) {
    for (name, change) in changes {
        match change {
            Some(new) => drop(state.insert(name, new)),
            None => drop(state.remove(&name)),
        }
    }
}

// === impl Changes ===

impl Changes {
    /// Whether there is nothing to change.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Adds later changes.
    pub fn merge(&mut self, later: Self) {
        self.clusters.extend(later.clusters);
        self.listeners.extend(later.listeners);
        self.insertions.extend(later.insertions);
        self.keep_all = later.keep_all.or(self.keep_all);
    }

    /// Returns the changed resources.
    pub fn keys(&self) -> impl Iterator<Item = Key> {
        keys(&self.clusters, &self.insertions, &self.listeners)
    }
}
