//! Services of a folder, for a host without cluster DNS and kube-proxy: the addresses that a host name resolves to, and
//! the port of each. Entry point: [`Services::lead`].

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use k8s_openapi::api::core::v1::{Pod as KubePod, Service, ServicePort};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::ResourceExt;
use portreeve_api::pod::Pod;

/// Fully qualified host names (without the final dot) and their addresses.
pub type Names = BTreeMap<String, Vec<IpAddr>>;

/// The Services of a folder, and the pods that they select.
pub struct Services<'a> {
    domain: &'a str,
    named: BTreeMap<String, (&'a Service, Vec<Backend<'a>>)>,
}

/// A pod that a Service selects and that can take traffic.
struct Backend<'a> {
    ip: IpAddr,
    pod: &'a KubePod,
}

/// Ports of a pod: the traffic port and the health check port.
type Ports = (i32, Option<i32>);

/// An endpoint with a host name.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'w> {
    /// The namespace of the object that has the endpoint.
    pub namespace: &'w str,
    /// The host name.
    pub host: &'w str,
    /// The port for traffic.
    pub port: i32,
    /// The port for health checks.
    pub health_port: Option<i32>,
    /// Protocol: `UDP` or `TCP`.
    pub protocol: &'w str,
}

/// The replacement of an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// A fully qualified host name, with the final dot.
    pub host: String,
    /// The pods' port for traffic.
    pub port: i32,
    /// The pods' port for health checks.
    pub health_port: Option<i32>,
}

/// The effect of a Service on an endpoint's ports.
enum Route {
    /// The endpoint stays as it is.
    Same,
    /// The endpoint is replaced by the pods, grouped by their ports.
    To(BTreeMap<Ports, Vec<IpAddr>>),
    /// No pod can be reached, for this reason.
    Nowhere(String),
}

// === impl Services ===

impl<'a> Services<'a> {
    /// Creates the set of Services of a folder, with the cluster's DNS domain.
    pub fn new(services: &'a [Service], pods: &'a [KubePod], domain: &'a str) -> Self {
        let known: Vec<(Pod, &KubePod)> =
            pods.iter().filter_map(|pod| Some((Pod::from_kube(pod.into())?, pod))).collect();
        let named = services.iter().map(|service| {
            let namespace = service.namespace().unwrap_or_else(|| "default".into());
            let name = format!("{}.{namespace}.svc.{domain}", service.name_any()).to_ascii_lowercase();
            (name, (service, backends(service, &namespace, &known)))
        });
        Self { domain, named: named.collect() }
    }

    /// Returns the addresses of all Services: those of the pods that a Service selects in its namespace, or its cluster
    /// IP if it has no selector.
    pub fn names(&self) -> Names {
        let addresses = |(service, backends): &(&Service, Vec<Backend<'_>>)| match selects(service) {
            true => backends.iter().map(|backend| backend.ip).collect(),
            false => cluster_ip(service).and_then(|ip| ip.parse().ok()).into_iter().collect(),
        };
        self.named.iter().map(|(name, entry)| (name.clone(), addresses(entry))).collect()
    }

    /// Replaces an endpoint whose host name is a Service's, as kube-proxy would: by the pods with the `targetPort` of
    /// the Service's port, given by number or by each pod's port name. A headless Service changes no port. New host
    /// names are added to `names`. Returns `None` if the endpoint stays as it is, and a message with the field if a
    /// port leads to no pod.
    pub fn lead(&self, wanted: &Wanted<'_>, names: &mut Names) -> (Option<Vec<Target>>, Option<String>) {
        let Some((name, (service, backends))) = self.find(wanted.namespace, wanted.host) else {
            return (None, None);
        };
        let title = service.name_any();
        let unchecked = wanted.health_port.filter(|port| port_of(service, *port, "TCP").is_none());
        match route(service, backends, wanted) {
            Route::Same => (None, None),
            Route::Nowhere(wrong) => {
                let nowhere = format!("no-port-{}.{name}", wanted.port);
                names.insert(nowhere.clone(), Vec::new());
                let target = Target::new(&nowhere, (wanted.port, wanted.health_port));
                (Some(vec![target]), Some(format!("port: {wrong}")))
            }
            Route::To(groups) => {
                let whole =
                    groups.values().map(Vec::len).sum::<usize>() == backends.len() && groups.len() == 1;
                let wrong = unchecked
                    .map(|port| format!("health_check_port: Service {title} has no TCP port {port}"));
                let targets = groups.into_iter().map(|(ports, addresses)| {
                    if whole {
                        return Target::new(name, ports);
                    }
                    let made_up = format!("{}-{}.{name}", ports.0, ports.1.unwrap_or(0));
                    names.insert(made_up.clone(), addresses);
                    Target::new(&made_up, ports)
                });
                (Some(targets.collect()), wrong)
            }
        }
    }

