//! The watches of the customer's cluster: [`watch_all`] keeps [`Seen`] up to date.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddrV4};
use std::sync::{Arc, Mutex, PoisonError};

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::runtime::watcher;
use kube::{Api, Client, ResourceExt as _};
use portreeve_epic::path::Target;
use portreeve_gue::announced::{Announcement, Cluster, Ordered, PodPort};
use portreeve_gue::customer::Object;
use portreeve_gue::ipv4::Transport;
use portreeve_runtime::watch::{self, Verbs};
use portreeve_runtime::{Readiness, Tasks};
use tokio::sync::Notify;

use super::web::path_of;

/// The annotations by which PureLB marks Services.
const SERVICE: &str = "acnodal.io/serviceURL";
const ENDPOINTS: &str = "acnodal.io/endpointcreateURL";
const CLUSTER: &str = "acnodal.io/clusterURL";

/// The label of an EndpointSlice with its Service's name.
const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// What is known of the customer's cluster.
#[derive(Default)]
pub struct Seen {
    cluster: Mutex<Cluster>,
    /// Waits for the first list of each kind.
    listed: Readiness,
    /// Notified when something changed.
    pub changed: Notify,
}

/// The verbs of the watch of Services.
struct Services(Arc<Seen>);

/// The verbs of the watch of EndpointSlices.
struct Slices(Arc<Seen>);

// === impl Seen ===

impl Seen {
    /// Returns what the node announces; `None` before everything was listed.
    pub fn announcements(&self) -> Option<BTreeSet<Announcement>> {
        let cluster = self.cluster.lock().unwrap_or_else(PoisonError::into_inner);
        self.listed.waiting().is_empty().then(|| cluster.announcements())
    }

    fn change(&self, change: impl FnOnce(&mut Cluster)) {
        change(&mut self.cluster.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_one();
    }
}

/// Starts the watches of a cluster's Services, and of their pods on a node.
pub fn watch_all(tasks: &mut Tasks, client: &Client, node: &str, seen: &Arc<Seen>) {
    let config = watcher::Config::default();
    let (services, slices) = (Api::<Service>::all(client.clone()), Api::<EndpointSlice>::all(client.clone()));
    let guards = ["services", "endpointslices"].map(|name| seen.listed.guard(name));
    let [of_services, of_slices] = guards;
    let strip = |one: Service| Some(((one.namespace().unwrap_or_default(), one.name_any()), ordered(&one)));
    let verbs = Services(seen.clone());
    tasks.spawn("watch of services", watch::run(services, config.clone(), of_services, strip, verbs));
    let node = node.to_owned();
    let strip = move |one: EndpointSlice| {
        Some(((one.namespace().unwrap_or_default(), one.name_any()), ports(&one, &node)))
    };
    tasks
        .spawn("watch of endpointslices", watch::run(slices, config, of_slices, strip, Slices(seen.clone())));
}

/// Returns EPIC's load balancer for a Service; `None` if it has none.
fn ordered(service: &Service) -> Option<Ordered> {
    let of = |key: &str| path_of(service.annotations().get(key)?).ok();
    let Some(Target::Cluster { cluster, .. }) = Target::parse(&of(CLUSTER)?) else { return None };
    Some(Ordered { path: of(SERVICE)?, create_endpoint: of(ENDPOINTS)?, cluster })
}

/// Returns the Service of an EndpointSlice, and the ports of its ready pods on a node; `None` if there are none.
fn ports(slice: &EndpointSlice, node: &str) -> Option<(Object, Vec<PodPort>)> {
    let service = slice.labels().get(SERVICE_NAME)?.clone();
    let here = slice.endpoints.iter().filter(|one| one.node_name.as_deref() == Some(node));
    let ready = here.filter(|one| one.conditions.as_ref().is_none_or(|all| all.ready.unwrap_or(true)));
    let addresses = ready.filter_map(|one| match one.addresses.first()?.parse() {
        Ok(IpAddr::V4(address)) => Some(address),
        _ => None,
    });
    let addresses: Vec<_> = addresses.collect();
    let mut all = Vec::new();
    for port in slice.ports.iter().flatten() {
        let transport = match port.protocol.as_deref() {
            None | Some("TCP") => Transport::Tcp,
            Some("UDP") => Transport::Udp,
            Some(_) => continue,
        };
        let Some(number) = port.port.and_then(|number| u16::try_from(number).ok()) else { continue };
        let name = port.name.clone().unwrap_or_default();
        let of = |address| PodPort { name: name.clone(), transport, at: SocketAddrV4::new(address, number) };
        all.extend(addresses.iter().copied().map(of));
    }
    let service = (slice.namespace().unwrap_or_default(), service);
    Some((service, all)).filter(|(_, all)| !all.is_empty())
}

// === impl Services ===

impl Verbs<(Object, Option<Ordered>)> for Services {
    fn apply(&mut self, (object, ordered): (Object, Option<Ordered>)) {
        self.0.change(|cluster| cluster.set_service(object, ordered));
    }

    fn delete(&mut self, (object, _): (Object, Option<Ordered>)) {
        self.0.change(|cluster| cluster.set_service(object, None));
    }

    fn reset(&mut self, all: Vec<(Object, Option<Ordered>)>) {
        self.0.change(|cluster| {
            cluster.keep_services(&all.iter().map(|(object, _)| object.clone()).collect());
            all.into_iter().for_each(|(object, ordered)| cluster.set_service(object, ordered));
        });
    }
}

// === impl Slices ===

/// An EndpointSlice with its Service and its ports on the node.
type Slice = (Object, Option<(Object, Vec<PodPort>)>);

impl Verbs<Slice> for Slices {
    fn apply(&mut self, (object, ports): Slice) {
        self.0.change(|cluster| cluster.set_slice(object, ports));
    }

    fn delete(&mut self, (object, _): Slice) {
        self.0.change(|cluster| cluster.set_slice(object, None));
    }

    fn reset(&mut self, all: Vec<Slice>) {
        self.0.change(|cluster| {
            cluster.keep_slices(&all.iter().map(|(object, _)| object.clone()).collect());
            all.into_iter().for_each(|(object, ports)| cluster.set_slice(object, ports));
        });
    }
}
