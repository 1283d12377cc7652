//! The world's answers about resources of the hub whose last version makes no sense.

use portreeve_api::PlanType;
use portreeve_api::model::NodeProxy;
use portreeve_xds::Name;

use super::World;

// === impl World ===

impl World {
    /// The NodeProxies that this node is to run, with `None` for those that can't be read.
    pub fn wanted_node_proxies(&self) -> impl Iterator<Item = (&Name, Option<&NodeProxy>)> {
        self.feed.wanted_proxies()
    }

    /// Why the last version of a Plan can't be read, for status; `None`: it could.
    pub fn refused_plan(&self, name: &Name) -> Option<&str> {
        self.feed.refused_plan(name)
    }

    /// Whether the last version of a resource of the hub can't be read: the one before it is the last known good.
    pub fn is_refused_resource(&self, ty: PlanType, name: &Name) -> bool {
        self.feed.is_refused(ty, name)
    }
}
