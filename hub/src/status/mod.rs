//! The conditions that depend on an object's proxies: `Programmed` and `Healthy`, derived from the reports of the agents of
//! all its nodes. Pure; the clock is passed in. Entry points: [`Subject::status`], and [`Board`] for the time of the write.

mod applied;
mod board;
mod contributions;
mod healthy;
mod interface;
mod peers;
mod plan_report;
mod programmed;
mod running;
#[cfg(test)]
mod tests;
mod tunnels;

use std::collections::BTreeMap;
use std::time::Duration;

use portreeve_api::conditions::{self, ConditionType, Reason, Status};
use serde_json::Value;

use crate::subject::{Of, Subject};

pub use applied::annotated;
pub use board::Board;
pub use contributions::Parts;
pub use interface::interface;
pub use peers::peers;
pub use plan_report::{PATIENCE, PlanReport};

/// Fields of a status, by name. `Null`: the status has none of that name.
pub type Fields = BTreeMap<&'static str, Value>;

/// The intended status of an object.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ObjectStatus {
    /// The conditions.
    pub conditions: Vec<conditions::Verdict>,
    /// Whether proxies have yet to answer, so that another report is certain.
    pub pending: bool,
    /// Its other fields: of a NodeProxy `nodes`, the number of its nodes, and `ready`, the number of those on which it runs; of
    /// a load balancer what [`interface()`] and [`peers`] return.
    pub fields: Fields,
    /// The parts that other objects contribute. No kind has a field for them yet.
    pub parts: Parts,
    /// The generation that is applied: every wanted proxy has confirmed it, or no proxy is wanted. `None` if it isn't, or if
    /// objects of the kind aren't annotated.
    pub applied: Option<i64>,
}

// === impl Subject ===

impl Subject {
    /// Returns the intended status. `waited` is the time since the present version or set of nodes came into effect.
    pub fn status(&self, reports: &[PlanReport], waited: Duration) -> ObjectStatus {
        let status = self.conditions(reports, waited);
        ObjectStatus { applied: applied::generation(&self.verdict, &status.conditions), ..status }
    }

    /// Returns the intended status with all conditions.
    fn conditions(&self, reports: &[PlanReport], waited: Duration) -> ObjectStatus {
        let mut conditions = crate::conditions::of(&self.verdict);
        if self.of == Of::Part {
            return ObjectStatus { conditions, ..ObjectStatus::default() };
        }
        let Some(served) = &self.served else {
            conditions.push(programmed::nothing_served(&self.verdict));
            return ObjectStatus { conditions, ..ObjectStatus::default() };
        };
        if matches!(self.of, Of::NodeProxy(_)) {
            conditions.retain(|one| one.type_ != ConditionType::ResolvedRefs);
            let (runs, ready) = running::running(served, reports, waited);
            let pending = runs.reason == Reason::Pending;
            conditions.push(runs);
            let fields = Fields::from([("nodes", served.nodes.len().into()), ("ready", ready.into())]);
            return ObjectStatus { conditions, pending, fields, ..ObjectStatus::default() };
        }
        if let Some(text) = programmed::unsupported(served, reports) {
            refuse(&mut conditions, &text);
        }
        let programmed = programmed::programmed(served, reports, waited);
        let pending = programmed.reason == Reason::Pending;
        let unresolved = conditions.iter().find(|one| one.type_ == ConditionType::ResolvedRefs);
        let unresolved = unresolved.filter(|one| one.status == Status::False).map(|one| one.message.clone());
        conditions.push(programmed);
        conditions.extend(healthy::healthy(served, reports, unresolved));
        tunnels::add(&mut conditions, served, reports);
        ObjectStatus { conditions, pending, ..ObjectStatus::default() }
    }
}

/// Sets `Accepted` to False, because a proxy can't express the object. Earlier remarks on the object follow.
fn refuse(conditions: &mut [conditions::Verdict], text: &str) {
    let Some(accepted) = conditions.iter_mut().find(|one| one.type_ == ConditionType::Accepted) else {
        return;
    };
    let remarks = std::mem::take(&mut accepted.message);
    accepted.message = if remarks.is_empty() { text.to_owned() } else { format!("{text}; {remarks}") };
    (accepted.status, accepted.reason) = (Status::False, Reason::UnsupportedByProxy);
}

// === impl ObjectStatus ===

impl ObjectStatus {
    /// Returns the generation that all proxies have confirmed. `None` if they have not confirmed one.
    pub fn programmed(&self) -> Option<i64> {
        let found = self.conditions.iter().find(|one| one.type_ == ConditionType::Programmed)?;
        found.generation.filter(|_| found.status == Status::True)
    }
}

/// Returns whether proxies that can be waited for still run parts of a withdrawn Plan.
pub fn lingers(reports: &[PlanReport]) -> bool {
    reports.iter().any(|report| report.reachable && report.status.wanted > report.status.unreachable)
}
