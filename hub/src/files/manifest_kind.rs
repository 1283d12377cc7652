//! The kinds of objects that manifests in a folder may contain ([`ManifestKind`]).

use portreeve_api::kind::Kind;

use crate::kinds;

/// A kind that the hub reads from manifests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum ManifestKind {
    Namespace,
    Node,
    Pod,
    Secret,
    Service,
    /// A kind in the registry.
    Custom(&'static Kind),
}

// === impl ManifestKind ===

impl ManifestKind {
    pub(super) fn of(api: &str, kind: &str) -> Option<Self> {
        let row = || {
            let found = kinds::ALL.into_iter().find(|row| {
                let resource = (row.resource)();
                (resource.api_version.as_str(), resource.kind.as_str()) == (api, kind)
            });
            found.map(|row| Self::Custom(row.kind))
        };
        match (api, kind) {
            ("v1", "Namespace") => Some(Self::Namespace),
            ("v1", "Node") => Some(Self::Node),
            ("v1", "Pod") => Some(Self::Pod),
            ("v1", "Secret") => Some(Self::Secret),
            ("v1", "Service") => Some(Self::Service),
            _ => row(),
        }
    }

    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Namespace => "Namespace",
            Self::Node => "Node",
            Self::Pod => "Pod",
            Self::Secret => "Secret",
            Self::Service => "Service",
            Self::Custom(kind) => kind.name,
        }
    }

    pub(super) fn is_namespaced(self) -> bool {
        match self {
            Self::Namespace | Self::Node => false,
            Self::Pod | Self::Secret | Self::Service => true,
            Self::Custom(kind) => kind.namespaced,
        }
    }
}
