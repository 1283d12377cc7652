//! The accepted version of an object that opens listeners: [`PlanEntry`].

use super::matches::Name;
use super::node_sets::Encoded;
use super::probes::Checks;
use crate::object::Told;

/// The accepted version of an object.
pub(super) struct PlanEntry {
    /// Its Plan and the names of the groups that go with it.
    pub(super) encoded: Encoded,
    /// The selection of the proxies that it is for.
    pub(super) workload: Name,
    /// The object's latest generation that means this Plan.
    pub(super) generation: i64,
    /// Which object it was: another one of the same name is no later version of it.
    pub(super) uid: String,
    /// What it wants checked.
    pub(super) checks: Checks,
    /// What it contributes to the statuses of other objects.
    pub(super) told: Vec<Told>,
}
