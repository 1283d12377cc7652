//! How the NodeProxies of this node are, in the form in which Plans are reported: the hub counts both in the same way.
//! Entry point: [`of_proxies`].

use std::collections::BTreeMap;
use std::sync::Arc;

use portreeve_api::PlanType;
use portreeve_api::names::NODE_PROXY_ID;
use portreeve_api::report::PlanStatus;

use super::{Statuses, cut};
use crate::keeper::Phase;
use crate::keepers::Status;
use crate::world::World;

/// How a NodeProxy is.
enum Run {
    /// Its Envoy runs as it is wanted.
    Serves,
    /// It is on its way.
    Starts,
    /// It can't, in words.
    Fails(String),
}

/// How each wanted NodeProxy is, by the name under which the hub looks for it; `has_envoy`: this agent has one to start.
pub fn of_proxies(world: &World, keepers: &BTreeMap<String, Status>, has_envoy: bool) -> Statuses {
    let said = world.node_proxies().keys().filter_map(|name| {
        let version = world.held().get(&(PlanType::NodeProxy, name.clone()))?;
        let plan = format!("{NODE_PROXY_ID}{name}");
        let mut status =
            PlanStatus { plan: plan.clone(), version: version.0, wanted: 1, ..Default::default() };
        match run(keepers.get(&**name), has_envoy) {
            Run::Serves => status.acked = 1,
            Run::Starts => {}
            Run::Fails(text) => (status.nacked, status.refusal) = (1, cut(text)),
        }
        Some((plan.into(), Arc::new(status)))
    });
    said.collect()
}

/// What keeps a NodeProxy's Envoy from serving; [`None`] where it serves, is on its way or is to end.
pub fn trouble(kept: &Status) -> Option<String> {
    if let Some(fault) = &kept.fault {
        return Some(fault.clone());
    }
    let state = kept.state.as_ref()?;
    let again = state.phase == Phase::Starting && state.restarts > 0;
    let end = state.last_end().filter(|_| again || state.phase == Phase::Backoff)?;
    Some(format!("Envoy ends by itself: {end}"))
}

fn run(kept: Option<&Status>, has_envoy: bool) -> Run {
    if !has_envoy {
        return Run::Fails("the agent has no Envoy: start it with --envoy".into());
    }
    let Some(kept) = kept else { return Run::Starts };
    if let Some(fault) = &kept.fault {
        return Run::Fails(fault.clone());
    }
    let Some(state) = &kept.state else { return Run::Starts };
    match state.phase {
        Phase::Running if kept.current => Run::Serves,
        Phase::Backoff => {
            let end = state.last_end().unwrap_or_else(|| "it ended".to_owned());
            Run::Fails(format!("Envoy ends by itself: {end}, {} restarts", state.restarts))
        }
        _ => Run::Starts,
    }
}
