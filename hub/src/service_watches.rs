//! The hub's watches of Services and EndpointSlices. Entry point: [`spawn`].
//!
//! They run only if objects of some kind look up Services, or select by them ([`Row::services`](crate::row::Row)).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Service, ServiceSpec};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::runtime::watcher;
use kube::{Client, ResourceExt};
use portreeve_runtime::watch::{Verbs, revision, run};
use portreeve_runtime::{Readiness, Tasks};
use portreeve_xds::Name;

use crate::feed::Feed;
use crate::namespaces::Namespaces;
use crate::pulse::PATIENCE;
use crate::slices::{ServiceSlices, Slice};
use crate::watches::api;
use crate::watermark::{Watched, WatchedKind};

/// A Service's namespace and name, its spec, and its revision.
type Found = ((Name, Name), Arc<ServiceSpec>, u64);

/// The Services of one namespace or of all.
struct Services {
    feed: Arc<Feed>,
    of: Watched,
    known: BTreeSet<(Name, Name)>,
}

/// The EndpointSlices of one namespace or of all.
struct EndpointSlices {
    feed: Arc<Feed>,
    of: Watched,
    slices: ServiceSlices,
}

/// Starts both watches in each of the `served` namespaces. `readiness` is reached when each has its first complete list.
pub fn spawn(
    tasks: &mut Tasks,
    client: &Client,
    feed: &Arc<Feed>,
    served: &Namespaces,
    readiness: &Readiness,
) {
    let config = watcher::Config::default;
    for namespace in served.watched() {
        let of = |kind| Watched { kind, namespace: namespace.clone() };
        let services = api::<Service>(client, namespace.as_ref());
        let verbs = Services { feed: feed.clone(), of: of(WatchedKind::SERVICES), known: BTreeSet::new() };
        tasks.spawn("watch of Services", run(services, config(), readiness.guard("services"), strip, verbs));
        let slices = api::<EndpointSlice>(client, namespace.as_ref());
        let of = of(WatchedKind::ENDPOINT_SLICES);
        let verbs = EndpointSlices { feed: feed.clone(), of, slices: ServiceSlices::default() };
        let strip = |slice: EndpointSlice| Some((Slice::from_kube(&slice), revision(&slice)));
        let guard = readiness.guard("endpointslices");
        tasks.spawn("watch of EndpointSlices", run(slices, config(), guard, strip, verbs));
    }
}

fn strip(service: Service) -> Option<Found> {
    let at = (service.namespace().unwrap_or_default().into(), service.name_any().into());
    let revision = revision(&service);
    Some((at, Arc::new(service.spec.unwrap_or_default()), revision))
}

// === impl Services ===

impl Verbs<Found> for Services {
    const LONGEST_PAUSE: Duration = PATIENCE;
    const ASKS_REVISION: bool = true;

    fn failed(&mut self, _error: &watcher::Error) {
        self.feed.watch_failed(self.of.kind);
    }

    fn up_to(&mut self, revision: u64) {
        self.feed.seen_up_to(&self.of, revision);
    }

    fn apply(&mut self, (at, spec, revision): Found) {
        self.known.insert(at.clone());
        self.feed.change(self.of.clone(), revision, |index, _| index.set_service(at, Some(spec)));
    }

    fn delete(&mut self, (at, _, revision): Found) {
        self.known.remove(&at);
        self.feed.change(self.of.clone(), revision, |index, _| index.set_service(at, None));
    }

    fn reset(&mut self, services: Vec<Found>) {
        let revision = services.iter().map(|(.., revision)| *revision).max().unwrap_or(0);
        let listed = services.iter().map(|(at, ..)| at.clone()).collect();
        let before = std::mem::replace(&mut self.known, listed);
        let gone = before.difference(&self.known);
        self.feed.change(self.of.clone(), revision, |index, _| {
            gone.for_each(|at| index.set_service(at.clone(), None));
            services.into_iter().for_each(|(at, spec, _)| index.set_service(at, Some(spec)));
        });
    }
}

// === impl EndpointSlices ===

impl EndpointSlices {
    /// Passes the endpoints of the changed Services to the index.
    fn publish(&self, changed: &BTreeSet<(Name, Name)>, revision: u64) {
        self.feed.change(self.of.clone(), revision, |index, now| {
            for service in changed {
                index.set_slices(service, self.slices.of(service).as_ref(), now);
            }
        });
    }
}

impl Verbs<(Slice, u64)> for EndpointSlices {
    const LONGEST_PAUSE: Duration = PATIENCE;
    const ASKS_REVISION: bool = true;

    fn failed(&mut self, _error: &watcher::Error) {
        self.feed.watch_failed(self.of.kind);
    }

    fn up_to(&mut self, revision: u64) {
        self.feed.seen_up_to(&self.of, revision);
    }

    fn apply(&mut self, (slice, revision): (Slice, u64)) {
        let changed = self.slices.apply(slice);
        self.publish(&changed, revision);
    }

    fn delete(&mut self, (slice, revision): (Slice, u64)) {
        let changed = self.slices.delete(&slice.at);
        self.publish(&changed, revision);
    }

    fn reset(&mut self, slices: Vec<(Slice, u64)>) {
        let revision = slices.iter().map(|(_, revision)| *revision).max().unwrap_or(0);
        let changed = self.slices.reset(slices.into_iter().map(|(slice, _)| slice).collect());
        self.publish(&changed, revision);
    }
}
