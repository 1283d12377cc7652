//! The status of this node's NodeProxies, in the same form as Plans' statuses, so that the hub counts both in
//! the same way. Entry point: [`of_proxies`].

use std::collections::BTreeMap;
use std::sync::Arc;

use portreeve_api::PlanType;
use portreeve_api::keeper_state::{Phase, State};
use portreeve_api::model::ProxyKind;
use portreeve_api::report::PlanStatus;

use super::supervised::Status;
use super::{Statuses, cut};
use crate::world::{ProxyId, World};

/// Time in milliseconds after which an Envoy that has not connected is reported. An idle machine needs about
/// one second.
const SLOW_MS: u64 = 10_000;

/// The first keeper protocol version that reports whether Envoy serves.
const TELLS_SERVING: u32 = 3;

/// Message for a NodeProxy of an unsupported kind.
const ENVOYS_ONLY: &str =
    "the agent runs Envoys only: update the agent, or give the NodeProxy an Envoy's settings";

/// The state of a NodeProxy.
enum Run {
    /// Its Envoy runs with the wanted settings.
    Serves,
    /// Its Envoy is starting.
    Starts,
    /// Its Envoy can't run. Contains the reason.
    Fails(String),
}

/// The world, and the current time in milliseconds since 1970.
pub type Present<'a> = (&'a World, u64);

/// Returns the status of each wanted NodeProxy, by the name that the hub uses for it. `has_envoy` tells
/// whether the agent has an Envoy binary.
pub fn of_proxies(keepers: &BTreeMap<String, Status>, has_envoy: bool, present: Present<'_>) -> Statuses {
    let (world, _) = present;
    let said = world.node_proxies().iter().filter_map(|(name, proxy)| {
        let version = world.held().get(&(PlanType::NodeProxy, name.clone()))?;
        let plan = ProxyId::Node(name.clone()).to_string();
        let mut status =
            PlanStatus { plan: plan.clone(), version: version.0, wanted: 1, ..Default::default() };
        let run = match proxy.kind() {
            ProxyKind::Envoy => run((name, keepers.get(&**name)), has_envoy, present),
            ProxyKind::L7mp => Run::Fails(ENVOYS_ONLY.into()),
        };
        match run {
            Run::Serves => status.acked = 1,
            Run::Starts => {}
            Run::Fails(text) => (status.nacked, status.refusal) = (1, cut(text)),
        }
        Some((plan.into(), Arc::new(status)))
    });
    said.collect()
}

/// Returns why the Envoy of the NodeProxy `name` does not serve; [`None`] if it serves, is starting, or shall
/// stop.
pub fn trouble((name, kept): (&str, &Status), present: Present<'_>) -> Option<String> {
    if let Some(fault) = &kept.fault {
        return Some(fault.clone());
    }
    let state = kept.state.as_ref()?;
    if let Some(text) = hangs((name, state), present) {
        return Some(text);
    }
    let again = state.phase == Phase::Starting && state.restarts > 0;
    let end = state.last_end().filter(|_| again || state.phase == Phase::Backoff)?;
    Some(format!("Envoy ends by itself: {end}"))
}

/// Returns a message about an Envoy process that runs and has never connected.
fn hangs((name, state): (&str, &State), (world, now_ms): Present<'_>) -> Option<String> {
    let waits = matches!(state.phase, Phase::Starting | Phase::Running) && !state.serves;
    let slow = now_ms.saturating_sub(state.started_ms?) > SLOW_MS;
    let connected = world.streams(&ProxyId::Node(name.into())) > 0;
    (waits && slow && !connected && state.protocol >= TELLS_SERVING).then(|| {
        format!(
            "Envoy (process {}) was started more than {} s ago and has not connected to the agent: check the NodeProxy's \
             extraArgs and extraBootstrap, and whether this Envoy runs on this machine",
            state.envoy_pid.unwrap_or_default(),
            SLOW_MS / 1000
        )
    })
}

fn run((name, kept): (&str, Option<&Status>), has_envoy: bool, present: Present<'_>) -> Run {
    if !has_envoy {
        return Run::Fails("the agent has no Envoy: start it with --envoy".into());
    }
    let Some(kept) = kept else { return Run::Starts };
    if let Some(fault) = &kept.fault {
        return Run::Fails(fault.clone());
    }
    let Some(state) = &kept.state else { return Run::Starts };
    if let Some(text) = hangs((name, state), present) {
        return Run::Fails(text);
    }
    match state.phase {
        Phase::Running if kept.current => Run::Serves,
        Phase::Backoff => {
            let end = state.last_end().unwrap_or_else(|| "it ended".to_owned());
            Run::Fails(format!("Envoy ends by itself: {end}, {} restarts", state.restarts))
        }
        _ => Run::Starts,
    }
}
