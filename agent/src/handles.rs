//! The handles of a running agent: [`Agent`].

use std::sync::Arc;

use crate::local::Local;
use crate::replicas::Replicas;
use crate::reports::Reports;
use crate::supervisor::Supervisor;

/// The handles of a running agent.
pub struct Agent {
    /// The agent's state.
    pub local: Arc<Local>,
    /// The keepers of the node's Envoys.
    pub supervisor: Supervisor,
    /// The reports to every hub replica.
    pub reports: Reports,
    /// The hub's replicas.
    pub replicas: Replicas,
}
