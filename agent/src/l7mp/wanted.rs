//! The desired state of a proxy, from its view: [`of`].

use std::sync::Arc;

use portreeve_agent_core::translate::l7mp::L7mp;
use portreeve_l7mp::{ClusterEntry, Desired};
use portreeve_xds::{Name, Resource, Snapshot, Version};
use serde::de::DeserializeOwned;

/// Returns what a proxy is to have. Resources that are unchanged since `before` are not read again. While the view is not
/// `sure`, nothing that the proxy has is deleted.
pub fn of(snapshot: &Snapshot<L7mp>, before: &Desired, sure: bool) -> Desired {
    let clusters = snapshot.iter(L7mp::Cluster).filter_map(|(name, resource)| {
        let endpoints = snapshot.get(L7mp::Endpoints, name)?;
        let old = before.clusters.get(name);
        let cluster = old.map(|old| (old.version, &old.cluster));
        let old = old.map(|old| (old.endpoints_version, &old.endpoints));
        let (version, cluster) = read(name, resource, cluster)?;
        let (endpoints_version, endpoints) = read(name, endpoints, old)?;
        Some((name.clone(), ClusterEntry { version, cluster, endpoints_version, endpoints }))
    });
    let listeners = snapshot.iter(L7mp::Listener).filter_map(|(name, resource)| {
        let old = before.listeners.get(name).map(|(version, body)| (*version, body));
        Some((name.clone(), read(name, resource, old)?))
    });
    let insertions = snapshot.iter(L7mp::Rule).filter_map(|(name, resource)| {
        let old = before.insertions.get(name).map(|(version, body)| (*version, body));
        Some((name.clone(), read(name, resource, old)?))
    });
    Desired {
        clusters: clusters.collect(),
        listeners: listeners.collect(),
        insertions: insertions.collect(),
        kept: Default::default(),
        keep_all: !sure,
    }
}

/// Reads a resource. One that can't be read is left out, which would be a bug of its translation.
fn read<B: DeserializeOwned>(
    name: &Name,
    resource: &Resource,
    old: Option<(Version, &Arc<B>)>,
) -> Option<(Version, Arc<B>)> {
    let version = resource.version();
    if let Some((_, body)) = old.filter(|(old, _)| *old == version) {
        return Some((version, body.clone()));
    }
    let body = serde_json::from_slice(resource.body());
    let body = body.inspect_err(
        |error| tracing::error!(resource = &**name, %error, "unreadable resource of an l7mp proxy"),
    );
    Some((version, Arc::new(body.ok()?)))
}
