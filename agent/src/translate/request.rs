//! What a translation is made from: [`Request`], with the [`Lookup`] of what the Plan's endpoint sources stand for.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::num::NonZeroU16;

use portreeve_api::model::{Endpoint, Plan};
use portreeve_api::refs::ResourceName;
use portreeve_xds::Name;

use super::bind::Families;

/// A Plan for one proxy.
pub struct Request<'a> {
    /// The Plan.
    pub plan: &'a Plan,
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
    fn group(&self, name: &str) -> Option<Vec<&Endpoint>>;
    /// The addresses of a host name; none while nothing is known of it, empty when it does not exist.
    fn host(&self, namespace: &str, name: &str) -> Option<Vec<IpAddr>>;
    /// Whether something is known against a pod that is checked at this port, by HTTP if there is a path.
    fn pod_failed(&self, endpoint: &Endpoint, port: NonZeroU16, path: Option<&str>) -> bool;
    /// The same for an address.
    fn address_failed(&self, ip: IpAddr, port: NonZeroU16, path: Option<&str>) -> bool;
    /// Whether what is known of a pod is too old to be relied on without a check: its address may be another's by now.
    fn stale(&self, endpoint: &Endpoint) -> bool;
}

// === impl Request ===

impl Request<'_> {
    /// A cluster's name as the proxy knows it.
    pub fn cluster_name(&self, name: &str) -> Name {
        self.called.get(name).cloned().unwrap_or_else(|| qualified(self.plan, name))
    }
}

/// A listener's or cluster's name as the proxies know it.
pub fn qualified(plan: &Plan, name: &str) -> Name {
    ResourceName::of(plan.name().as_name(), name)
}
