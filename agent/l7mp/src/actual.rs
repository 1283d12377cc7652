//! What a proxy has ([`Actual`]): read back ([`Actual::read`]), and kept up to date with each step that it confirmed
//! ([`Actual::apply`]). Objects whose names lack the driver's prefix belong to the proxy's own configuration.

mod effects;
mod index;
mod links;
mod part;

use std::collections::BTreeMap;

use portreeve_agent_core::translate::l7mp::objects::Spec;
use serde::Deserialize;
use serde_json::Value;

use crate::names;
use crate::slot::Slot;
use index::Index;

/// The end of the stand-in for the name of a list that the proxy named itself and that wasn't read yet.
const UNREAD: &str = "?";
/// The address of the endpoint that the proxy shows for clusters that need none.
const VIRTUAL: &str = "<VIRTUAL>";

/// A proxy's objects by name.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Actual {
    /// Clusters with their endpoints' names and weights.
    pub(crate) clusters: BTreeMap<String, BTreeMap<String, f64>>,
    /// Listeners.
    pub(crate) listeners: BTreeMap<String, ListenerSeen>,
    /// Rule lists with their rules' names.
    pub(crate) lists: BTreeMap<String, Vec<String>>,
    /// Rules with their routes' names.
    pub(crate) rules: BTreeMap<String, Option<String>>,
    /// Routes with the names of their clusters.
    pub(crate) routes: BTreeMap<String, Vec<String>>,
    /// Who refers to what.
    index: Index,
}

/// A listener on the proxy.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ListenerSeen {
    /// Its rule list's name, which may be a stand-in ([`Actual::is_unread`]).
    pub(crate) list: String,
    /// Its address.
    pub(crate) slot: Option<Slot>,
}

/// The answers of the five reading requests.
#[derive(Clone, Debug, Default)]
pub(crate) struct Answers {
    /// `GET /listeners`.
    pub(crate) listeners: Value,
    /// `GET /clusters?recursive=true`.
    pub(crate) clusters: Value,
    /// `GET /rulelists`.
    pub(crate) lists: Value,
    /// `GET /rules`.
    pub(crate) rules: Value,
    /// `GET /routes`.
    pub(crate) routes: Value,
}

/// A listener in an answer.
#[derive(Deserialize)]
struct ListenerRead {
    name: String,
    spec: Spec,
    #[serde(default)]
    rules: String,
}

/// A cluster in an answer.
#[derive(Deserialize)]
struct ClusterRead {
    name: String,
    #[serde(default)]
    endpoints: Vec<EndpointRead>,
}

/// An endpoint in an answer.
#[derive(Deserialize)]
struct EndpointRead {
    name: String,
    spec: Spec,
    #[serde(default)]
    weight: Option<f64>,
}

/// A rule list in an answer.
#[derive(Deserialize)]
struct ListRead {
    name: String,
    rules: Vec<String>,
}

/// A rule in an answer.
#[derive(Deserialize)]
struct RuleRead {
    name: String,
    action: ActionRead,
}

/// A rule's action in an answer.
#[derive(Deserialize)]
struct ActionRead {
    #[serde(default)]
    route: Option<String>,
}

/// A route in an answer.
#[derive(Deserialize)]
struct RouteRead {
    name: String,
    destination: String,
    #[serde(default)]
    ingress: Vec<String>,
    #[serde(default)]
    egress: Vec<String>,
}

// === impl Actual ===

impl Actual {
    /// Parses the answers of the reading requests.
    ///
    /// # Errors
    /// Returns an error if an answer doesn't have the expected shape.
    pub(crate) fn read(answers: Answers) -> Result<Self, serde_json::Error> {
        let clusters: Vec<ClusterRead> = serde_json::from_value(answers.clusters)?;
        let lists: Vec<ListRead> = serde_json::from_value(answers.lists)?;
        let rules: Vec<RuleRead> = serde_json::from_value(answers.rules)?;
        let routes: Vec<RouteRead> = serde_json::from_value(answers.routes)?;
        let listeners: Vec<ListenerRead> = serde_json::from_value(answers.listeners)?;
        let mut actual = Self {
            clusters: clusters.into_iter().map(|one| (one.name, endpoints(one.endpoints))).collect(),
            listeners: BTreeMap::new(),
            lists: lists.into_iter().map(|one| (one.name, one.rules)).collect(),
            rules: rules.into_iter().map(|one| (one.name, one.action.route)).collect(),
            routes: routes.into_iter().map(route).collect(),
            index: Index::default(),
        };
        for ListenerRead { name, spec, rules: list } in listeners {
            actual.listeners.insert(name, ListenerSeen { list, slot: Slot::of(&spec) });
        }
        actual.reindex();
        Ok(actual)
    }

    /// Learns the name of a listener's list from the answer of `GET /listeners/NAME`.
    ///
    /// # Errors
    /// See [`Actual::read`].
    pub(crate) fn read_list(&mut self, answer: Value) -> Result<(), serde_json::Error> {
        let ListenerRead { name, spec: _, rules: list } = serde_json::from_value(answer)?;
        let rules = self.remove_list(&unread(&name)).unwrap_or_default();
        if !self.lists.contains_key(&list) {
            self.put_list(list.clone(), rules);
        }
        if let Some(seen) = self.remove_listener(&name) {
            self.put_listener(name, ListenerSeen { list, slot: seen.slot });
        }
        Ok(())
    }

    /// Returns the name of the listener of the proxy's own configuration that has this slot.
    pub(crate) fn foreign_at(&self, slot: &Slot) -> Option<&str> {
        self.index.at(slot).find(|name| !names::is_own(name))
    }

    /// Whether the proxy's own configuration has this cluster.
    pub(crate) fn has_foreign_cluster(&self, name: &str) -> bool {
        !names::is_own(name) && self.clusters.contains_key(name)
    }

    /// Whether the proxy's own configuration has this rule list.
    pub(crate) fn has_foreign_list(&self, name: &str) -> bool {
        !names::is_own(name) && self.lists.contains_key(name)
    }

    /// Whether the name of a listener's list is only a stand-in.
    pub(crate) fn is_unread(list: &str) -> bool {
        list.ends_with(UNREAD)
    }

    /// Returns an object of the driver that is gone if the proxy was restarted, as its kind in paths and its name.
    pub(crate) fn witness(&self) -> Option<(&'static str, &str)> {
        let listener = self.listeners.keys().find(|name| names::is_own(name));
        let cluster = || self.clusters.keys().find(|name| names::is_own(name));
        match listener {
            Some(name) => Some(("listeners", name)),
            None => cluster().map(|name| ("clusters", name.as_str())),
        }
    }
}

/// Returns the stand-in for the name of a listener's list.
fn unread(listener: &str) -> String {
    format!("{listener}{UNREAD}")
}

fn endpoints(read: Vec<EndpointRead>) -> BTreeMap<String, f64> {
    let real = read.into_iter().filter(|one| one.spec.get("address").is_none_or(|at| at != VIRTUAL));
    real.map(|one| (one.name, one.weight.unwrap_or(1.0))).collect()
}

fn route(read: RouteRead) -> (String, Vec<String>) {
    let mut clusters = vec![read.destination];
    clusters.extend(read.ingress);
    clusters.extend(read.egress);
    (read.name, clusters)
}

#[cfg(test)]
mod tests;
