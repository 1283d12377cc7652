//! The cluster and assignment behind an accepted listener: [`Backing`].
//!
//! A proxy that rejects a listener's new version keeps running the old one. The same edit may have changed
//! the endpoints of the listener's cluster, and the old version must not route to those. So the accepted
//! cluster and assignment are recorded before the new version is sent. If the proxy rejects the new version,
//! they are served again until it accepts one.

use std::collections::BTreeMap;
use std::sync::Arc;

use portreeve_api::model::Cluster;
use portreeve_api::plan;
use portreeve_xds::{Name, Resource};
use prost::Message;
use xxhash_rust::xxh3::xxh3_64;

use super::contribution::Contribution;
use crate::translate::{ProxyModel, Request};

/// The cluster and the assignment behind one accepted listener.
#[derive(Clone, Debug)]
pub struct Backing {
    /// The accepted cluster.
    pub cluster: Arc<Resource>,
    /// The accepted assignment.
    pub assignment: Arc<Resource>,
    /// Hash of the cluster's endpoint sources, see [`sources`]; `None` if unknown.
    pub sources: Option<u64>,
}

/// A listener whose new version was rejected while its cluster changed.
pub struct LeftBehind {
    /// The listener's name.
    pub listener: Name,
    /// The cluster and assignment that the listener's old version uses.
    pub backing: Backing,
    /// The rejection is transient and the new version will be sent again, so the new version's cluster is
    /// served too.
    pub tried_again: bool,
}

/// Returns a hash of each of a Plan's clusters, by the name that the proxies use. The hash changes with the
/// cluster's endpoint sources, not with the endpoints that they resolve to.
pub fn sources(request: &Request<'_>) -> BTreeMap<Name, u64> {
    let of = |cluster: &Cluster| (request.cluster_name(&cluster.name), digest(cluster));
    request.plan.clusters.iter().map(of).collect()
}

/// Returns a hash of a cluster without its name, over the hub's encoding. Other agent versions have stored
/// this hash, so it must not change.
pub fn digest(cluster: &Cluster) -> u64 {
    let nameless = plan::Cluster { name: String::new(), ..cluster.into() };
    xxh3_64(&nameless.encode_to_vec())
}

/// Replaces the clusters and assignments made for these listeners with the recorded ones. Returns the
/// restored clusters with the hashes of their sources. A cluster that another listener uses is not replaced.
pub fn put_back<T: ProxyModel>(
    behind: &[LeftBehind],
    made: &mut Contribution<T>,
) -> BTreeMap<Name, Option<u64>> {
    let mut held = BTreeMap::new();
    if behind.is_empty() {
        return held;
    }
    let leads: BTreeMap<Name, Name> = made
        .resources
        .iter()
        .filter(|((ty, _), _)| *ty == T::LISTENER)
        .filter_map(|((_, name), resource)| Some((name.clone(), T::target(resource.body())?)))
        .collect();
    let shared = |listener: &Name, cluster: &Name| {
        leads.iter().any(|(other, target)| other != listener && target == cluster)
    };
    for LeftBehind { listener, backing, tried_again } in behind {
        let name = backing.cluster.name();
        if shared(listener, name) {
            continue;
        }
        let new = leads.get(listener).filter(|new| *new != name && !tried_again && !shared(listener, new));
        if let Some(new) = new {
            made.resources.remove(&(T::CLUSTER, new.clone()));
            made.resources.remove(&(T::ASSIGNMENT, new.clone()));
        }
        made.resources.insert((T::CLUSTER, name.clone()), backing.cluster.clone());
        made.resources.insert((T::ASSIGNMENT, name.clone()), backing.assignment.clone());
        held.insert(name.clone(), backing.sources);
    }
    held
}
