//! The node's report: its content, and when it is written. Pure, with the clock passed in. Entry points:
//! [`said`] and [`Pace`].

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use portreeve_api::conditions::{self, ConditionType, Reason, Verdict};
use portreeve_api::keeper_state as keeper;
use portreeve_api::own::node_report::{Conflict, NodeReportStatus, Phase, ProxyReport};
use portreeve_api::refs::ProxyId;

use super::Statuses;
use super::leaving::{Sockets, leaving};
use super::supervised::{Status, Wanted};
use crate::claims::{Denied, Transport};
use crate::fleet::AnyFleet;
use crate::world::World;

/// Minimum time between two writes, unless a phase changed.
const PAUSE: Duration = Duration::from_secs(5);

/// Time after which an unchanged report is written again, to show that the agent is alive.
const LIVENESS: Duration = Duration::from_secs(60);

/// Message of a node whose hub data is stale.
const STALE: &str = "no hub was heard for longer than --max-stale: pods of other nodes that nobody checks take no new \
                     session";

/// The data that a report is made from.
pub struct Facts<'a> {
    /// Plans, pods and proxies.
    pub world: &'a World,
    /// The statuses of the Plans.
    pub statuses: &'a Statuses,
    /// The proxies that keepers run.
    pub keepers: &'a BTreeMap<String, Status>,
    /// The node's connected UDP sockets.
    pub sockets: &'a Sockets,
}

/// Returns the report, truncated to its limits. `before` is the previous report, whose conditions keep their
/// transition times.
pub fn said(facts: &Facts<'_>, before: &NodeReportStatus, now: Timestamp) -> NodeReportStatus {
    let mut proxies: Vec<ProxyReport> =
        facts.keepers.iter().map(|(name, status)| kept(facts, name, status)).collect();
    proxies.extend(facts.world.fleets().all().flat_map(exceptions));
    let mut conditions = before.conditions.clone();
    conditions::set(&mut conditions, programmed(facts.statuses, facts.world.stale()), now);
    let report = NodeReportStatus {
        observed_at: None,
        agent_version: env!("CARGO_PKG_VERSION").into(),
        proxies,
        conflicts: conflicts(facts.world),
        leaving: leaving(facts.world.terminating(), facts.sockets),
        conditions,
    };
    report.bounded()
}

/// Returns the report of a keeper's proxy, which is always listed.
fn kept(facts: &Facts<'_>, name: &str, status: &Status) -> ProxyReport {
    let id = ProxyId::Node(name.into());
    let mut report = ProxyReport { name: name.into(), phase: Phase::Pending, ..ProxyReport::default() };
    let fleets = facts.world.fleets().all();
    if let Some((fleet, accepted)) = fleets.filter_map(|fleet| Some((fleet, fleet.report(&id)?))).next() {
        report.nack = fleet.nack(&id);
        report.listeners = Some(count(accepted.listeners));
        report.clusters = Some(count(accepted.clusters));
        let versions = accepted.versions.into_iter();
        report.acked_versions = versions.map(|(ty, version)| (ty, version.to_string())).collect();
    }
    if let Some(state) = &status.state {
        report.phase = phase(state.phase);
        report.pid = state.envoy_pid.and_then(|pid| i32::try_from(pid).ok());
        report.epoch = i32::try_from(state.epoch).ok();
        report.restarts = i32::try_from(state.restarts).ok();
        report.last_exit = state.last_end();
        report.started = state.envoy_pid.and(state.started_ms).and_then(at_ms);
        report.backoff_until = state.backoff_until_ms.and_then(at_ms);
        report.rss_bytes = state.usage.and_then(|usage| i64::try_from(usage.resident).ok());
        report.cpu_seconds = state.usage.and_then(|usage| i64::try_from(usage.cpu_ms / 1000).ok());
    } else if status.wanted == Wanted::Stopped {
        report.phase = Phase::Stopped;
    }
    if let Some(fault) = &status.fault {
        report.last_exit = Some(fault.clone());
    }
    report
}

/// Returns the reports of pods' proxies, which are listed only if they reject something.
fn exceptions(fleet: &dyn AnyFleet) -> Vec<ProxyReport> {
    let pods = fleet.ids().into_iter().filter(|id| matches!(id, ProxyId::Pod(_)));
    let exception = |id: ProxyId| {
        let (facts, nack) = (fleet.facts(&id)?, fleet.nack(&id)?);
        let name = facts.name.clone();
        let phase = if fleet.streams(&id) > 0 { Phase::Running } else { Phase::Unknown };
        Some(ProxyReport { name, phase, nack: Some(nack), ..ProxyReport::default() })
    };
    pods.filter_map(exception).collect()
}

