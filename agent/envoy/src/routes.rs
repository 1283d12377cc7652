//! Where a listener's sessions go, by its rules: [`ways`].

use std::collections::BTreeMap;

use envoy_types::pb::xds::core::v3::TypedExtensionConfig;
use envoy_types::pb::xds::r#type::matcher::v3::Matcher;
use envoy_types::pb::xds::r#type::matcher::v3::matcher::matcher_list::{FieldMatcher, Predicate};
use envoy_types::pb::xds::r#type::matcher::v3::matcher::{MatcherList, MatcherType, OnMatch, on_match};
use portreeve_agent_core::translate::Request;
use portreeve_api::model::{Balancer, Cluster, Elsewhere, Listener, Plan, Protocol, Rule};
use portreeve_xds::Name;

use super::hash::{self, Hash};
use super::retries::{self, Retries};
use super::{predicate, support};

/// The kind of proxy in messages.
pub const PROXY: &str = "an Envoy";

/// The way of the sessions of one rule.
pub struct Way<'a> {
    /// Which sessions take it. `None`: all that no earlier way takes.
    pub condition: Option<Predicate>,
    /// The cluster that it leads to.
    pub cluster: &'a Cluster,
    /// The value that chooses the endpoint.
    pub hash: Hash,
    /// Retries of requests.
    pub retries: Option<Retries>,
}

/// Returns the ways of a listener's sessions, first match first.
///
/// # Errors
/// Returns a message about the settings of the listener or of its clusters that are not supported.
pub fn ways<'a>(plan: &'a Plan, listener: &Listener) -> Result<Vec<Way<'a>>, String> {
    if let Some(text) = support::listener(plan, listener).told("the listener", PROXY) {
        return Err(text);
    }
    let protocol = listener.socket.as_ref().map_or(Protocol::Udp, |socket| socket.protocol);
    let peer = listener.socket.as_ref().and_then(|socket| socket.connect).and_then(predicate::peer);
    let mut ways = Vec::new();
    for rule in &listener.rules {
        // The last rule may end its sessions, as sessions end that no rule matches.
        let Some(route) = &rule.route else { continue };
        let cluster = plan
            .cluster(&route.destination)
            .ok_or_else(|| format!("cluster {} is not in the object", route.destination))?;
        fits(listener, protocol, rule, cluster)?;
        let own = rule.match_json.as_ref().map(|text| predicate::read(text, protocol)).transpose()?;
        let both: Vec<Predicate> = peer.clone().into_iter().chain(own).collect();
        let condition = (!both.is_empty()).then(|| predicate::all(both));
        let hash = hash::of(cluster, rule, protocol).unwrap_or(Hash::None);
        let last = condition.is_none();
        ways.push(Way { condition, cluster, hash, retries: retries::of(rule) });
        if last {
            break;
        }
    }
    if ways.is_empty() {
        return Err("an Envoy needs a rule with a route".into());
    }
    agree(&ways, protocol)?;
    Ok(ways)
}

/// Checks the cluster of a rule.
fn fits(listener: &Listener, protocol: Protocol, rule: &Rule, cluster: &Cluster) -> Result<(), String> {
    let mut lacks = support::cluster(cluster);
    if let (None, Some(Balancer::MetadataPath(path))) = (hash::of(cluster, rule, protocol), &cluster.balancer)
    {
        lacks.when(true, format!("balancer.metadata_path {path}"));
    }
    if let Some(text) = lacks.told(&format!("its cluster {}", cluster.name), PROXY) {
        return Err(text);
    }
    if cluster.socket.as_ref().is_some_and(|to| to.protocol != protocol) {
        return Err(format!("its cluster {} is of another protocol: an Envoy can't convert", cluster.name));
    }
    if cluster.http && !listener.http {
        return Err(format!(
            "its cluster {} is of HTTP/2, and the listener does not read HTTP",
            cluster.name
        ));
    }
    Ok(())
}

/// Checks that the ways can be in one listener. A listener for datagrams has one way of choosing endpoints, and a cluster
/// one timeout.
fn agree(ways: &[Way<'_>], protocol: Protocol) -> Result<(), String> {
    let Some((first, others)) = ways.split_first() else { return Ok(()) };
    let keyed = |way: &Way<'_>| matches!(way.cluster.balancer, Some(Balancer::Key(_)));
    let differs = |way: &&Way<'_>| way.hash != first.hash || keyed(way) != keyed(first);
    if let Some(other) = others.iter().find(differs).filter(|_| protocol == Protocol::Udp) {
        return Err(format!(
            "its clusters {} and {} choose endpoints differently, which an Envoy's UDP listener can't: give each its own \
             listener, or one loadbalancer to both",
            first.cluster.name, other.cluster.name
        ));
    }
    let mut timeouts = BTreeMap::new();
    for (way, retries) in ways.iter().filter_map(|way| Some((way, way.retries?))) {
        if timeouts.insert(&way.cluster.name, retries.timeout).is_some_and(|other| other != retries.timeout) {
            let name = &way.cluster.name;
            return Err(format!("rules lead to its cluster {name} with different retry timeouts"));
        }
    }
    Ok(())
}

/// Returns the matcher that chooses among ways, with the action of each.
pub fn matcher(ways: &[Way<'_>], action: impl Fn(usize, &Way<'_>) -> TypedExtensionConfig) -> Matcher {
    let mut list = MatcherList::default();
    let mut built = Matcher::default();
    for (at, way) in ways.iter().enumerate() {
        let on_match =
            OnMatch { on_match: Some(on_match::OnMatch::Action(action(at, way))), ..Default::default() };
        match &way.condition {
            Some(condition) => list
                .matchers
                .push(FieldMatcher { predicate: Some(condition.clone()), on_match: Some(on_match) }),
            None => built.on_no_match = Some(Box::new(on_match)),
        }
    }
    if !list.matchers.is_empty() {
        built.matcher_type = Some(MatcherType::MatcherList(list));
    }
    built
}

/// Returns the action of the first way in a matcher that [`matcher`] built.
pub fn first_action(matcher: Matcher) -> Option<TypedExtensionConfig> {
    let first = match matcher.matcher_type {
        Some(MatcherType::MatcherList(list)) => list.matchers.into_iter().next()?.on_match?,
        _ => *matcher.on_no_match?,
    };
    match first.on_match? {
        on_match::OnMatch::Action(action) => Some(action),
        on_match::OnMatch::Matcher(_) => None,
    }
}

// === impl Way ===

impl Way<'_> {
    /// Returns the cluster's name as the proxy knows it.
    pub fn name(&self, request: &Request<'_>) -> Name {
        match &self.cluster.elsewhere {
            Some(Elsewhere::Plan(name)) => name.as_str().into(),
            Some(Elsewhere::Proxy(_)) | None => request.cluster_name(&self.cluster.name),
        }
    }

    /// Returns whether another Plan defines the cluster, so that it may be missing.
    pub fn may_dangle(&self) -> bool {
        self.cluster.elsewhere.is_some()
    }
}
