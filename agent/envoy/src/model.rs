//! Envoy as a [`ProxyModel`].

use std::sync::Arc;

use crate::Envoy;
use portreeve_agent_core::translate::model::{ProxyModel, Translation};
use portreeve_agent_core::translate::request::{Lookup, Request};
use portreeve_api::model::ProxyKind;
use portreeve_xds::{Name, Resource};

use super::{cluster, listener, translation};

/// Advice for a proxy without the capability for low ports.
const LOW_PORTS: &str = "ports under 1024 need CAP_NET_BIND_SERVICE, which this proxy lacks: choose another port, or give it the \
     capability (deploy/README.md, Ports under 1024)";

impl ProxyModel for Envoy {
    const KIND: ProxyKind = ProxyKind::Envoy;
    const LISTENER: Self = Self::Listener;
    const CLUSTER: Self = Self::Cluster;
    const ASSIGNMENT: Self = Self::Endpoint;

    fn noun(self) -> &'static str {
        self.xds().noun()
    }

    /// Routes have no number, because the translation produces none, nor have secrets, which must not be stored.
    fn number(self) -> Option<u32> {
        match self {
            Self::Cluster => Some(1),
            Self::Endpoint => Some(2),
            Self::Listener => Some(3),
            Self::Route | Self::Secret => None,
        }
    }

    fn resource(self, name: Name, body: &[u8]) -> Arc<Resource> {
        match self {
            Self::Cluster => cluster::of_bytes(name, body),
            Self::Listener => listener::of_bytes(name, body),
            Self::Endpoint | Self::Route | Self::Secret => Resource::new(self, name, body),
        }
    }

    fn target(listener: &[u8]) -> Option<Name> {
        listener::target(listener)
    }

    fn secrets(self, body: &[u8]) -> Vec<(Self, Name)> {
        let names = match self {
            Self::Listener => listener::secrets(body),
            Self::Cluster => cluster::secrets(body),
            Self::Endpoint | Self::Route | Self::Secret => Vec::new(),
        };
        names.into_iter().map(|name| (Self::Secret, name)).collect()
    }

    /// Adds advice to Envoy's error for a forbidden port: "cannot bind '0.0.0.0:53': Permission denied".
    fn told(detail: &str) -> String {
        let denied = detail.contains("cannot bind") && detail.contains("Permission denied");
        if denied { format!("{detail}; {LOW_PORTS}") } else { detail.to_owned() }
    }

    fn translate(request: &Request<'_>, lookup: &dyn Lookup) -> Option<Translation<Self>> {
        translation::translate(request, lookup)
    }
}
