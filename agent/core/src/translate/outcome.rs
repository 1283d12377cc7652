//! The findings of a translation: [`Remark`]s on rejected parts, and the [`Census`] of endpoints.

use portreeve_api::model::Cluster;

/// A finding for users about one listener or cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remark {
    /// The listener's or cluster's name in the Plan.
    pub at: String,
    /// The problem, its cause, and the remedy.
    pub text: String,
}

/// Endpoint counts of a Plan's clusters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// All endpoints.
    pub endpoints: u32,
    /// Endpoints that are not known to be unhealthy.
    pub healthy: u32,
    /// Endpoints of clusters without a health check.
    pub unchecked: u32,
}

// === impl Census ===

impl Census {
    /// Adds a cluster's endpoints, of which `unhealthy` are known to be unhealthy.
    pub fn add(&mut self, cluster: &Cluster, endpoints: u32, unhealthy: u32) {
        self.endpoints += endpoints;
        self.healthy += endpoints - unhealthy;
        self.unchecked += if cluster.is_checked() { 0 } else { endpoints };
    }
}
