//! The suite's target: a server whose resources are set one by one, each with a version.

use std::collections::BTreeSet;
use std::sync::Arc;

use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::endpoint::v3::ClusterLoadAssignment;
use envoy_types::pb::envoy::config::endpoint::v3::cluster_load_assignment::Policy;
use envoy_types::pb::envoy::config::listener::v3::Listener;
use envoy_types::pb::envoy::config::route::v3::RouteConfiguration;
use envoy_types::pb::google::protobuf::UInt32Value;
use portreeve_xds::{Changes, EnvoyType, Name, Resource, View};
use prost::{DecodeError, Message};

/// The server's view and its content.
pub struct Target {
    view: Arc<View<EnvoyType>>,
    has: BTreeSet<(EnvoyType, Name)>,
    /// Version of the last change.
    pub version: String,
}

// === impl Target ===

impl Target {
    pub fn new(view: Arc<View<EnvoyType>>) -> Self {
        Self { view, has: BTreeSet::new(), version: String::new() }
    }

    /// Adds or updates resources.
    pub fn put(&mut self, resources: impl IntoIterator<Item = (EnvoyType, String)>, version: &str) {
        self.version = version.into();
        self.view.set_watermark(version.into());
        let upsert: Vec<_> =
            resources.into_iter().map(|(ty, name)| (ty, resource(ty, &name, version))).collect();
        self.has.extend(upsert.iter().map(|(ty, one)| (*ty, one.name().clone())));
        self.view.apply(Changes { upsert, remove: Vec::new() });
    }

    pub fn remove(&mut self, ty: EnvoyType, name: &str) {
        self.has.remove(&(ty, name.into()));
        self.view.apply(Changes { upsert: Vec::new(), remove: vec![(ty, name.into())] });
    }

    /// Removes everything, for the next case.
    pub fn clear(&mut self) {
        let remove = std::mem::take(&mut self.has).into_iter().collect();
        self.view.apply(Changes { upsert: Vec::new(), remove });
    }
}

/// A resource whose content is its version. Clusters have their assignments as companions, as the hub's have.
fn resource(ty: EnvoyType, name: &str, version: &str) -> Arc<Resource> {
    let (name, text) = (name.to_string(), version.to_string());
    match ty {
        EnvoyType::Cluster => {
            let body = Cluster { name: name.clone(), alt_stat_name: text, ..Cluster::default() };
            Resource::with_companion(ty, name.as_str(), &body.encode_to_vec(), name.as_str())
        }
        EnvoyType::Endpoint => {
            let value = text.parse().unwrap_or_default();
            let policy = Policy { overprovisioning_factor: Some(UInt32Value { value }), ..Policy::default() };
            let body = ClusterLoadAssignment {
                cluster_name: name.clone(),
                policy: Some(policy),
                ..ClusterLoadAssignment::default()
            };
            Resource::new(ty, name, &body.encode_to_vec())
        }
        EnvoyType::Listener => {
            let body = Listener { name: name.clone(), stat_prefix: text, ..Listener::default() };
            Resource::new(ty, name, &body.encode_to_vec())
        }
        EnvoyType::Route => {
            let internal_only_headers = vec![text];
            let body = RouteConfiguration { name: name.clone(), internal_only_headers, ..Default::default() };
            Resource::new(ty, name, &body.encode_to_vec())
        }
        EnvoyType::Secret => panic!("the suite has no secrets"),
    }
}

/// The name inside a resource's body. State of the world carries no other name.
pub fn name_in(ty: EnvoyType, body: &[u8]) -> Result<String, DecodeError> {
    match ty {
        EnvoyType::Cluster => Cluster::decode(body).map(|one| one.name),
        EnvoyType::Endpoint => ClusterLoadAssignment::decode(body).map(|one| one.cluster_name),
        EnvoyType::Listener => Listener::decode(body).map(|one| one.name),
        EnvoyType::Route => RouteConfiguration::decode(body).map(|one| one.name),
        EnvoyType::Secret => panic!("the suite has no secrets"),
    }
}
