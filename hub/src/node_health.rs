//! A node's Health as it is handed from the reports to the feed ([`NodeHealth`]).

use portreeve_api::plan::Health;
use portreeve_xds::Name;

/// What a node's agent says of the endpoints there.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeHealth {
    /// The node.
    pub node: Name,
    /// What is not healthy there; `None`: the node is forgotten, or never said anything.
    pub health: Option<Health>,
}
