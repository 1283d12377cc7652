//! The accepted version of an object that opens listeners: [`PlanEntry`].

use std::sync::Arc;

use super::classes::Encoded;
use super::matches::Name;
use super::probes::Checks;
use crate::object::Told;

/// The accepted version of an object.
pub(super) struct PlanEntry {
    /// The encoded Plan and the names of the resources that it refers to.
    pub(super) encoded: Arc<Encoded>,
    /// The selection of the proxies that the Plan is for.
    pub(super) workload: Name,
    /// The latest generation of the object that resolves to this Plan.
    pub(super) generation: i64,
    /// The object's UID. A different UID under the same name is a new object, not a later version.
    pub(super) uid: String,
    /// The health checks that the Plan wants.
    pub(super) checks: Checks,
    /// The object's contributions to the statuses of other objects.
    pub(super) told: Vec<Told>,
}