fn count(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

/// Converts a keeper's phase into the report's phase.
pub fn phase(phase: keeper::Phase) -> Phase {
    match phase {
        keeper::Phase::Starting => Phase::Starting,
        keeper::Phase::Running => Phase::Running,
        keeper::Phase::Draining => Phase::Draining,
        keeper::Phase::Backoff => Phase::BackOff,
        keeper::Phase::Stopped => Phase::Stopped,
    }
}

/// Converts milliseconds since 1970 into a time in whole seconds.
fn at_ms(ms: u64) -> Option<Time> {
    Timestamp::from_second(i64::try_from(ms / 1000).ok()?).ok().map(Time)
}

fn conflicts(world: &World) -> Vec<Conflict> {
    let parts = world.fleets().all().flat_map(|fleet| fleet.findings());
    let lost = parts.flat_map(|(plan, part)| part.denied.iter().map(move |lost| (plan, lost)));
    let all = lost.map(|(plan, (listener, lost))| conflict(plan, listener, lost));
    all.take(portreeve_api::own::node_report::MAX_CONFLICTS).collect()
}

fn conflict(plan: &str, listener: &str, lost: &Denied) -> Conflict {
    Conflict {
        object: plan.into(),
        listener: listener.into(),
        port: i32::try_from(lost.port.number).unwrap_or_default(),
        protocol: match lost.port.transport {
            Transport::Udp => "UDP".into(),
            Transport::Tcp => "TCP".into(),
        },
        winner: lost.winner.to_string(),
    }
}

/// Returns the condition `Programmed`: whether all proxies of the node run all of its Plans, and whether the
/// hub's data is fresh.
fn programmed(statuses: &Statuses, stale: bool) -> Verdict {
    let lost = statuses.values().filter(|s| !s.conflicts.is_empty()).count();
    let refused = statuses.values().find(|s| s.nacked > 0);
    let done = statuses.values().filter(|s| s.acked == s.wanted && s.conflicts.is_empty()).count();
    let counted = format!("{done} of {} Plans are on all their proxies", statuses.len());
    let (reason, message) = match refused {
        _ if stale => (Reason::Stale, format!("{STALE}; {counted}")),
        Some(status) => {
            let lacks = status.unsupported == status.nacked;
            let reason = if lacks { Reason::UnsupportedByProxy } else { Reason::Nacked };
            (reason, format!("{counted}; {}: {}", status.plan, status.refusal))
        }
        None if lost > 0 => {
            (Reason::PortConflict, format!("{counted}; {lost} lost a port to an older object"))
        }
        None if done < statuses.len() => (Reason::Pending, counted),
        None => (Reason::Programmed, counted),
    };
    let status = (reason == Reason::Programmed).into();
    Verdict { type_: ConditionType::Programmed, status, reason, message, generation: None }
}

/// Decides when the report is written.
#[derive(Debug, Default)]
pub struct Pace {
    last: Option<(Timestamp, NodeReportStatus)>,
}

// === impl Pace ===

impl Pace {
    /// Returns how long to wait before writing `next`; zero if it is due.
    pub fn wait(&self, next: &NodeReportStatus, now: Timestamp) -> Duration {
        let Some((at, last)) = &self.last else { return Duration::ZERO };
        let since = Duration::try_from(now.duration_since(*at)).unwrap_or_default();
        let pause = match (phases(last) == phases(next), steady(last) == steady(next)) {
            (false, _) => Duration::ZERO,
            (true, false) => PAUSE,
            (true, true) => LIVENESS,
        };
        pause.saturating_sub(since)
    }

    /// Records a write attempt. A failed attempt counts as well, so retries keep the same pace.
    pub fn written(&mut self, report: NodeReportStatus, now: Timestamp) {
        self.last = Some((now, report));
    }

    /// Returns the report of the last attempt.
    pub fn last(&self) -> NodeReportStatus {
        self.last.as_ref().map(|(_, report)| report.clone()).unwrap_or_default()
    }
}

/// Returns the report without values that change all the time. These are written along with other changes,
/// and do not cause a write.
fn steady(report: &NodeReportStatus) -> NodeReportStatus {
    let mut report = report.clone();
    for proxy in &mut report.proxies {
        (proxy.rss_bytes, proxy.cpu_seconds, proxy.udp_sessions) = (None, None, None);
        proxy.acked_versions.clear();
    }
    report
}

fn phases(report: &NodeReportStatus) -> BTreeMap<&str, Phase> {
    report.proxies.iter().map(|proxy| (proxy.name.as_str(), proxy.phase)).collect()
}
