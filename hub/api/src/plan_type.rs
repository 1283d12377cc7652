//! The resource types that the hub serves to its agents, in sending order.

use portreeve_xds::ResourceType;

/// A resource type between hub and agent. Within one transaction, types are sent in the order of the variants: a
/// resource follows everything it refers to, so an agent that applies a response finds complete groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PlanType {
    /// Key material, [`crate::plan::Secret`].
    Secret,
    /// The endpoints of one node that are not healthy, [`crate::plan::Health`].
    Health,
    /// The endpoints of one slice of a group, [`crate::plan::EndpointSlice`].
    Slice,
    /// One set of endpoints, [`crate::plan::Group`].
    Group,
    /// A proxy for the agent to run, [`crate::plan::NodeProxy`].
    NodeProxy,
    /// The configuration that one custom resource defines for its proxies, [`crate::plan::Plan`].
    Plan,
    /// A probe that the agent of an endpoint's node runs, [`crate::plan::Probe`]. It follows the Plans that the endpoint's
    /// own proxies are to have.
    Probe,
}

// === impl PlanType ===

impl ResourceType for PlanType {
    const ALL: &'static [Self] =
        &[Self::Secret, Self::Health, Self::Slice, Self::Group, Self::NodeProxy, Self::Plan, Self::Probe];

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

    /// An agent subscribes to every resource of its node.
    fn legacy_wildcard(self) -> bool {
        true
    }

    /// A resource that is missing in a state-of-the-world response is deleted.
    fn full_state(self) -> bool {
        true
    }

    /// What is known about the health of endpoints changes nothing but whether they are used.
    fn urgent(self) -> bool {
        self == Self::Health
    }

    fn secret(self) -> bool {
        self == Self::Secret
    }
}
