//! Decodes the hub's resources into the agent's own types ([`Decoded`]).

use bytes::Bytes;
use portreeve_api::model::{Endpoint, Flaw, NodeProxy, Plan, Secret};
use portreeve_api::{PlanType, plan};
use portreeve_xds::Name;
use prost::Message;

/// One decoded resource of the hub.
pub enum Decoded {
    /// A Plan.
    Plan(Plan),
    /// A group of endpoints.
    Group(plan::Group),
    /// The valid endpoints of a slice, and the flaws of the invalid ones.
    Slice(Vec<Endpoint>, Vec<Flaw>),
    /// A proxy for this node.
    NodeProxy(NodeProxy),
    /// The unhealthy endpoints of a node.
    Health(plan::Health),
    /// A probe that this node shall run.
    Probe(plan::Probe),
    /// Key material.
    Secret(Secret),
    /// An invalid message, with its type and the reason.
    Refused(PlanType, String),
}

// === impl Decoded ===

impl Decoded {
    /// Decodes a resource.
    ///
    /// # Errors
    /// Returns an error if the bytes are not a protobuf message of this type.
    pub fn read(ty: PlanType, name: &Name, body: &Bytes) -> Result<Self, String> {
        let read = match ty {
            PlanType::Plan => plan::Plan::decode(body.clone()).map(|message| Self::plan(name, message)),
            PlanType::Group => plan::Group::decode(body.clone()).map(Self::Group),
            PlanType::Slice => plan::EndpointSlice::decode(body.clone()).map(Self::slice),
            PlanType::NodeProxy => {
                plan::NodeProxy::decode(body.clone()).map(|message| Self::node_proxy(name, message))
            }
            PlanType::Health => plan::Health::decode(body.clone()).map(Self::Health),
            PlanType::Probe => plan::Probe::decode(body.clone()).map(Self::Probe),
            PlanType::Secret => {
                plan::Secret::decode(body.clone()).map(|message| Self::Secret(message.into()))
            }
        };
        read.map_err(|error| format!("{name}: {error}"))
    }

    fn plan(name: &Name, message: plan::Plan) -> Self {
        let refused = |reason| Self::Refused(PlanType::Plan, reason);
        match Plan::try_from(message) {
            Ok(plan) if plan.name().as_name() != name => {
                refused(format!("Plan {name}: its origin is the object of Plan {}", plan.name()))
            }
            Ok(plan) => Self::Plan(plan),
            Err(error) => refused(format!("Plan {name}: {}", error.flaw)),
        }
    }

    fn node_proxy(name: &Name, message: plan::NodeProxy) -> Self {
        let refused = |flaw| Self::Refused(PlanType::NodeProxy, format!("NodeProxy {name}: {flaw}"));
        NodeProxy::try_from(message).map_or_else(refused, Self::NodeProxy)
    }

    fn slice(message: plan::EndpointSlice) -> Self {
        let (mut endpoints, mut flaws) = (Vec::new(), Vec::new());
        for endpoint in message.endpoints {
            match Endpoint::try_from(endpoint) {
                Ok(endpoint) => endpoints.push(endpoint),
                Err(flaw) => flaws.push(flaw),
            }
        }
        Self::Slice(endpoints, flaws)
    }

    /// Returns the resource's type.
    pub fn ty(&self) -> PlanType {
        match self {
            Self::Plan(_) => PlanType::Plan,
            Self::Group(_) => PlanType::Group,
            Self::Slice(..) => PlanType::Slice,
            Self::NodeProxy(_) => PlanType::NodeProxy,
            Self::Health(_) => PlanType::Health,
            Self::Probe(_) => PlanType::Probe,
            Self::Secret(_) => PlanType::Secret,
            Self::Refused(ty, _) => *ty,
        }
    }
}
