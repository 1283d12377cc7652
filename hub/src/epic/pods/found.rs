//! The Deployments of load balancers that exist ([`Found`]), from a watch on their metadata ([`spawn`]).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use kube::core::PartialObjectMeta;
use kube::runtime::watcher;
use kube::{Client, ResourceExt as _};
use portreeve_api::c::load_balancer;
use portreeve_api::refs::ObjectRef;
use portreeve_runtime::watch::{Verbs, run};
use portreeve_runtime::{Guard, Tasks};
use portreeve_xds::Name;
use tokio::sync::Notify;

use super::deployment::{MANAGED_BY, MANAGER};
use crate::namespaces::Namespaces;
use crate::pulse::PATIENCE;

/// The Deployments that exist, by load balancer.
#[derive(Default)]
pub struct Found {
    state: Mutex<State>,
    /// Notified when there are load balancers to take by [`Found::take_changed`].
    pub news: Notify,
}

#[derive(Default)]
struct State {
    known: BTreeMap<ObjectRef, Present>,
    changed: BTreeSet<ObjectRef>,
}

/// A Deployment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Present {
    /// The name.
    pub name: String,
    /// The uid.
    pub uid: Option<String>,
    /// The generation, which counts changes of the spec.
    pub generation: Option<i64>,
}

/// The Deployments of one namespace or of all.
struct Follower {
    found: Arc<Found>,
    namespace: Option<Name>,
}

/// Watches the Deployments in each of the `served` namespaces.
pub fn spawn(tasks: &mut Tasks, client: &Client, found: &Arc<Found>, served: &Namespaces) {
    for namespace in served.watched() {
        let deployments = match &namespace {
            Some(namespace) => kube::Api::namespaced(client.clone(), namespace),
            None => kube::Api::all(client.clone()),
        };
        let config = watcher::Config::default().labels(&format!("{MANAGED_BY}={MANAGER},app=epic"));
        let follower = Follower { found: found.clone(), namespace };
        tasks.spawn("watch of EPIC's Deployments", run(deployments, config, None::<Guard>, strip, follower));
    }
}

/// Returns a Deployment with the load balancer that owns it.
fn strip(one: PartialObjectMeta<Deployment>) -> Option<(ObjectRef, Present)> {
    let kind = &load_balancer::KIND;
    let owner = one.owner_references().iter().find(|owner| owner.kind == kind.name)?;
    let key = ObjectRef::namespaced(kind, one.namespace()?, owner.name.as_str());
    Some((key, Present { name: one.name_any(), uid: one.uid(), generation: one.metadata.generation }))
}

// === impl Found ===

impl Found {
    /// Returns the Deployment of a load balancer, as it was seen last.
    pub fn of(&self, load_balancer: &ObjectRef) -> Option<Present> {
        self.lock().known.get(load_balancer).cloned()
    }

    /// Takes the load balancers whose Deployments changed since the last call.
    pub fn take_changed(&self) -> BTreeSet<ObjectRef> {
        std::mem::take(&mut self.lock().changed)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.news.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Follower ===

impl Verbs<(ObjectRef, Present)> for Follower {
    const LONGEST_PAUSE: Duration = PATIENCE;

    fn apply(&mut self, (key, present): (ObjectRef, Present)) {
        self.found.change(|state| {
            state.changed.insert(key.clone());
            state.known.insert(key, present);
        });
    }

    fn delete(&mut self, (key, present): (ObjectRef, Present)) {
        self.found.change(|state| {
            if state.known.get(&key).is_some_and(|known| known.uid == present.uid) {
                state.known.remove(&key);
            }
            state.changed.insert(key);
        });
    }

    fn reset(&mut self, all: Vec<(ObjectRef, Present)>) {
        self.found.change(|state| {
            let is_here = |key: &ObjectRef| self.namespace.as_ref().is_none_or(|one| *one == key.namespace);
            let (before, others) =
                std::mem::take(&mut state.known).into_iter().partition(|(key, _)| is_here(key));
            let before: BTreeMap<ObjectRef, Present> = before;
            state.known = others;
            state.changed.extend(before.into_keys());
            state.changed.extend(all.iter().map(|(key, _)| key.clone()));
            state.known.extend(all);
        });
    }
}
