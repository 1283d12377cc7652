//! `Healthy`: the number of healthy endpoints, as seen by the node that sees the smallest share of them.

use portreeve_api::conditions::{ConditionType, Reason, Status, Verdict};
use portreeve_api::report::PlanStatus;

use super::plan_report::PlanReport;
use crate::subject::Served;

/// Returns the condition. `None` while no node has reported on this version. `unresolved` is the reason for the lack of
/// endpoints, if it is known.
pub(super) fn healthy(
    served: &Served,
    reports: &[PlanReport],
    unresolved: Option<String>,
) -> Option<Verdict> {
    // A proxy that lost the ports of all its listeners uses no endpoints, so its report says nothing about them.
    let knows = |w: &PlanStatus| w.wanted > 0 && (w.endpoints > 0 || w.conflicts.is_empty());
    let current = reports.iter().filter(|w| w.status.version == served.version && knows(&w.status));
    let worst = current.reduce(|one, other| if better(&one.status, &other.status) { other } else { one })?;
    let PlanStatus { endpoints, healthy, unchecked, .. } = *worst.status;
    let unchecked_too =
        if unchecked == 0 { String::new() } else { format!(", {unchecked} of them unchecked") };
    let counts = format!("{healthy} of {endpoints} endpoints healthy{unchecked_too}");
    let (reason, message) = match (endpoints, healthy) {
        (0, _) => (Reason::NoEndpoints, unresolved.unwrap_or_else(|| "there is no endpoint".to_owned())),
        (_, 0) => (Reason::Unhealthy, format!("{counts} (as seen from node {})", worst.node)),
        _ if healthy < endpoints => {
            (Reason::Degraded, format!("{counts} (as seen from node {})", worst.node))
        }
        _ if unchecked == endpoints => (Reason::Unchecked, counts),
        _ => (Reason::Healthy, counts),
    };
    let status = Status::from(!matches!(reason, Reason::NoEndpoints | Reason::Unhealthy));
    Some(Verdict {
        type_: ConditionType::Healthy,
        status,
        reason,
        message,
        generation: Some(served.generation),
    })
}

/// Returns whether `one` has a larger share of healthy endpoints than `other`. Without endpoints the share is 0.
fn better(one: &PlanStatus, other: &PlanStatus) -> bool {
    let share =
        |status: &PlanStatus| u64::from(status.healthy) * 1_000_000 / u64::from(status.endpoints.max(1));
    share(one) > share(other)
}