    /// Returns the Service that a host name resolves to in a namespace, using the DNS search list of a pod there.
    fn find(&self, namespace: &str, host: &str) -> Option<(&String, &(&'a Service, Vec<Backend<'a>>))> {
        if let Some(complete) = host.strip_suffix('.') {
            return self.named.get_key_value(complete);
        }
        let domain = self.domain;
        let forms = [
            format!("{host}.{namespace}.svc.{domain}"),
            format!("{host}.svc.{domain}"),
            format!("{host}.{domain}"),
            host.to_owned(),
        ];
        forms.iter().find_map(|form| self.named.get_key_value(form))
    }
}

// === impl Target ===

impl Target {
    /// Creates the fully qualified host name of these pods and ports. It is looked up without the search list.
    fn new(name: &str, (port, health_port): Ports) -> Self {
        Self { host: format!("{name}."), port, health_port }
    }
}

fn route(service: &Service, backends: &[Backend<'_>], wanted: &Wanted<'_>) -> Route {
    let protocol = wanted.protocol;
    let ports = service.spec.iter().flat_map(|spec| spec.ports.iter().flatten()).count();
    if !selects(service) || cluster_ip(service) == Some("None") || ports == 0 {
        return Route::Same;
    }
    let Some(port) = port_of(service, wanted.port, protocol) else {
        let title = service.name_any();
        return Route::Nowhere(format!("Service {title} has no {protocol} port {}", wanted.port));
    };
    let mut groups: BTreeMap<Ports, Vec<IpAddr>> = BTreeMap::new();
    for backend in backends {
        let checked = wanted.health_port.map(|wanted| {
            let known = port_of(service, wanted, "TCP").and_then(|port| target(port, backend.pod));
            known.unwrap_or(wanted)
        });
        if let Some(target) = target(port, backend.pod) {
            groups.entry((target, checked)).or_default().push(backend.ip);
        }
    }
    let same = (wanted.port, wanted.health_port);
    if backends.is_empty() || groups.get(&same).is_some_and(|pods| pods.len() == backends.len()) {
        return Route::Same;
    }
    match groups.is_empty() {
        true => Route::Nowhere(format!("no pod of Service {} has its targetPort", service.name_any())),
        false => Route::To(groups),
    }
}

fn port_of<'s>(service: &'s Service, wanted: i32, protocol: &str) -> Option<&'s ServicePort> {
    let mut ports = service.spec.iter().flat_map(|spec| spec.ports.iter().flatten());
    ports.find(|port| port.port == wanted && port.protocol.as_deref().unwrap_or("TCP") == protocol)
}

/// Returns the pod's port that a Service's port leads to, or `None` if the pod has no port of that name.
fn target(port: &ServicePort, pod: &KubePod) -> Option<i32> {
    match &port.target_port {
        None => Some(port.port),
        Some(IntOrString::Int(number)) => Some(*number),
        Some(IntOrString::String(name)) => {
            let protocol = port.protocol.as_deref().unwrap_or("TCP");
            let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
            let mut named = containers.flat_map(|container| container.ports.iter().flatten());
            let fits = named.find(|found| {
                found.name.as_ref() == Some(name) && found.protocol.as_deref().unwrap_or("TCP") == protocol
            });
            fits.map(|found| found.container_port)
        }
    }
}

fn selects(service: &Service) -> bool {
    service.spec.as_ref().and_then(|spec| spec.selector.as_ref()).is_some_and(|selector| !selector.is_empty())
}

fn cluster_ip(service: &Service) -> Option<&str> {
    service.spec.as_ref()?.cluster_ip.as_deref()
}

fn backends<'a>(service: &Service, namespace: &str, pods: &[(Pod, &'a KubePod)]) -> Vec<Backend<'a>> {
    let Some(selector) = service.spec.as_ref().and_then(|spec| spec.selector.as_ref()) else {
        return Vec::new();
    };
    let selected = |pod: &Pod| {
        let labels = selector.iter().all(|(key, value)| pod.labels.get(key) == Some(value));
        labels && *pod.namespace == *namespace && pod.terminating_ms == 0 && pod.is_endpoint()
    };
    let mut taken = BTreeSet::new();
    let found = pods.iter().filter(|(pod, _)| selected(pod));
    let found = found.filter_map(|(pod, kube)| Some(Backend { ip: *pod.ips.first()?, pod: kube }));
    found.filter(|backend| taken.insert(backend.ip)).collect()
}
