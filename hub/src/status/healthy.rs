//! `Healthy`: how many endpoints are healthy, as the node sees it that sees the fewest.

use portreeve_api::conditions::{ConditionType, Reason, Status, Verdict};
use portreeve_api::report::PlanStatus;

use super::word::Word;
use crate::subject::Served;

/// The condition; none while no node has said anything about this version. `unresolved` is why there are no endpoints, if
/// that is known.
pub(super) fn healthy(served: &Served, words: &[Word], unresolved: Option<String>) -> Option<Verdict> {
    // A proxy whose listeners have all lost their ports uses no endpoint, and knows nothing of them.
    let knows = |w: &PlanStatus| w.wanted > 0 && (w.endpoints > 0 || w.conflicts.is_empty());
    let told = words.iter().filter(|w| w.status.version == served.version && knows(&w.status));
    let worst = told.reduce(|one, other| if better(&one.status, &other.status) { other } else { one })?;
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

/// Whether a larger part is healthy for `one` than for `other`; without any endpoint nothing is.
fn better(one: &PlanStatus, other: &PlanStatus) -> bool {
    let share =
        |status: &PlanStatus| u64::from(status.healthy) * 1_000_000 / u64::from(status.endpoints.max(1));
    share(one) > share(other)
}
