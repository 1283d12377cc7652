//! What one node's agent says of a Plan ([`Word`]), and how long its absence is borne ([`PATIENCE`]).

use std::sync::Arc;
use std::time::Duration;

use portreeve_api::report::PlanStatus;
use portreeve_xds::Name;

/// How long a node may leave a new version of a Plan unanswered before it counts as unreachable.
pub const PATIENCE: Duration = Duration::from_secs(3);

/// A node's latest word on a Plan.
#[derive(Clone, Debug, PartialEq)]
pub struct Word {
    /// The node.
    pub node: Name,
    /// What its agent said.
    pub status: Arc<PlanStatus>,
    /// Its agent is heard: what it says is of now.
    pub reachable: bool,
}
