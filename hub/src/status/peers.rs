//! The customers' ends of a load balancer's tunnels, as gateways tell them: [`peers`] (C31).

use std::collections::BTreeMap;

use portreeve_api::c::tunnel;
use portreeve_api::model::TunnelPeer;
use serde_json::json;

use super::Fields;
use super::plan_report::PlanReport;
use super::tunnels::told;
use crate::subject::Served;

/// Returns `tunnel-peers`: of each tunnel the other end that was learned last. Empty while no gateway knows one: then the field
/// stays, because the customers' nodes ping seldom.
pub fn peers(served: &Served, reports: &[PlanReport]) -> Fields {
    let mut latest: BTreeMap<u32, TunnelPeer> = BTreeMap::new();
    for status in told(served, reports) {
        let Some(Ok(peer)) = status.peer.clone().map(TunnelPeer::try_from) else { continue };
        let known = latest.entry(status.id).or_insert(peer);
        if known.since_ms < peer.since_ms {
            *known = peer;
        }
    }
    let entries: Vec<_> = latest.iter().map(|(id, peer)| tunnel::TunnelPeer::new(*id, peer)).collect();
    match entries.is_empty() {
        true => Fields::new(),
        false => Fields::from([("tunnel-peers", json!(entries))]),
    }
}
