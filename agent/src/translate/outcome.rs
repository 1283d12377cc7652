//! What a translation tells beside the resources: [`Remark`]s on what is refused, and the [`Census`] of endpoints.

use portreeve_api::model::Cluster;

/// Something a person should know of, with the listener or cluster at fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remark {
    /// Name in the Plan.
    pub at: String,
    /// What, why, and what to do.
    pub text: String,
}

/// The endpoints of a Plan's clusters, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// All of them.
    pub endpoints: u32,
    /// Of them: those that are not known to be unhealthy.
    pub healthy: u32,
    /// Of them: those of clusters that are not checked.
    pub unchecked: u32,
}

// === impl Census ===

impl Census {
    /// Counts a cluster's endpoints, of which `unhealthy` are known to be that.
    pub fn add(&mut self, cluster: &Cluster, endpoints: u32, unhealthy: u32) {
        self.endpoints += endpoints;
        self.healthy += endpoints - unhealthy;
        self.unchecked += if cluster.is_checked() { 0 } else { endpoints };
    }
}
