//! From Plans to a proxy's own configuration: pure, one file per kind of resource.
//!
//! The entry point is [`translate`]. Names are qualified by the Plan, so that they need not be unique across
//! custom resources. Every cluster takes its endpoints by EDS, and its assignment always comes with it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use envoy_types::pb::envoy::config::core::v3::HealthStatus;
use envoy_types::pb::envoy::config::endpoint::v3::ClusterLoadAssignment;
use envoy_types::pb::google::protobuf::{Any, Duration, UInt32Value, UInt64Value};
use portreeve_api::plan;
use portreeve_api::refs::{PlanName, ResourceName};
use portreeve_xds::envoy::EnvoyType;
use portreeve_xds::{Name, Resource};
use prost::Message;

pub mod assignment;
pub mod bind;
pub mod check;
pub mod cluster;
pub mod listener;
pub mod rank;
pub mod support;
#[cfg(test)]
mod tests;

pub(crate) use assignment::pick;
pub use bind::Families;

/// Largest datagram that is carried whole, in bytes. Envoy loses datagrams over 1,500 by default, and a change of
/// this later would recreate every session.
pub const MAX_DATAGRAM: u64 = 9_000;

/// What is stated where a Plan says nothing, in milliseconds. A change of these reaches a listener only when its Plan
/// changes or its proxy starts anew: it would end every session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Defaults {
    /// How long a UDP session may be silent.
    pub udp_idle_ms: u64,
    /// How long a TCP connection may be silent.
    pub tcp_idle_ms: u64,
    /// How long a TCP connection to an endpoint may take.
    pub connect_timeout_ms: u64,
}

impl Default for Defaults {
    /// Envoy's own: a minute, an hour, 5 s.
    fn default() -> Self {
        Self { udp_idle_ms: 60_000, tcp_idle_ms: 3_600_000, connect_timeout_ms: 5_000 }
    }
}

/// What a Plan's endpoint sources stand for right now. Pure look-ups.
pub trait Lookup {
    /// The endpoints of a Group, in any order; none while it is not complete.
    fn group(&self, name: &str) -> Option<Vec<&plan::Endpoint>>;
    /// The addresses of a host name; none while nothing is known of it, empty when it does not exist.
    fn host(&self, namespace: &str, name: &str) -> Option<Vec<IpAddr>>;
    /// Whether something is known against a pod that is checked at this port (with this HTTP path, if there is one).
    fn pod_failed(&self, endpoint: &plan::Endpoint, port: u32, path: &str) -> bool;
    /// The same for an address.
    fn address_failed(&self, ip: IpAddr, port: u32, path: &str) -> bool;
    /// Whether what is known of a pod is too old to be relied on without a check: its address may be another's by now.
    fn stale(&self, endpoint: &plan::Endpoint) -> bool;
}

/// A Plan for one proxy.
pub struct Request<'a> {
    /// The Plan.
    pub plan: &'a plan::Plan,
    /// Families of the proxy's network namespace.
    pub families: Families,
    /// Names of the Plan's listeners that lost their port to an older object.
    pub denied: &'a BTreeSet<String>,
    /// Names of the Plan's listeners of which the proxy runs a version: one that is refused stays in that version.
    pub running: &'a BTreeSet<String>,
    /// What is stated where the Plan says nothing.
    pub defaults: Defaults,
    /// Clusters that the proxy knows by another name than [`qualified`] gives.
    pub called: &'a BTreeMap<String, Name>,
}

/// One resource of a proxy.
pub type Output = (EnvoyType, Arc<Resource>);

/// Something a person should know of, with the listener or cluster at fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remark {
    /// Name in the Plan.
    pub at: String,
    /// What, why, and what to do.
    pub text: String,
}

/// A Plan's translation.
#[derive(Clone, Debug, Default)]
pub struct Translation {
    /// Clusters, assignments and listeners.
    pub outputs: Vec<Output>,
    /// What could not be expressed.
    pub remarks: Vec<Remark>,
    /// Its endpoints.
    pub census: Census,
}

