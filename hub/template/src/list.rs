//! The lists of resources in an EnvoyConfigSpec: [`List`].

use portreeve_api::c::envoy_config::{EnvoyResource, EnvoyResources};

/// A list of resources.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum List {
    /// Clusters.
    Clusters,
    /// ClusterLoadAssignments.
    Endpoints,
    /// Listeners.
    Listeners,
    /// RouteConfigurations.
    Routes,
    /// Runtimes.
    Runtime,
}

// === impl List ===

impl List {
    /// All lists, in the order in which they are rendered.
    pub const ALL: [Self; 5] =
        [Self::Clusters, Self::Endpoints, Self::Listeners, Self::Routes, Self::Runtime];

    /// Returns the list's resources.
    pub fn of(self, resources: &EnvoyResources) -> &[EnvoyResource] {
        let list = match self {
            Self::Clusters => &resources.clusters,
            Self::Endpoints => &resources.endpoints,
            Self::Listeners => &resources.listeners,
            Self::Routes => &resources.routes,
            Self::Runtime => &resources.runtime,
        };
        list.as_deref().unwrap_or_default()
    }

    /// Returns the list's field in `envoyResources`.
    pub const fn field(self) -> &'static str {
        match self {
            Self::Clusters => "clusters",
            Self::Endpoints => "endpoints",
            Self::Listeners => "listeners",
            Self::Routes => "routes",
            Self::Runtime => "runtime",
        }
    }

    /// Returns the full name of the messages.
    pub const fn message(self) -> &'static str {
        match self {
            Self::Clusters => "envoy.config.cluster.v3.Cluster",
            Self::Endpoints => "envoy.config.endpoint.v3.ClusterLoadAssignment",
            Self::Listeners => "envoy.config.listener.v3.Listener",
            Self::Routes => "envoy.config.route.v3.RouteConfiguration",
            Self::Runtime => "envoy.service.runtime.v3.Runtime",
        }
    }

    /// Returns the field of the messages' names.
    pub const fn name_field(self) -> &'static str {
        match self {
            Self::Endpoints => "cluster_name",
            _ => "name",
        }
    }
}
