//! One node's report on a Plan ([`PlanReport`]), and how long a missing report is tolerated ([`PATIENCE`]).

use std::sync::Arc;
use std::time::Duration;

use portreeve_api::report::PlanStatus;
use portreeve_xds::Name;

/// How long a node may leave a new version of a Plan unanswered before it counts as unreachable.
pub const PATIENCE: Duration = Duration::from_secs(3);

/// A node's latest report on a Plan.
#[derive(Clone, Debug, PartialEq)]
pub struct PlanReport {
    /// The node.
    pub node: Name,
    /// The content of the report.
    pub status: Arc<PlanStatus>,
    /// Whether the node's agent is connected, so that the report is current.
    pub reachable: bool,
}
