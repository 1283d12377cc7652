//! l7mp's resource types ([`L7mp`]). They exist only in this agent: the proxy is configured by REST.

use portreeve_xds::ResourceType;

/// The resource types of an l7mp proxy, in make-before-break order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum L7mp {
    /// Clusters ([`super::objects::Cluster`]).
    Cluster,
    /// A cluster's endpoints ([`super::objects::Endpoints`]).
    Endpoints,
    /// Rules for the proxy's own rule lists ([`super::objects::Insertion`]).
    Rule,
    /// Listeners ([`super::objects::Listener`]).
    Listener,
}

impl ResourceType for L7mp {
    const ALL: &'static [Self] = &[Self::Cluster, Self::Endpoints, Self::Rule, Self::Listener];

    /// Returns the type's name in logs. No server offers it.
    fn type_url(self) -> &'static str {
        match self {
            Self::Cluster => "portreeve.dev/l7mp.Cluster",
            Self::Endpoints => "portreeve.dev/l7mp.Endpoints",
            Self::Rule => "portreeve.dev/l7mp.Rule",
            Self::Listener => "portreeve.dev/l7mp.Listener",
        }
    }

    fn legacy_wildcard(self) -> bool {
        true
    }

    fn full_state(self) -> bool {
        false
    }
}
