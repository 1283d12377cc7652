//! The desired state of a proxy, from its view: [`whole`], [`changes`].

use std::sync::Arc;

use portreeve_agent_core::translate::l7mp::L7mp;
use portreeve_l7mp::{Changes, ClusterEntry, Desired};
use portreeve_xds::{Name, Resource, Snapshot, Version};
use serde::de::DeserializeOwned;

/// Returns what a proxy is to have. While the view is not `sure`, nothing that the proxy has is deleted.
pub fn whole(snapshot: &Snapshot<L7mp>, sure: bool) -> Desired {
    let names = |ty: L7mp| snapshot.iter(ty).map(move |(name, _)| (ty, name.clone()));
    let all = names(L7mp::Cluster).chain(names(L7mp::Rule)).chain(names(L7mp::Listener)).collect();
    let mut desired = Desired { keep_all: !sure, ..Desired::default() };
    desired.apply(changes(snapshot, all));
    desired
}

/// Returns the changes of a proxy's desired state for resources that changed.
pub fn changes(snapshot: &Snapshot<L7mp>, changed: Vec<(L7mp, Name)>) -> Changes {
    let mut changes = Changes::default();
    for (ty, name) in changed {
        match ty {
            L7mp::Cluster | L7mp::Endpoints => {
                let entry = cluster(snapshot, &name);
                changes.clusters.insert(name, entry);
            }
            L7mp::Rule => {
                let body = read(snapshot.get(L7mp::Rule, &name));
                changes.insertions.insert(name, body);
            }
            L7mp::Listener => {
                let body = read(snapshot.get(L7mp::Listener, &name));
                changes.listeners.insert(name, body);
            }
        }
    }
    changes
}

fn cluster(snapshot: &Snapshot<L7mp>, name: &Name) -> Option<ClusterEntry> {
    let (version, cluster) = read(snapshot.get(L7mp::Cluster, name))?;
    let (endpoints_version, endpoints) = read(snapshot.get(L7mp::Endpoints, name))?;
    Some(ClusterEntry { version, cluster, endpoints_version, endpoints })
}

/// Reads a resource. One that can't be read is left out, which would be a bug of its translation.
fn read<B: DeserializeOwned>(resource: Option<&Arc<Resource>>) -> Option<(Version, Arc<B>)> {
    let resource = resource?;
    let body = serde_json::from_slice(resource.body());
    let body = body.inspect_err(
        |error| tracing::error!(resource = &**resource.name(), %error, "unreadable resource of an l7mp proxy"),
    );
    Some((resource.version(), Arc::new(body.ok()?)))
}
