//! Health: which targets this agent probes, the results, and their meaning for each endpoint that this node uses.
//!
//! [`EndpointHealth`] is the state (pure, part of the world), and [`Schedule`] decides when each target is probed (pure). Probes
//! are made by the agent's `prober`.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use portreeve_api::a::virtual_service::MAX_INTERVAL_MS;
use portreeve_api::model::HealthCheck;
use portreeve_api::plan;
use portreeve_xds::Name;

mod counter;
mod endpoint_health;
mod outcome;
mod schedule;
mod targets;
#[cfg(test)]
mod tests;
mod verdicts;

pub use counter::{Counter, Failure, Verdict};
pub use endpoint_health::{Counts, EndpointHealth};
pub use outcome::Outcome;
pub use schedule::{Job, Schedule};
pub use targets::{Place, Point, Uses, uses};
pub use verdicts::LEASE;

/// Maximum interval and timeout. A hub of another version may request more.
const LONGEST: Duration = Duration::from_millis(MAX_INTERVAL_MS as u64);

/// The target of a probe: a port of a host, and how to check it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Target {
    /// The host.
    pub host: Host,
    /// The TCP port.
    pub port: u16,
    /// The path of the HTTP request. Empty: a TCP connection is enough.
    pub path: Arc<str>,
}

/// The host of a target.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Host {
    /// The pod of this node with this uid. Its address may change.
    Pod(Name),
    /// An address on another node, or outside the cluster.
    Address(IpAddr),
}

/// How often a target is probed, and how many results change the verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Interval between two probes.
    pub interval: Duration,
    /// Timeout of a probe.
    pub timeout: Duration,
    /// Number of consecutive failures that make the target unhealthy.
    pub fall: u32,
    /// Number of consecutive successes that make it healthy again.
    pub rise: u32,
}

/// The address and pace of a target's probes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Aim {
    /// The address to connect to.
    pub address: SocketAddr,
    /// The pace of its probes.
    pub pace: Pace,
}

// === impl Target ===

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Pod(uid) => write!(f, "pod {uid}:{}{}", self.port, self.path),
            Host::Address(ip) => write!(f, "{}{}", SocketAddr::new(*ip, self.port), self.path),
        }
    }
}

// === impl Pace ===

impl Pace {
    /// Returns the pace that a Plan requests.
    pub fn of_check(check: &HealthCheck) -> Self {
        Self::new(check.interval, check.timeout, [check.unhealthy_threshold, check.healthy_threshold])
    }

    /// Returns the pace that the hub requests for other nodes.
    pub fn of_probe(probe: &plan::Probe) -> Self {
        let thresholds = [probe.unhealthy_threshold, probe.healthy_threshold].map(NonZeroU32::new);
        let timeout = Some(Duration::from_millis(probe.timeout_ms)).filter(|timeout| !timeout.is_zero());
        Self::new(Some(Duration::from_millis(probe.interval_ms)), timeout, thresholds)
    }

    fn new(
        interval: Option<Duration>,
        timeout: Option<Duration>,
        thresholds: [Option<NonZeroU32>; 2],
    ) -> Self {
        let [fall, rise] = thresholds.map(|stated| stated.map_or(1, NonZeroU32::get));
        let interval = interval.unwrap_or_default().clamp(HealthCheck::SHORTEST_INTERVAL, LONGEST);
        let timeout = timeout.unwrap_or(HealthCheck::DEFAULT_TIMEOUT).min(LONGEST);
        Self { interval, timeout, fall, rise }
    }

    /// Combines two paces: the shorter interval and the stricter thresholds.
    #[must_use]
    pub fn stricter(self, other: Self) -> Self {
        Self {
            interval: self.interval.min(other.interval),
            timeout: self.timeout.min(other.timeout),
            fall: self.fall.min(other.fall),
            rise: self.rise.max(other.rise),
        }
    }
}

/// Converts a Plan's number to a TCP port. Returns `None` for 0 and for invalid ports.
fn port_of(number: u32) -> Option<u16> {
    u16::try_from(number).ok().filter(|port| *port != 0)
}
