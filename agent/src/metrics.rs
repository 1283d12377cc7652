//! The agent's Prometheus metrics, computed from its state at each scrape. Entry points: [`of`], and [`told`] with the
//! statistics of its Envoys.

use std::collections::BTreeMap;
use std::sync::Arc;

use portreeve_agent_core::fleet::Counts;
use portreeve_agent_core::status::Statuses;
use portreeve_agent_core::status::node_report::phase;
use portreeve_agent_core::world::World;
use portreeve_api::own::node_report::Phase;
use portreeve_api::report::PlanStatus;
use portreeve_keeper::envoy::statistics::Prefix;
use portreeve_runtime::Metrics;
use portreeve_runtime::metrics::Family;

use crate::envoy::stats::Stats;
use crate::handles::Agent;
use crate::identity::Refused;
use crate::local::Local;
use crate::supervisor::Status;

/// Returns the agent's metrics, with those statistics of its Envoys whose names have one of these prefixes.
pub fn told(agent: Agent, chosen: Vec<Prefix>) -> Metrics {
    let (stats, supervisor) = (Arc::new(Stats::of(chosen)), agent.supervisor.clone());
    Metrics::new("agent", move || of(&agent)).asking(move || {
        let (stats, supervisor) = (stats.clone(), supervisor.clone());
        Box::pin(async move { stats.of_all(|chosen| supervisor.statistics(chosen)).await })
    })
}

/// Returns all metric families of an agent.
pub fn of(agent: &Agent) -> Vec<Family> {
    let mut all = node(&agent.local);
    let replicas = [
        ("known", agent.replicas.known().borrow().len()),
        ("answering", agent.replicas.answering()),
        ("feeding", usize::from(agent.replicas.feeding().borrow().is_some())),
    ];
    let replicas = replicas.map(|(state, count)| (state, count as f64));
    all.push(
        Family::gauge("portreeve_agent_hubs", "Hub replicas by their state for this agent")
            .each("state", replicas),
    );
    all.extend(kept(&agent.supervisor.status()));
    all.extend(agent.local.read(answered));
    all.extend(plans(&agent.local.statuses().borrow()));
    all.push(refused(agent.local.door().refused()));
    all
}

/// Metrics of the node and of what it received.
fn node(local: &Local) -> Vec<Family> {
    let (complete, pods) = local.read(|world| (world.complete(), world.pods().count()));
    let own = local.health.own().borrow().clone();
    let probes = local.health.probes().map(|(outcome, count)| (outcome, count as f64));
    let tally = local.tally();
    let answers = [("ack", tally.acks as f64), ("nack", tally.nacks as f64)];
    let (changes, unhealthy) = (own.changes as f64, own.unhealthy.len() as f64);
    vec![
        Family::gauge("portreeve_agent_complete", "1 once the agent has everything that its node needs")
            .value(f64::from(u8::from(complete))),
        Family::gauge("portreeve_agent_pods", "Pods of this node").value(pods as f64),
        Family::gauge("portreeve_agent_unhealthy_endpoints", "Unhealthy endpoints of this node")
            .value(unhealthy),
        Family::counter("portreeve_agent_verdict_changes", "Changes of the set of unhealthy endpoints")
            .value(changes),
        Family::counter("portreeve_agent_probes", "Probes of endpoints, by outcome").each("outcome", probes),
        Family::counter("portreeve_agent_xds_streams", "Streams that proxies have opened")
            .value(tally.streams as f64),
        Family::counter("portreeve_agent_xds_answers", "Answers of proxies to responses")
            .each("answer", answers),
        Family::gauge("portreeve_agent_store_problems", "Problems with the last known good state on disk")
            .value(local.store_problems().len() as f64),
    ]
}

/// Metrics of proxies under keepers.
fn kept(all: &BTreeMap<String, Status>) -> Vec<Family> {
    let known =
        [Phase::Starting, Phase::Running, Phase::Draining, Phase::BackOff, Phase::Stopped, Phase::Unknown];
    let mut phases = BTreeMap::from(known.map(|phase| (phase, 0.0)));
    for status in all.values() {
        let found = status.state.as_ref().map_or(Phase::Unknown, |state| phase(state.phase));
        *phases.entry(found).or_default() += 1.0;
    }
    let phases = phases.into_iter().map(|(phase, count)| (format!("{phase:?}"), count));
    let states = || all.iter().filter_map(|(name, status)| Some((name, status.state.as_ref()?)));
    let usage = || states().filter_map(|(name, state)| Some((name, state.usage?)));
    vec![
        Family::gauge("portreeve_agent_proxies", "Proxies under a keeper").each("phase", phases),
        Family::counter("portreeve_agent_proxy_restarts", "Restarts after an unexpected end")
            .each("proxy", states().map(|(name, state)| (name, state.restarts as f64))),
        Family::counter("portreeve_agent_proxy_memory_kills", "Kills for lack of memory")
            .each("proxy", states().map(|(name, state)| (name, state.memory_kills as f64))),
        Family::gauge("portreeve_agent_proxy_resident_memory_bytes", "Resident memory of the running Envoy")
            .each("proxy", usage().map(|(name, usage)| (name, usage.resident as f64))),
        Family::counter("portreeve_agent_proxy_cpu_seconds", "Processor time of the running Envoy")
            .each("proxy", usage().map(|(name, usage)| (name, usage.cpu_ms as f64 / 1000.0))),
    ]
}

/// Metrics of the answers of all proxies, including those in pods.
fn answered(world: &World) -> Vec<Family> {
    let all: Vec<Counts> = world.fleets().all().flat_map(|fleet| fleet.counts()).collect();
    let of = |count: fn(&Counts) -> usize| all.iter().map(move |one| (one.id.to_string(), count(one) as f64));
    vec![
        Family::gauge("portreeve_agent_proxy_streams", "Open streams").each("proxy", of(|one| one.streams)),
        Family::gauge("portreeve_agent_proxy_resources", "Resources that the proxy has acknowledged")
            .each("proxy", of(|one| one.accepted)),
        Family::gauge("portreeve_agent_proxy_refused_resources", "Resources that the proxy rejects")
            .each("proxy", of(|one| one.refused)),
    ]
}

fn plans(statuses: &Statuses) -> Vec<Family> {
    let count =
        |which: fn(&PlanStatus) -> bool| statuses.values().filter(|status| which(status)).count() as f64;
    let states = [
        ("programmed", count(|s| s.acked == s.wanted && s.conflicts.is_empty())),
        ("refused", count(|s| s.nacked > 0)),
        ("conflict", count(|s| !s.conflicts.is_empty())),
        ("unreachable", count(|s| s.unreachable > 0)),
    ];
    vec![
        Family::gauge("portreeve_agent_plans", "Plans of this node").value(statuses.len() as f64),
        Family::gauge(
            "portreeve_agent_plans_by_state",
            "Plans of this node by state; a Plan may have several",
        )
        .each("state", states),
    ]
}

fn refused(refused: Refused) -> Family {
    let Refused { strangers, unanswered, crowded, exhausted } = refused;
    let reasons =
        [("stranger", strangers), ("unanswered", unanswered), ("crowded", crowded), ("exhausted", exhausted)];
    Family::counter("portreeve_agent_refused_connections", "Refused connections and streams")
        .each("reason", reasons.map(|(reason, count)| (reason, count as f64)))
}
