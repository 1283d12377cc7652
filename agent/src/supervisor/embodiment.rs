//! What the supervisor has to know of pods that embody NodeProxies: [`Embodiment`].

use std::collections::BTreeMap;

use portreeve_xds::{Name, Peer};

/// What is to be known of pods: the agent's world knows it.
pub trait Embodiment: Send + Sync {
    /// The pod that a peer is a process of, and the NodeProxy that it embodies.
    fn pod_of(&self, peer: &Peer) -> Option<(Name, String)>;

    /// For each NodeProxy the pod that is to run it.
    fn leaders(&self) -> BTreeMap<String, Name>;
}
