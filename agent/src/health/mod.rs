//! Health: what is probed by this agent, what came of it, and what that means for each endpoint as it is used here.
//!
//! [`Book`] is the state (pure, part of the world), [`Schedule`] says what is to be probed when (pure), and [`run()`] is
//! the one task that probes.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use portreeve_api::a::virtual_service::MAX_INTERVAL_MS;
use portreeve_api::plan;
use portreeve_xds::Name;

mod book;
mod counter;
mod probe;
mod run;
mod schedule;
mod targets;
#[cfg(test)]
mod tests;
mod verdicts;
mod watched;

pub use book::{Book, Counts};
pub use counter::{Counter, Failure, Verdict};
pub use probe::{Outcome, Sockets, probe};
pub use run::{follow_hub, run};
pub use schedule::{Job, Schedule};
pub use targets::{Place, Point, Uses, uses};
pub use verdicts::LEASE;
pub use watched::{OwnHealth, Watched};

/// How long an unanswered probe is waited for when nobody says otherwise.
const TIMEOUT: Duration = Duration::from_millis(100);

/// The shortest interval between two probes of a target, whatever is asked for.
const SHORTEST: Duration = Duration::from_millis(100);

/// The longest interval and time-out. A hub of another version may ask for more.
const LONGEST: Duration = Duration::from_millis(MAX_INTERVAL_MS as u64);

/// What is probed: one port at one place, in one way.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Target {
    /// Where.
    pub host: Host,
    /// The TCP port.
    pub port: u16,
    /// The path that is asked for by HTTP; empty: a connection is enough.
    pub path: Arc<str>,
}

/// Where a target is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Host {
    /// The pod of this node with this uid, whatever its address.
    Pod(Name),
    /// An address of another node, or outside of the cluster.
    Address(IpAddr),
}

/// How often a target is probed, and how many results make a verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// From one probe to the next.
    pub interval: Duration,
    /// How long an answer is waited for.
    pub timeout: Duration,
    /// Failures in a row that make it unhealthy.
    pub fall: u32,
    /// Successes in a row that make it healthy again.
    pub rise: u32,
}

/// Everything that a probe needs to know beside its target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Aim {
    /// Where to connect to.
    pub address: SocketAddr,
    /// How often.
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
    /// What a Plan asks for.
    pub fn of_check(check: &plan::HealthCheck) -> Self {
        let thresholds = (check.unhealthy_threshold, check.healthy_threshold);
        Self::new(check.interval_ms, check.timeout_ms, thresholds)
    }

    /// What the hub asks for on behalf of others.
    pub fn of_probe(probe: &plan::Probe) -> Self {
        let thresholds = (probe.unhealthy_threshold, probe.healthy_threshold);
        Self::new(probe.interval_ms, probe.timeout_ms, thresholds)
    }

    fn new(interval_ms: u64, timeout_ms: u64, (fall, rise): (u32, u32)) -> Self {
        let timeout = if timeout_ms == 0 { TIMEOUT } else { Duration::from_millis(timeout_ms) };
        let interval = Duration::from_millis(interval_ms).clamp(SHORTEST, LONGEST);
        let timeout = timeout.min(LONGEST);
        Self { interval, timeout, fall: fall.max(1), rise: rise.max(1) }
    }

    /// One pace for two who ask: the shorter interval, and the stricter thresholds.
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

/// A TCP port from a Plan's number; none for 0 and for what is none.
fn port_of(number: u32) -> Option<u16> {
    u16::try_from(number).ok().filter(|port| *port != 0)
}
