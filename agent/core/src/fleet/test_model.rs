//! A kind of proxy for this crate's own tests: three types without content. The tests with Envoy are in
//! `portreeve-envoy`.

use std::sync::Arc;

use portreeve_xds::{Name, Resource, ResourceType};

use crate::translate::{Lookup, ProxyKind, ProxyModel, Request, Translation};

/// The resource types.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TestType {
    Cluster,
    Assignment,
    Listener,
}

impl ResourceType for TestType {
    const ALL: &'static [Self] = &[Self::Cluster, Self::Assignment, Self::Listener];

    fn type_url(self) -> &'static str {
        self.noun()
    }

    fn legacy_wildcard(self) -> bool {
        true
    }

    fn full_state(self) -> bool {
        false
    }
}

impl ProxyModel for TestType {
    const KIND: ProxyKind = ProxyKind::L7mp;
    const LISTENER: Self = Self::Listener;
    const CLUSTER: Self = Self::Cluster;
    const ASSIGNMENT: Self = Self::Assignment;

    fn noun(self) -> &'static str {
        match self {
            Self::Cluster => "cluster",
            Self::Assignment => "assignment",
            Self::Listener => "listener",
        }
    }

    fn number(self) -> Option<u32> {
        None
    }

    fn resource(self, name: Name, body: &[u8]) -> Arc<Resource> {
        Resource::new(self, name, body)
    }

    fn target(_: &[u8]) -> Option<Name> {
        None
    }

    fn translate(_: &Request<'_>, _: &dyn Lookup) -> Option<Translation<Self>> {
        Some(Translation::default())
    }
}
