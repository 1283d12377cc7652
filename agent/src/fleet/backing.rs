//! What stands behind a listener that a proxy runs: its cluster and assignment ([`Backing`]).
//!
//! A proxy that refuses a listener's new version keeps the old one. An edit may have given the listener's cluster other
//! endpoints too: the old version must not lead to those. So the accepted cluster and assignment are noted before the
//! new version is sent, and are served again once it is refused, until it is accepted.

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
    /// The cluster's sources, see [`sources`]; `None`: not known.
    pub sources: Option<u64>,
}

/// A listener whose new version a proxy refused, and whose cluster the edit changed.
pub struct LeftBehind {
    /// The listener.
    pub listener: Name,
    /// What its old version leads to.
    pub backing: Backing,
    /// The refusal may pass, and the new version is tried again: what stands behind that is needed too.
    pub tried_again: bool,
}

/// A hash of what a Plan says of each of its clusters, by the name that the proxies know. It changes with the cluster's
/// endpoint sources, not with the endpoints that they stand for.
pub fn sources(request: &Request<'_>) -> BTreeMap<Name, u64> {
    let of = |cluster: &Cluster| (request.cluster_name(&cluster.name), digest(cluster));
    request.plan.clusters.iter().map(of).collect()
}

/// A hash of all that a Plan says of a cluster but for the name, as the hub wrote it: agents of other versions kept it.
pub fn digest(cluster: &Cluster) -> u64 {
    let nameless = plan::Cluster { name: String::new(), ..cluster.into() };
    xxh3_64(&nameless.encode_to_vec())
}

/// Serves these backings in the place of what was made for their listeners, and returns the clusters that it put back,
/// with their sources. A cluster that another listener leads to stays as it was made.
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
