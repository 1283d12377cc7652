//! The status of this node's NodeProxies, in the same form as Plans' statuses, so that the hub counts both in
//! the same way. Entry point: [`of_proxies`].

use std::collections::BTreeMap;
use std::sync::Arc;

use portreeve_api::PlanType;
use portreeve_api::keeper_state::{Phase, State};
use portreeve_api::model::{NodeProxy, ProxyKind};
use portreeve_api::report::PlanStatus;

use super::supervised::Status;
use super::{Statuses, cut};
use crate::world::{ProxyId, World};

/// Time in milliseconds after which a proxy that does not serve is reported. An idle machine needs about one second
/// for Envoy, and three for l7mp in strict mode.
const SLOW_MS: u64 = 10_000;

/// The first keeper protocol version that reports whether the proxy serves.
const TELLS_SERVING: u32 = 3;

/// The programs that the agent has for NodeProxies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Available {
    /// Envoy.
    pub envoy: bool,
    /// Node and l7mp.
    pub l7mp: bool,
}

/// The state of a NodeProxy.
enum Run {
    /// It runs with the wanted settings.
    Serves,
    /// It is starting.
    Starts,
    /// It can't run. Contains the reason.
    Fails(String),
}

/// The world, and the current time in milliseconds since 1970.
pub type Present<'a> = (&'a World, u64);

/// Returns the status of each wanted NodeProxy, by the name that the hub uses for it.
pub fn of_proxies(
    keepers: &BTreeMap<String, Status>,
    available: Available,
    present: Present<'_>,
) -> Statuses {
    let (world, _) = present;
    let said = world.node_proxies().iter().filter_map(|(name, proxy)| {
        let version = world.held().get(&(PlanType::NodeProxy, name.clone()))?;
        let plan = ProxyId::Node(name.clone()).to_string();
        let mut status =
            PlanStatus { plan: plan.clone(), version: version.0, wanted: 1, ..Default::default() };
        let run = match available.lacks(proxy.kind()) {
            Some(text) => Run::Fails(text.to_owned()),
            None => run((name, keepers.get(&**name)), present),
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

/// Returns why the NodeProxy `name` does not serve; [`None`] if it serves, is starting, or shall stop.
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
    Some(format!("{} ends by itself: {end}", title(name, present)))
}

/// Returns a message about a process that runs and has never served.
fn hangs((name, state): (&str, &State), present: Present<'_>) -> Option<String> {
    let (world, now_ms) = present;
    let waits = matches!(state.phase, Phase::Starting | Phase::Running) && !state.serves;
    let slow = now_ms.saturating_sub(state.started_ms?) > SLOW_MS;
    let (pid, seconds) = (state.envoy_pid.unwrap_or_default(), SLOW_MS / 1000);
    if !waits || !slow {
        return None;
    }
    if kind(name, present) == ProxyKind::L7mp {
        return Some(format!(
            "l7mp (process {pid}) was started more than {seconds} s ago and does not answer: check the NodeProxy's \
             extraArgs, and whether another process has its apiPort"
        ));
    }
    let connected = world.streams(&ProxyId::Node(name.into())) > 0;
    (!connected && state.protocol >= TELLS_SERVING).then(|| {
        format!(
            "Envoy (process {pid}) was started more than {seconds} s ago and has not connected to the agent: check the \
             NodeProxy's extraArgs and extraBootstrap, and whether this Envoy runs on this machine"
        )
    })
}

fn run((name, kept): (&str, Option<&Status>), present: Present<'_>) -> Run {
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
            let title = title(name, present);
            Run::Fails(format!("{title} ends by itself: {end}, {} restarts", state.restarts))
        }
        _ => Run::Starts,
    }
}

/// Returns the kind of a NodeProxy. One that is not wanted any more counts as an Envoy.
fn kind(name: &str, (world, _): Present<'_>) -> ProxyKind {
    world.node_proxies().get(name).map_or(ProxyKind::Envoy, NodeProxy::kind)
}

/// Returns the program's name for people.
fn title(name: &str, present: Present<'_>) -> &'static str {
    match kind(name, present) {
        ProxyKind::Envoy => "Envoy",
        ProxyKind::L7mp => "l7mp",
    }
}

// === impl Available ===

impl Available {
    /// Returns why a NodeProxy of this kind can't run; `None` if its program is there.
    fn lacks(self, kind: ProxyKind) -> Option<&'static str> {
        match kind {
            ProxyKind::Envoy => (!self.envoy).then_some("the agent has no Envoy: start it with --envoy"),
            ProxyKind::L7mp => (!self.l7mp).then_some("the agent has no l7mp: start it with --l7mp"),
        }
    }
}
