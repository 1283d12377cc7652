//! [`Listener`]: a port that opens on the proxy, with its rules.

use std::num::NonZeroU32;
use std::time::Duration;

use super::flaw::{self, Flaw};
use super::{Socket, SourcePolicy, Tls};
use crate::plan as proto;

/// A port that the proxy opens (message `Listener`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// The listener's name, unique in the Plan.
    pub name: String,
    /// The address and the protocol. `None`: the hub sent none, and the listener can't be opened.
    pub socket: Option<Socket>,
    /// The rules. The first one that matches a session applies.
    pub rules: Vec<Rule>,
    /// TLS towards the clients.
    pub tls: Option<Tls>,
    /// The peers that may connect. `None`: all.
    pub sources: Option<SourcePolicy>,
    /// Whether HTTP is spoken on its TCP socket.
    pub http: bool,
    /// Settings of the listener's sessions.
    pub options: Option<Options>,
    /// Features, added after version 0.1.0, that the listener relies on. An agent that doesn't know one of them does not
    /// open the listener.
    pub needs: Vec<String>,
}

/// Settings of a listener's sessions (message `Options`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// How long a session may be idle before it ends. `None`: the translator's default.
    pub idle_timeout: Option<Duration>,
    /// Whether the sessions of a deleted object end; API B.
    pub remove_orphan_sessions: bool,
    /// The interval between reports on sessions; API B.
    pub track: Option<Duration>,
}

/// The action for sessions that match (message `Rule`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// The rule's name; empty if the object gives none.
    pub name: String,
    /// A JSON predicate over the session's metadata. `None`: every session matches.
    pub match_json: Option<String>,
    /// Changes to the session's metadata.
    pub rewrites: Vec<Rewrite>,
    /// The session's route.
    pub route: Option<Route>,
    /// The list of rules that is applied instead; API B.
    pub apply: Option<String>,
}

/// A rule for a list that the proxies own (message `RuleList`); API B.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleList {
    /// The list's name.
    pub list: String,
    /// The rule's position in the list, from 0.
    pub position: u32,
    /// The rule.
    pub rule: Option<Rule>,
}

/// A change to a session's metadata (message `Rewrite`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rewrite {
    /// The path to set.
    pub path: String,
    /// The new value, in JSON.
    pub value_json: String,
}

/// A session's destination and the clusters on its way (message `Route`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Route {
    /// The name of a cluster of the same Plan.
    pub destination: String,
    /// Clusters that the session passes on the way to the destination.
    pub ingress: Vec<String>,
    /// Clusters that the session passes on the way back.
    pub egress: Vec<String>,
    /// Retries after the destination fails.
    pub retry: Option<Retry>,
}

/// Retries after a destination fails (message `Retry`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retry {
    /// The failures that are retried, as API B writes them.
    pub on: Option<String>,
    /// The maximum number of attempts. `None`: not set.
    pub attempts: Option<NonZeroU32>,
    /// Timeout of an attempt. `None`: not set.
    pub timeout: Option<Duration>,
}

// === impl Listener ===

impl TryFrom<proto::Listener> for Listener {
    type Error = Flaw;

    /// # Errors
    /// Returns an error that names the listener and its first invalid field.
    fn try_from(message: proto::Listener) -> Result<Self, Flaw> {
        let proto::Listener { name, socket, rules, tls, sources, http, options, needs } = message;
        let of = format!("listener {name}");
        let read = || {
            let sources = sources.map(SourcePolicy::try_from).transpose();
            let socket = socket.map(Socket::try_from).transpose();
            Ok(Self {
                name: flaw::full("name", name)?,
                socket: socket.map_err(|flaw| flaw.under("socket"))?,
                rules: rules.into_iter().map(Rule::from).collect(),
                tls: tls.map(Tls::from),
                sources: sources.map_err(|flaw| flaw.under("sources"))?,
                http,
                options: options.map(Options::from),
                needs,
            })
        };
        read().map_err(|flaw: Flaw| flaw.of(of))
    }
}

impl From<&Listener> for proto::Listener {
    fn from(listener: &Listener) -> Self {
        let Listener { name, socket, rules, tls, sources, http, options, needs } = listener;
        Self {
            name: name.clone(),
            socket: socket.as_ref().map(Into::into),
            rules: flaw::written(rules),
            tls: tls.as_ref().map(Into::into),
            sources: sources.as_ref().map(Into::into),
            http: *http,
            options: options.as_ref().map(Into::into),
            needs: needs.clone(),
        }
    }
}

