//! The resource types that the hub serves to its agents, in the order in which they are sent.

use portreeve_xds::ResourceType;

/// A resource type between hub and agent. The order of the variants is the order of sending within one transaction:
/// whatever a resource refers to goes out before it, so an agent that applies a response sees whole groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PlanType {
    /// Key material, [`crate::plan::Secret`].
    Secret,
    /// What is not healthy on one node, [`crate::plan::Health`].
    Health,
    /// The endpoints of one slice of a group, [`crate::plan::EndpointSlice`].
    Slice,
    /// One set of endpoints, [`crate::plan::Group`].
    Group,
    /// A probe for the owner of an endpoint, [`crate::plan::Probe`].
    Probe,
    /// A proxy for the agent to run, [`crate::plan::NodeProxy`].
    NodeProxy,
    /// What one custom resource asks of its proxies, [`crate::plan::Plan`].
    Plan,
}

// === impl PlanType ===

impl ResourceType for PlanType {
    const ALL: &'static [Self] =
        &[Self::Secret, Self::Health, Self::Slice, Self::Group, Self::Probe, Self::NodeProxy, Self::Plan];

    /// `type.googleapis.com/` and the message's full name.
    fn type_url(self) -> &'static str {
        match self {
            Self::Secret => "type.googleapis.com/portreeve.plan.v1.Secret",
            Self::Health => "type.googleapis.com/portreeve.plan.v1.Health",
            Self::Slice => "type.googleapis.com/portreeve.plan.v1.EndpointSlice",
            Self::Group => "type.googleapis.com/portreeve.plan.v1.Group",
            Self::Probe => "type.googleapis.com/portreeve.plan.v1.Probe",
            Self::NodeProxy => "type.googleapis.com/portreeve.plan.v1.NodeProxy",
            Self::Plan => "type.googleapis.com/portreeve.plan.v1.Plan",
        }
    }

    /// An agent asks for everything that its node is given.
    fn legacy_wildcard(self) -> bool {
        true
    }

    /// A state-of-the-world response means that what it doesn't name is gone.
    fn full_state(self) -> bool {
        true
    }

    fn secret(self) -> bool {
        self == Self::Secret
    }
}
