//! The proxy's own objects for the desired resources ([`Wanted`]), and what holds a resource back.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use portreeve_agent_core::translate::l7mp::objects::{Endpoint, Listener};
use portreeve_xds::{Name, Version};
use serde_json::{Value, json};

use crate::names::Key;
use crate::slot::Slot;

/// Resources that the proxy refused: their versions and its words.
pub(crate) type Refusals = BTreeMap<Key, (Version, String)>;

/// The last acknowledged version of each listener.
pub(crate) type Good = BTreeMap<Name, (Version, Arc<Listener>)>;

/// The objects of all desired resources by resource name, or why they can't be applied.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Wanted {
    /// Clusters with their endpoints.
    pub(crate) clusters: BTreeMap<Name, Result<WantedCluster, Hold>>,
    /// Listeners with their rules.
    pub(crate) listeners: BTreeMap<Name, Result<WantedListener, Hold>>,
    /// Rules for the proxy's own lists.
    pub(crate) insertions: BTreeMap<Name, Result<Insertion, Hold>>,
    /// Listeners and rules by the cluster resources that they lead to.
    users: BTreeMap<Name, BTreeSet<Key>>,
    /// The reverse of `users`.
    leads: BTreeMap<Key, BTreeSet<Name>>,
    /// Listeners by the slot that they ask for. The first one gets it.
    claims: BTreeMap<Slot, BTreeSet<Name>>,
    /// The reverse of `claims`.
    claimed: BTreeMap<Name, Slot>,
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

/// A cluster inside of a route.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Inside {
    /// The cluster resource.
    pub(crate) resource: Name,
    /// The object's name.
    pub(crate) name: String,
    /// The object with its endpoints.
    pub(crate) body: Value,
    /// The endpoints' names and weights.
    pub(crate) endpoints: BTreeMap<String, f64>,
}

/// The protocols whose clusters may be made together with their endpoints. Others end the proxy if they take none.
const WITH_ENDPOINTS: [&str; 4] = ["UDP", "TCP", "WebSocket", "JSONSocket"];

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

// === impl WantedCluster ===

impl WantedCluster {
    /// Returns the whole cluster for a request that also makes something else; `None` if a part of it could be refused:
    /// the proxy ends if it refuses an endpoint inside of a cluster.
    pub(crate) fn inside(&self, resource: &Name) -> Option<Inside> {
        let known = |protocol: &str| WITH_ENDPOINTS.contains(&protocol);
        let takes = self.body.pointer("/spec/protocol").and_then(Value::as_str).is_some_and(known);
        let plain = |name: &String, one: &Endpoint| {
            one.address.parse::<IpAddr>().is_ok() && !name.contains(char::is_whitespace)
        };
        let sure = self.endpoints.iter().all(|(name, one)| plain(name, one));
        if self.endpoints_refused.is_some() || !takes || !sure {
            return None;
        }
        let weight = |one: &Endpoint| one.weight.unwrap_or(1);
        let shown = |(name, one): (&String, &Endpoint)| json!({"name": name, "spec": {"address": one.address}, "weight": weight(one)});
        let mut body = self.body.clone();
        body["endpoints"] = self.endpoints.iter().map(shown).collect();
        let endpoints = self.endpoints.iter().map(|(name, one)| (name.clone(), f64::from(weight(one))));
        Some(Inside {
            resource: resource.clone(),
            name: self.name.clone(),
            body,
            endpoints: endpoints.collect(),
        })
    }
}

// === impl Wanted ===

impl Wanted {
    /// Returns the object name of a cluster resource.
    pub(crate) fn cluster_name(&self, resource: &str) -> Result<&str, Hold> {
        let found = self.clusters.get(resource).and_then(|made| made.as_ref().ok());
        found.map(|made| made.name.as_str()).ok_or_else(|| Hold::Waiting(resource.into()))
    }

    /// Returns the listeners and rules that lead to a cluster resource.
    pub(crate) fn users(&self, cluster: &str) -> impl Iterator<Item = &Key> {
        self.users.get(cluster).into_iter().flatten()
    }

    /// Returns the cluster resources that a listener or rule leads to.
    pub(crate) fn leads(&self, key: &Key) -> impl Iterator<Item = &Name> {
        self.leads.get(key).into_iter().flatten()
    }

    /// Returns the listener that gets a slot.
    pub(crate) fn owner(&self, slot: &Slot) -> Option<&Name> {
        self.claims.get(slot)?.first()
    }

    /// Sets the cluster resources that a listener or rule leads to.
    pub(crate) fn lead(&mut self, key: &Key, clusters: BTreeSet<Name>) {
        for cluster in self.leads.remove(key).unwrap_or_default().difference(&clusters) {
            if let Some(users) = self.users.get_mut(cluster) {
                users.remove(key);
                if users.is_empty() {
                    self.users.remove(cluster);
                }
            }
        }
        for cluster in &clusters {
            self.users.entry(cluster.clone()).or_default().insert(key.clone());
        }
        if !clusters.is_empty() {
            self.leads.insert(key.clone(), clusters);
        }
    }

    /// Sets the slot that a listener asks for. Returns the other listeners that ask for it or for the former one, if that
    /// is another one.
    pub(crate) fn claim(&mut self, listener: &Name, slot: Option<Slot>) -> BTreeSet<Name> {
        if self.claimed.get(listener) == slot.as_ref() {
            return BTreeSet::new();
        }
        let mut others = BTreeSet::new();
        if let Some(former) = self.claimed.remove(listener)
            && let Some(mut left) = self.claims.remove(&former)
        {
            left.remove(listener);
            others.extend(left.iter().cloned());
            if !left.is_empty() {
                self.claims.insert(former, left);
            }
        }
        if let Some(slot) = slot {
            let all = self.claims.entry(slot.clone()).or_default();
            others.extend(all.iter().cloned());
            all.insert(listener.clone());
            self.claimed.insert(listener.clone(), slot);
        }
        others
    }
}
