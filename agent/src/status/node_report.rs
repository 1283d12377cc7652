//! The node's report: what it says, and when it is worth a write. Pure, with the clock passed in. Entry points:
//! [`said`] and [`Pace`].

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use portreeve_api::conditions::{self, ConditionType, Reason, Verdict};
use portreeve_api::own::node_report::{Conflict, NodeReportStatus, Phase, ProxyReport};
use portreeve_xds::envoy::EnvoyType;
use portreeve_xds::{Name, Version};

use super::Statuses;
use super::leaving::{Sockets, leaving};
use crate::keeper;
use crate::keepers::{Status, Wanted};
use crate::local::Answers;
use crate::world::claims::{Denied, Transport};
use crate::world::{Proxy, ProxyId, World};
use portreeve_api::refs::ResourceName;

/// Between two writes, unless a phase changed.
const PAUSE: Duration = Duration::from_secs(5);

/// A report that says nothing new is written this often: it shows that the agent lives.
const LIVENESS: Duration = Duration::from_secs(60);

/// What a node says that has had no hub for too long.
const STALE: &str = "no hub was heard for longer than --max-stale: pods of other nodes that nobody checks take no new \
                     session";

/// What there is to report on.
pub struct Facts<'a> {
    /// Plans, pods and proxies.
    pub world: &'a World,
    /// What the proxies said.
    pub answers: &'a BTreeMap<ProxyId, Answers>,
    /// How far the Plans are.
    pub statuses: &'a Statuses,
    /// The proxies under keepers.
    pub keepers: &'a BTreeMap<String, Status>,
    /// The node's connected UDP sockets.
    pub sockets: &'a Sockets,
}

/// The report, within its bounds; `before` is the last one, whose conditions keep the times of their transitions.
pub fn said(facts: &Facts<'_>, before: &NodeReportStatus, now: Timestamp) -> NodeReportStatus {
    let mut proxies: Vec<ProxyReport> =
        facts.keepers.iter().map(|(name, status)| kept(facts, name, status)).collect();
    let others = facts.world.proxies().iter().filter(|(id, _)| matches!(id, ProxyId::Pod(_)));
    proxies.extend(others.filter_map(|(id, proxy)| exception(proxy, facts.answers.get(id)?)));
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

/// A proxy under a keeper: always told of.
fn kept(facts: &Facts<'_>, name: &str, status: &Status) -> ProxyReport {
    let id = ProxyId::Node(name.into());
    let answers = facts.answers.get(&id).filter(|answers| answers.streams > 0);
    let nack = facts.world.proxies().get(&id).zip(answers).and_then(|(proxy, answers)| nack(proxy, answers));
    let mut report = ProxyReport { name: name.into(), nack, phase: Phase::Pending, ..ProxyReport::default() };
    report.listeners = answers.map(|a| accepted(a, EnvoyType::Listener));
    report.clusters = answers.map(|a| accepted(a, EnvoyType::Cluster));
    report.acked_versions = answers.map(acked_versions).unwrap_or_default();
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

/// A pod's proxy: told of only when it refuses something.
fn exception(proxy: &Proxy, answers: &Answers) -> Option<ProxyReport> {
    let nack = nack(proxy, answers)?;
    let name = proxy.facts.title.strip_prefix("pod/").unwrap_or(&proxy.facts.title).to_owned();
    let phase = if answers.streams > 0 { Phase::Running } else { Phase::Unknown };
    Some(ProxyReport { name, phase, nack: Some(nack), ..ProxyReport::default() })
}

/// What a proxy refuses, or can't be sent, of what it is to have now.
fn nack(proxy: &Proxy, answers: &Answers) -> Option<String> {
    let wanted = |key: &(EnvoyType, Name)| {
        proxy.plans.get(ResourceName::plan_of(&key.1)).and_then(|part| part.wanted(key))
    };
    let refused = answers.refused.iter().filter(|(key, r)| wanted(key) == Some(r.version));
    let refused = refused.map(|((ty, name), refusal)| format!("{} {name}: {}", ty.noun(), refusal.text));
    let taken = proxy.plans.iter().flat_map(|(plan, part)| {
        part.taken().map(move |(listener, text)| format!("listener {plan}/{listener}: {text}"))
    });
    let mut all = refused.chain(taken);
    let first = all.next()?;
    match all.count() {
        0 => Some(first),
        more => Some(format!("{first} (and {more} more)")),
    }
}

fn accepted(answers: &Answers, ty: EnvoyType) -> i32 {
    i32::try_from(answers.accepted.keys().filter(|(of, _)| *of == ty).count()).unwrap_or(i32::MAX)
}

/// How a keeper's word on its proxy is told.
pub(crate) fn phase(phase: keeper::Phase) -> Phase {
    match phase {
        keeper::Phase::Starting => Phase::Starting,
        keeper::Phase::Running => Phase::Running,
        keeper::Phase::Draining => Phase::Draining,
        keeper::Phase::Backoff => Phase::BackOff,
        keeper::Phase::Stopped => Phase::Stopped,
    }
}

/// One version for all that was accepted of each type, by the type's name.
fn acked_versions(answers: &Answers) -> BTreeMap<String, String> {
    let mut by_type: BTreeMap<EnvoyType, Vec<_>> = BTreeMap::new();
    for ((ty, name), version) in &answers.accepted {
        by_type.entry(*ty).or_default().push((name, *version));
    }
    by_type.into_iter().map(|(ty, set)| (format!("{ty:?}"), Version::of_set(set).to_string())).collect()
}

/// A time in milliseconds since 1970, in whole seconds.
fn at_ms(ms: u64) -> Option<Time> {
    Timestamp::from_second(i64::try_from(ms / 1000).ok()?).ok().map(Time)
}

fn conflicts(world: &World) -> Vec<Conflict> {
    let parts = world.proxies().values().flat_map(|proxy| &proxy.plans);
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

/// Whether all of the node's proxies run all of its Plans, and whether those may be relied on.
fn programmed(statuses: &Statuses, stale: bool) -> Verdict {
    let lost = statuses.values().filter(|s| !s.conflicts.is_empty()).count();
    let refused = statuses.values().find(|s| s.nacked > 0);
    let done = statuses.values().filter(|s| s.acked == s.wanted && s.conflicts.is_empty()).count();
    let counted = format!("{done} of {} Plans are on all their proxies", statuses.len());
    let (reason, message) = match refused {
        _ if stale => (Reason::Stale, format!("{STALE}; {counted}")),
        Some(status) => (Reason::Nacked, format!("{counted}; {}: {}", status.plan, status.refusal)),
        None if lost > 0 => {
            (Reason::PortConflict, format!("{counted}; {lost} lost a port to an older object"))
        }
        None if done < statuses.len() => (Reason::Pending, counted),
        None => (Reason::Programmed, counted),
    };
    let status = (reason == Reason::Programmed).into();
    Verdict { type_: ConditionType::Programmed, status, reason, message, generation: None }
}

/// When the report is written.
#[derive(Debug, Default)]
pub struct Pace {
    last: Option<(Timestamp, NodeReportStatus)>,
}

// === impl Pace ===

impl Pace {
    /// How long `next` has to wait for its write; zero: it is due.
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

    /// It was written, or tried in vain: the next attempt keeps the same pace.
    pub fn written(&mut self, report: NodeReportStatus, now: Timestamp) {
        self.last = Some((now, report));
    }

    /// What was written last.
    pub fn last(&self) -> NodeReportStatus {
        self.last.as_ref().map(|(_, report)| report.clone()).unwrap_or_default()
    }
}

/// The report without what changes all the time: those values are written with the next write, for which they are no reason.
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