// === impl Options ===

impl From<proto::Options> for Options {
    fn from(message: proto::Options) -> Self {
        let proto::Options { idle_timeout_ms, remove_orphan_sessions, track_ms } = message;
        Self {
            idle_timeout: flaw::duration(idle_timeout_ms),
            remove_orphan_sessions,
            track: flaw::duration(track_ms),
        }
    }
}

impl From<&Options> for proto::Options {
    fn from(options: &Options) -> Self {
        let Options { idle_timeout, remove_orphan_sessions, track } = options;
        Self {
            idle_timeout_ms: flaw::ms(*idle_timeout),
            remove_orphan_sessions: *remove_orphan_sessions,
            track_ms: flaw::ms(*track),
        }
    }
}

// === impl Rule ===

impl Rule {
    /// The rule that forwards every session to a cluster of the same Plan.
    pub fn forward(cluster: &str) -> Self {
        let route = Route { destination: cluster.to_owned(), ..Route::default() };
        Self { route: Some(route), ..Self::default() }
    }

    /// Returns whether the rule only names the list that is applied instead.
    pub fn is_reference(&self) -> bool {
        *self == Self { apply: self.apply.clone(), ..Self::default() } && self.apply.is_some()
    }
}

impl From<proto::Rule> for Rule {
    fn from(message: proto::Rule) -> Self {
        let proto::Rule { name, match_json, rewrites, route, apply } = message;
        Self {
            name,
            match_json: flaw::text(match_json),
            rewrites: rewrites.into_iter().map(Rewrite::from).collect(),
            route: route.map(Route::from),
            apply: flaw::text(apply),
        }
    }
}

impl From<&Rule> for proto::Rule {
    fn from(rule: &Rule) -> Self {
        let Rule { name, match_json, rewrites, route, apply } = rule;
        Self {
            name: name.clone(),
            match_json: match_json.clone().unwrap_or_default(),
            rewrites: flaw::written(rewrites),
            route: route.as_ref().map(Into::into),
            apply: apply.clone().unwrap_or_default(),
        }
    }
}

// === impl RuleList ===

impl TryFrom<proto::RuleList> for RuleList {
    type Error = Flaw;

    /// # Errors
    /// Returns an error if the list has no name.
    fn try_from(message: proto::RuleList) -> Result<Self, Flaw> {
        let proto::RuleList { list, position, rule } = message;
        Ok(Self { list: flaw::full("rule_lists.list", list)?, position, rule: rule.map(Rule::from) })
    }
}

impl From<&RuleList> for proto::RuleList {
    fn from(list: &RuleList) -> Self {
        let RuleList { list, position, rule } = list;
        Self { list: list.clone(), position: *position, rule: rule.as_ref().map(Into::into) }
    }
}

// === impl Rewrite ===

impl From<proto::Rewrite> for Rewrite {
    fn from(message: proto::Rewrite) -> Self {
        let proto::Rewrite { path, value_json } = message;
        Self { path, value_json }
    }
}

impl From<&Rewrite> for proto::Rewrite {
    fn from(rewrite: &Rewrite) -> Self {
        let Rewrite { path, value_json } = rewrite.clone();
        Self { path, value_json }
    }
}

// === impl Route ===

impl From<proto::Route> for Route {
    fn from(message: proto::Route) -> Self {
        let proto::Route { destination, ingress, egress, retry } = message;
        Self { destination, ingress, egress, retry: retry.map(Retry::from) }
    }
}

impl From<&Route> for proto::Route {
    fn from(route: &Route) -> Self {
        let Route { destination, ingress, egress, retry } = route.clone();
        Self { destination, ingress, egress, retry: retry.as_ref().map(Into::into) }
    }
}

// === impl Retry ===

impl From<proto::Retry> for Retry {
    fn from(message: proto::Retry) -> Self {
        let proto::Retry { on, attempts, timeout_ms } = message;
        Self { on: flaw::text(on), attempts: NonZeroU32::new(attempts), timeout: flaw::duration(timeout_ms) }
    }
}

impl From<&Retry> for proto::Retry {
    fn from(retry: &Retry) -> Self {
        let Retry { on, attempts, timeout } = retry;
        Self {
            on: on.clone().unwrap_or_default(),
            attempts: flaw::number(*attempts),
            timeout_ms: flaw::ms(*timeout),
        }
    }
}
