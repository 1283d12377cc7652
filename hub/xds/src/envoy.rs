//! Envoy's five resource types ([`EnvoyType`]) and the rules that were measured for each.

use bytes::{Bytes, BytesMut};

use crate::protobuf::{put_bytes, size_of_bytes};
use crate::resource::{Missing, ResourceType};

/// The v3 resource types that Envoy subscribes to, in make-before-break order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EnvoyType {
    /// `envoy.config.cluster.v3.Cluster` (CDS).
    Cluster,
    /// `envoy.config.endpoint.v3.ClusterLoadAssignment` (EDS).
    Endpoint,
    /// `envoy.config.listener.v3.Listener` (LDS).
    Listener,
    /// `envoy.config.route.v3.RouteConfiguration` (RDS).
    Route,
    /// `envoy.extensions.transport_sockets.tls.v3.Secret` (SDS).
    Secret,
}

// === impl EnvoyType ===

impl EnvoyType {
    /// Returns the type's noun for messages, before a resource's name.
    pub const fn noun(self) -> &'static str {
        match self {
            Self::Cluster => "cluster",
            Self::Endpoint => "endpoints of",
            Self::Listener => "listener",
            Self::Route => "route",
            Self::Secret => "secret",
        }
    }
}

impl ResourceType for EnvoyType {
    const ALL: &'static [Self] = &[Self::Cluster, Self::Endpoint, Self::Listener, Self::Route, Self::Secret];

    fn type_url(self) -> &'static str {
        match self {
            Self::Cluster => "type.googleapis.com/envoy.config.cluster.v3.Cluster",
            Self::Endpoint => "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
            Self::Listener => "type.googleapis.com/envoy.config.listener.v3.Listener",
            Self::Route => "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
            Self::Secret => "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret",
        }
    }

    fn legacy_wildcard(self) -> bool {
        matches!(self, Self::Cluster | Self::Listener)
    }

    fn full_state(self) -> bool {
        matches!(self, Self::Cluster | Self::Listener)
    }

    /// Envoy warms a changed EDS cluster until an assignment arrives: for 15.0 s if none is sent behind it.
    fn companion(self) -> Option<Self> {
        (self == Self::Cluster).then_some(Self::Endpoint)
    }

    fn remove_before(self) -> Option<Self> {
        (self == Self::Cluster).then_some(Self::Listener)
    }

    fn on_missing(self) -> Missing {
        if self == Self::Secret { Missing::Hold } else { Missing::Removed }
    }

    /// Envoy keeps the last endpoints when an assignment is removed; an empty assignment empties the cluster.
    fn vanished_body(self, name: &str) -> Option<Bytes> {
        if self != Self::Endpoint {
            return None;
        }
        let mut body = BytesMut::with_capacity(size_of_bytes(name.len()));
        put_bytes(&mut body, 1, name.as_bytes());
        Some(body.freeze())
    }

    /// A listener that can't bind now, or whose address another listener holds, may be accepted later.
    fn transient(self, detail: &str) -> bool {
        const CAUSES: [&str; 3] = ["Address already in use", "Permission denied", "cannot bind"];
        self == Self::Listener && (self.conflict(detail) || CAUSES.iter().any(|cause| detail.contains(cause)))
    }

    /// Envoy 1.40 writes "'NAME' has duplicate address 'ADDRESS' as existing listener". It checks a response's resources one
    /// by one, after the removals.
    fn conflict(self, detail: &str) -> bool {
        self == Self::Listener && detail.contains("has duplicate address")
    }

    fn secret(self) -> bool {
        self == Self::Secret
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_is_found_by_its_url() {
        for ty in EnvoyType::ALL {
            assert_eq!(EnvoyType::from_type_url(ty.type_url()), Some(*ty));
        }
        assert_eq!(EnvoyType::from_type_url("type.googleapis.com/other"), None);
    }

    #[test]
    fn bind_failure_and_address_conflict_of_a_listener_are_transient() {
        let text = "cannot bind '0.0.0.0:80': Address already in use";
        assert!(EnvoyType::Listener.transient(text));
        assert!(!EnvoyType::Cluster.transient(text));
        let conflict = "error adding listener: 'a' has duplicate address '0.0.0.0:80' as existing listener";
        assert!(EnvoyType::Listener.transient(conflict) && EnvoyType::Listener.conflict(conflict));
        assert!(!EnvoyType::Listener.conflict(text) && !EnvoyType::Cluster.conflict(conflict));
        assert!(!EnvoyType::Listener.transient("no filter chains specified"));
    }
}
