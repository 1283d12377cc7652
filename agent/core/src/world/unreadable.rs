//! Queries about the hub's resources whose newest version is invalid.

use portreeve_api::PlanType;
use portreeve_api::model::NodeProxy;
use portreeve_xds::Name;

use super::World;

// === impl World ===

impl World {
    /// Returns the NodeProxies that this node shall run, with `None` for those without any valid version.
    pub fn wanted_node_proxies(&self) -> impl Iterator<Item = (&Name, Option<&NodeProxy>)> {
        self.feed.wanted_proxies()
    }

    /// Returns why the newest version of a Plan is invalid; `None` if it is valid.
    pub fn refused_plan(&self, name: &Name) -> Option<&str> {
        self.feed.refused_plan(name)
    }

    /// Returns whether the newest version of a resource of the hub is invalid. Then the store keeps the last
    /// valid version.
    pub fn is_refused_resource(&self, ty: PlanType, name: &Name) -> bool {
        self.feed.is_refused(ty, name)
    }
}
