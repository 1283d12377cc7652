//! What a connecting proxy says of itself: [`Announced`].

use crate::translate::Streams;

/// Maximum length of the `node.id` by which Plans can choose a proxy, in bytes. No object names a longer one.
const MAX_NODE_ID: usize = 253;

/// Maximum length of a proxy's name for this agent, in bytes.
const MAX_CLUSTER: usize = 253;

/// What a connecting proxy says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Announced {
    /// Its `node.id`; empty if it announced none that an object can name.
    pub node_id: String,
    /// How it subscribes.
    pub streams: Streams,
}

// === impl Announced ===

impl Announced {
    /// Returns what a proxy with this `node.id` announces. Longer names than a proxy needs are left out.
    pub fn new(node_id: &str, streams: Streams) -> Self {
        let node_id = if node_id.len() > MAX_NODE_ID { "" } else { node_id };
        let streams = match streams {
            Streams::Separate(server) if server.cluster.len() > MAX_CLUSTER => Streams::Aggregated,
            other => other,
        };
        Self { node_id: node_id.to_owned(), streams }
    }
}
