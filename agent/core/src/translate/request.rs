//! The input of a translation: [`Request`], and the [`Lookup`] that resolves a Plan's endpoint sources.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::num::NonZeroU16;

use portreeve_api::model::{Endpoint, Plan, Secret};
use portreeve_api::refs::ResourceName;
use portreeve_xds::Name;

use super::bind::Families;
use super::streams::Streams;

/// A Plan to translate for one proxy.
pub struct Request<'a> {
    /// The Plan.
    pub plan: &'a Plan,
    /// Address families of the proxy's network namespace.
    pub families: Families,
    /// How the proxy subscribes.
    pub streams: &'a Streams,
    /// Names of the Plan's listeners that lost their port.
    pub denied: &'a BTreeSet<String>,
    /// Names of the Plan's listeners of which the proxy accepted a version. If such a listener can't be
    /// translated, it stays in that version.
    pub running: &'a BTreeSet<String>,
    /// Values for fields that the Plan leaves unset.
    pub defaults: Defaults,
    /// Clusters that the proxy knows by another name than [`qualified`] returns.
    pub called: &'a BTreeMap<String, Name>,
}

/// Values for fields that a Plan leaves unset, in milliseconds. A change of these reaches a running listener
/// only when its Plan changes or its proxy restarts, because it would end every session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Defaults {
    /// Idle timeout of a UDP session.
    pub udp_idle_ms: u64,
    /// Idle timeout of a TCP connection.
    pub tcp_idle_ms: u64,
    /// Timeout for connecting to an endpoint by TCP.
    pub connect_timeout_ms: u64,
}

impl Default for Defaults {
    /// Returns Envoy's defaults: one minute, one hour, 5 s.
    fn default() -> Self {
        Self { udp_idle_ms: 60_000, tcp_idle_ms: 3_600_000, connect_timeout_ms: 5_000 }
    }
}

/// Resolves a Plan's endpoint sources to the current endpoints. Has no side effects.
pub trait Lookup {
    /// Returns the endpoints of a group, in any order; `None` while the group is incomplete.
    fn group(&self, name: &str) -> Option<Vec<&Endpoint>>;
    /// Returns the addresses of a host name; `None` before the first answer, empty if the name does not
    /// exist.
    fn host(&self, namespace: &str, name: &str) -> Option<Vec<IpAddr>>;
    /// Returns key material by its name; `None` while it is not known.
    fn secret(&self, name: &str) -> Option<&Secret>;
    /// Returns whether the health check of a pod at this port failed. With a `path` the check is by HTTP.
    fn pod_failed(&self, endpoint: &Endpoint, port: NonZeroU16, path: Option<&str>) -> bool;
    /// Returns whether the health check of an address at this port failed. With a `path` the check is by
    /// HTTP.
    fn address_failed(&self, ip: IpAddr, port: NonZeroU16, path: Option<&str>) -> bool;
    /// Returns whether the data about a pod is too old to use without a health check: its address may belong
    /// to another pod by now.
    fn stale(&self, endpoint: &Endpoint) -> bool;
}

// === impl Request ===

impl Request<'_> {
    /// Returns a cluster's name as the proxy knows it.
    pub fn cluster_name(&self, name: &str) -> Name {
        self.called.get(name).cloned().unwrap_or_else(|| qualified(self.plan, name))
    }
}

/// Returns a listener's or cluster's name as the proxies know it.
pub fn qualified(plan: &Plan, name: &str) -> Name {
    ResourceName::of(plan.name().as_name(), name)
}
