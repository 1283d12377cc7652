//! Whether a load balancer's tunnels are alive, as gateways tell it: [`add`].

use std::collections::BTreeSet;

use portreeve_api::conditions::{ConditionType, Reason, Status, Verdict};
use portreeve_api::report::TunnelStatus;

use super::plan_report::PlanReport;
use crate::subject::Served;

/// Adds to `Healthy` whether pings come through the tunnels.
pub(super) fn add(conditions: &mut [Verdict], served: &Served, reports: &[PlanReport]) {
    let all: BTreeSet<u32> = told(served, reports).map(|status| status.id).collect();
    let heard: BTreeSet<u32> = told(served, reports).filter(|one| one.heard).map(|one| one.id).collect();
    let healthy = conditions.iter_mut().find(|one| one.type_ == ConditionType::Healthy);
    let Some(healthy) = healthy.filter(|_| !all.is_empty()) else { return };
    let counted = format!("pings come through {} of {} tunnels", heard.len(), all.len());
    let silent: Vec<String> = all.difference(&heard).take(5).map(ToString::to_string).collect();
    healthy.message = match silent.is_empty() {
        true => format!("{}; {counted}", healthy.message),
        false => format!("{}; {counted}, none for 75 s through {}", healthy.message, silent.join(", ")),
    };
    if healthy.status != Status::True || silent.is_empty() {
        return;
    }
    if heard.is_empty() {
        (healthy.status, healthy.reason) = (Status::False, Reason::Unhealthy);
    } else {
        healthy.reason = Reason::Degraded;
    }
}

/// Returns what the nodes tell that have the Plan.
pub(super) fn told<'a>(
    served: &'a Served,
    reports: &'a [PlanReport],
) -> impl Iterator<Item = &'a TunnelStatus> {
    let telling = reports.iter().filter(|report| !report.status.tunnels.is_empty());
    let serving = telling.filter(|report| served.nodes.contains(&report.node));
    serving.flat_map(|report| &report.status.tunnels)
}