/// The endpoints of a Plan's clusters, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// All of them.
    pub endpoints: u32,
    /// Of them: those that are not known to be unhealthy.
    pub healthy: u32,
    /// Of them: those of clusters that are not checked.
    pub unchecked: u32,
}

/// Translates a Plan for a proxy; none while a group or host name that it needs is not known yet.
pub fn translate(request: &Request<'_>, lookup: &impl Lookup) -> Option<Translation> {
    let mut done = Translation::default();
    let mut used = BTreeSet::new();
    for listener in &request.plan.listeners {
        if request.denied.contains(&listener.name) {
            continue;
        }
        match listener::build(request, listener) {
            Ok(built) => {
                used.insert(built.cluster.clone());
                done.outputs.push((EnvoyType::Listener, built.resource));
            }
            Err(text) => {
                let runs = request.running.contains(&listener.name);
                let routes = listener.rules.iter().filter(|_| runs).filter_map(|rule| rule.route.as_ref());
                used.extend(routes.map(|route| route.destination.clone()));
                done.remarks.push(Remark { at: listener.name.clone(), text });
            }
        }
    }
    let lists = support::rule_lists(request.plan);
    done.remarks.extend(lists.map(|list| Remark {
        at: format!("rule list {list}"),
        text: "an Envoy has no rule lists: take the rule out of the object".into(),
    }));
    let served =
        |cluster: &&plan::Cluster| used.contains(&cluster.name) && support::cluster(cluster).is_empty();
    for cluster in request.plan.clusters.iter().filter(served) {
        let endpoints = assignment::candidates(request, cluster, lookup)?;
        let name = request.cluster_name(&cluster.name);
        let body = assignment::build(request.plan, cluster, &name, endpoints);
        done.census.add(cluster, &body);
        done.outputs.push((EnvoyType::Cluster, cluster::build(cluster, &name, &request.defaults)));
        done.outputs
            .push((EnvoyType::Endpoint, Resource::new(EnvoyType::Endpoint, name, &body.encode_to_vec())));
    }
    Some(done)
}

// === impl Request ===

impl Request<'_> {
    /// A cluster's name as the proxy knows it.
    pub fn cluster_name(&self, name: &str) -> Name {
        self.called.get(name).cloned().unwrap_or_else(|| qualified(self.plan, name))
    }
}

// === impl Census ===

impl Census {
    fn add(&mut self, cluster: &plan::Cluster, built: &ClusterLoadAssignment) {
        let all = built.endpoints.iter().flat_map(|locality| &locality.lb_endpoints);
        let (mut total, mut bad) = (0, 0);
        for endpoint in all {
            total += 1;
            bad += u32::from(endpoint.health_status() == HealthStatus::Unhealthy);
        }
        let checked = cluster.health_check.is_some() && cluster.endpoints.iter().any(|e| e.health_port != 0);
        self.endpoints += total;
        self.healthy += total - bad;
        self.unchecked += if checked { 0 } else { total };
    }
}

/// A listener's or cluster's name as the proxies know it.
pub fn qualified(plan: &plan::Plan, name: &str) -> Name {
    ResourceName::of(&plan_name(plan), name)
}

/// A Plan's name; empty without an origin, which no hub sends.
pub fn plan_name(plan: &plan::Plan) -> Name {
    plan.origin.as_ref().map_or_else(|| "".into(), |origin| PlanName::from(origin).as_name().clone())
}

fn any(type_name: &str, message: &impl Message) -> Any {
    Any { type_url: format!("type.googleapis.com/{type_name}"), value: message.encode_to_vec() }
}

fn u32_value(value: u32) -> Option<UInt32Value> {
    Some(UInt32Value { value })
}

fn u64_value(value: u64) -> Option<UInt64Value> {
    Some(UInt64Value { value })
}

fn duration(ms: u64) -> Option<Duration> {
    Some(Duration { seconds: (ms / 1000) as i64, nanos: (ms % 1000) as i32 * 1_000_000 })
}
