//! One node's report on a Plan ([`PlanReport`]), and how long a missing report is tolerated ([`PATIENCE`]).

use std::sync::Arc;
use std::time::Duration;

use portreeve_api::report::PlanStatus;
use portreeve_xds::Name;

use crate::subject::Served;

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

// === impl PlanReport ===

impl PlanReport {
    /// Creates the report for a node whose agent is not sent this NodeProxy, because it would take it for an Envoy.
    pub fn lacking(node: &Name, served: &Served) -> Self {
        let refusal = "its agent is of a version that runs Envoys only: update the agent".to_owned();
        let (plan, version) = (served.plan.to_string(), served.version);
        let status = PlanStatus { plan, version, wanted: 1, nacked: 1, refusal, ..PlanStatus::default() };
        Self { node: node.clone(), status: Arc::new(status), reachable: true }
    }
}
