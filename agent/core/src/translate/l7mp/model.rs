//! l7mp as a [`ProxyModel`].

use std::sync::Arc;

use portreeve_api::model::ProxyKind;
use portreeve_xds::{Name, Resource};

use super::objects::{Hop, Listener, Rules};
use super::{L7mp, translation};
use crate::translate::{Lookup, ProxyModel, Request, Translation};

impl ProxyModel for L7mp {
    const KIND: ProxyKind = ProxyKind::L7mp;
    const LISTENER: Self = Self::Listener;
    const CLUSTER: Self = Self::Cluster;
    const ASSIGNMENT: Self = Self::Endpoints;

    fn noun(self) -> &'static str {
        match self {
            Self::Cluster => "cluster",
            Self::Endpoints => "endpoints of cluster",
            Self::Rule => "rule",
            Self::Listener => "listener",
        }
    }

    fn number(self) -> Option<u32> {
        match self {
            Self::Cluster => Some(1),
            Self::Endpoints => Some(2),
            Self::Listener => Some(3),
            Self::Rule => Some(4),
        }
    }

    fn resource(self, name: Name, body: &[u8]) -> Arc<Resource> {
        Resource::new(self, name, body)
    }

    /// Returns the destination of the listener's first rule.
    fn target(listener: &[u8]) -> Option<Name> {
        let listener: Listener = serde_json::from_slice(listener).ok()?;
        let Rules::These(rules) = listener.rules else { return None };
        match rules.into_iter().next()?.route?.destination {
            Hop::Cluster(name) => Some(name.into()),
            Hop::Own(_) => None,
        }
    }

    fn translate(request: &Request<'_>, lookup: &dyn Lookup) -> Option<Translation<Self>> {
        translation::translate(request, lookup)
    }
}
