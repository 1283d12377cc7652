//! The proxy's own objects for the desired resources ([`Wanted`]), and what holds a resource back.

use std::collections::BTreeMap;

use portreeve_agent_core::translate::l7mp::objects::Endpoint;
use portreeve_xds::{Name, Version};
use serde_json::Value;

use crate::names::Key;
use crate::slot::Slot;

/// Resources that the proxy refused: their versions and its words.
pub(crate) type Refusals = BTreeMap<Key, (Version, String)>;

/// The objects of all desired resources by resource name, or why they can't be applied.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Wanted {
    /// Clusters with their endpoints.
    pub(crate) clusters: BTreeMap<Name, Result<WantedCluster, Hold>>,
    /// Listeners with their rules.
    pub(crate) listeners: BTreeMap<Name, Result<WantedListener, Hold>>,
    /// Rules for the proxy's own lists.
    pub(crate) insertions: BTreeMap<Name, Result<Insertion, Hold>>,
}

/// Why a resource isn't applied. A version of it that was applied before stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Hold {
    /// It refers to this cluster resource, which the proxy doesn't have.
    Waiting(Name),
    /// It can't be applied, for the reason in the text.
    Refused(String),
}

/// A cluster.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct WantedCluster {
    /// The object's name.
    pub(crate) name: String,
    /// The object, without endpoints.
    pub(crate) body: Value,
    /// Endpoints by object name.
    pub(crate) endpoints: BTreeMap<String, Endpoint>,
    /// The proxy's words about these endpoints, if it refused one.
    pub(crate) endpoints_refused: Option<String>,
}

/// A listener.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct WantedListener {
    /// The object's name.
    pub(crate) name: String,
    /// The object, without rules.
    pub(crate) body: Value,
    /// Its address.
    pub(crate) slot: Option<Slot>,
    /// Whether it has one session with one remote address, from its creation on.
    pub(crate) connected: bool,
    /// Its rules.
    pub(crate) rules: WantedRules,
}

/// A listener's rules.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum WantedRules {
    /// These rules in a list of the listener's own.
    These(Vec<Rule>),
    /// The list of this name in the proxy's own configuration.
    List(String),
}

/// A rule.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Rule {
    /// The object's name, and that of its route.
    pub(crate) name: String,
    /// The object with its route inside.
    pub(crate) body: Value,
    /// The object names of the clusters on its route. Empty without a route.
    pub(crate) clusters: Vec<String>,
}

/// A rule for a list of the proxy's own configuration.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Insertion {
    /// The list's name.
    pub(crate) list: String,
    /// The position in the list.
    pub(crate) position: usize,
    /// The rule.
    pub(crate) rule: Rule,
}

// === impl Wanted ===

impl Wanted {
    /// Returns the object name of a cluster resource.
    pub(crate) fn cluster_name(&self, resource: &str) -> Result<&str, Hold> {
        let found = self.clusters.get(resource).and_then(|made| made.as_ref().ok());
        found.map(|made| made.name.as_str()).ok_or_else(|| Hold::Waiting(resource.into()))
    }
}
