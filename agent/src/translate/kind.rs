//! The kinds of proxies that a Plan may apply to: [`ProxyKind`].

use portreeve_api::model::{self, Workload};

/// A kind of proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ProxyKind {
    /// Envoy, configured by xDS.
    Envoy,
    /// The l7mp proxy, configured by REST.
    L7mp,
}

// === impl ProxyKind ===

impl ProxyKind {
    /// Every kind.
    pub const ALL: [Self; 2] = [Self::Envoy, Self::L7mp];

    /// Returns the kind that a workload asks for; Envoy if it names none.
    pub fn of_workload(workload: &Workload) -> Self {
        workload.proxy_kind.map_or(Self::Envoy, Self::from)
    }

    /// Returns the kind's name in the store's files, so it never changes.
    pub fn word(self) -> &'static str {
        match self {
            Self::Envoy => "envoy",
            Self::L7mp => "l7mp",
        }
    }
}

impl From<model::ProxyKind> for ProxyKind {
    fn from(kind: model::ProxyKind) -> Self {
        match kind {
            model::ProxyKind::Envoy => Self::Envoy,
            model::ProxyKind::L7mp => Self::L7mp,
        }
    }
}
