//! Envoy's resource types as the agent's core uses them ([`Envoy`]).
//!
//! They are those of [`EnvoyType`], with the same rules of the protocol. A type of this crate is needed because a
//! crate can implement another crate's trait, here [`ProxyModel`](portreeve_agent_core::translate::ProxyModel), only for
//! its own types.

use bytes::Bytes;
use portreeve_xds::{EnvoyType, Missing, ResourceType};

/// The resource types of an Envoy, in make-before-break order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Envoy {
    /// Clusters (CDS).
    Cluster,
    /// A cluster's endpoints (EDS).
    Endpoint,
    /// Listeners (LDS).
    Listener,
    /// Routes of HTTP listeners (RDS).
    Route,
    /// Certificates and keys (SDS).
    Secret,
}

// === impl Envoy ===

impl Envoy {
    /// Returns the type as the protocol knows it.
    pub const fn xds(self) -> EnvoyType {
        match self {
            Self::Cluster => EnvoyType::Cluster,
            Self::Endpoint => EnvoyType::Endpoint,
            Self::Listener => EnvoyType::Listener,
            Self::Route => EnvoyType::Route,
            Self::Secret => EnvoyType::Secret,
        }
    }

    const fn of(ty: EnvoyType) -> Self {
        match ty {
            EnvoyType::Cluster => Self::Cluster,
            EnvoyType::Endpoint => Self::Endpoint,
            EnvoyType::Listener => Self::Listener,
            EnvoyType::Route => Self::Route,
            EnvoyType::Secret => Self::Secret,
        }
    }
}

impl ResourceType for Envoy {
    const ALL: &'static [Self] = &[Self::Cluster, Self::Endpoint, Self::Listener, Self::Route, Self::Secret];

    fn type_url(self) -> &'static str {
        self.xds().type_url()
    }

    fn legacy_wildcard(self) -> bool {
        self.xds().legacy_wildcard()
    }

    fn full_state(self) -> bool {
        self.xds().full_state()
    }

    fn companion(self) -> Option<Self> {
        self.xds().companion().map(Self::of)
    }

    fn remove_before(self) -> Option<Self> {
        self.xds().remove_before().map(Self::of)
    }

    fn on_missing(self) -> Missing {
        self.xds().on_missing()
    }

    fn vanished_body(self, name: &str) -> Option<Bytes> {
        self.xds().vanished_body(name)
    }

    fn transient(self, detail: &str) -> bool {
        self.xds().transient(detail)
    }

    fn conflict(self, detail: &str) -> bool {
        self.xds().conflict(detail)
    }

    fn secret(self) -> bool {
        self.xds().secret()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_and_their_order_are_those_of_the_protocol() {
        let types: Vec<EnvoyType> = Envoy::ALL.iter().map(|ty| ty.xds()).collect();
        assert_eq!(types, EnvoyType::ALL);
        assert!(Envoy::ALL.is_sorted() && EnvoyType::ALL.is_sorted());
        for ty in Envoy::ALL {
            assert_eq!(Envoy::of(ty.xds()), *ty);
            assert_eq!(Envoy::from_type_url(ty.type_url()), Some(*ty));
        }
    }
}
