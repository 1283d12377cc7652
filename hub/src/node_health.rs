//! A node's Health, passed from the reports to the feed ([`NodeHealth`]).

use portreeve_api::plan::Health;
use portreeve_xds::Name;

/// A change of a node's Health.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeHealth {
    /// The node.
    pub node: Name,
    /// The unhealthy endpoints; `None` if the node is forgotten or never reported.
    pub health: Option<Health>,
}
