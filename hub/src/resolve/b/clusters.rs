//! Clusters: those that an object defines, and those derived from the VirtualService or Service that they lead to.

use std::num::NonZeroU16;
use std::time::Duration;

use k8s_openapi::api::core::v1::{ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use portreeve_api::b::form::{
    BalancerForm, ClusterForm, EndpointForm, PodFilter, Policy, VirtualServiceForm,
};
use portreeve_api::b::virtual_service::{self, VirtualService};
use portreeve_api::conditions::Reason;
use portreeve_api::model::{
    Balancer, Cluster, Elsewhere, EndpointSource, HeaderField, Protocol, Socket, Source,
};
use portreeve_api::refs::ObjectRef;

use super::reference::Reference;
use super::{Resolving, json_socket, model};
use crate::object::Rejection;
use crate::resolve::health;
use crate::selection::{PodSelection, Selection};

/// The interval between two health checks. No field of these objects sets it.
const INTERVAL: Duration = Duration::from_secs(1);

/// A cluster of the Plan that a route leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Lead {
    /// Its name in the Plan.
    pub(super) cluster: String,
    /// The protocol spoken to its endpoints. `None`: only the proxy knows.
    pub(super) protocol: Option<Protocol>,
}

/// What a cluster takes from the VirtualService or Service that it leads to.
pub(super) struct Derived {
    /// The protocol and port.
    pub(super) socket: Socket,
    /// The endpoints.
    pub(super) endpoints: Vec<EndpointSource>,
}

// === impl Resolving ===

impl Resolving<'_, '_> {
    /// Adds a cluster that an object in this namespace defines. `field` is the path of its definition.
    pub(super) fn define(
        &mut self,
        name: &str,
        form: &ClusterForm,
        (namespace, field): (&str, &str),
    ) -> Result<Lead, Rejection> {
        let derived = match &form.service {
            Some(service) => match self.derive(&Reference::parse(service, namespace)) {
                Some(derived) => Some(derived),
                None => {
                    let text = format!("{field}: neither a VirtualService nor a Service {service} exists");
                    self.miss(text);
                    return Ok(Lead { cluster: name.to_owned(), protocol: None });
                }
            },
            None => None,
        };
        let (derived, mut endpoints) = derived.map(|one| (one.socket, one.endpoints)).unzip();
        let Some(mut socket) = form.socket.as_ref().map(model::socket).or(derived) else {
            return Err(Rejection::invalid(format!(
                "{field}: it has neither a protocol nor a Service to take it from"
            )));
        };
        let port = port(&socket);
        let endpoints = endpoints.get_or_insert_default();
        for endpoint in &form.endpoints {
            let source = self.endpoint(endpoint, port, (namespace, field));
            endpoints.push(source);
        }
        self.complete(&mut socket);
        let balancer = form.balancer.as_ref().and_then(|balancer| self.balancer(balancer));
        Ok(self.put(name, socket, std::mem::take(endpoints), balancer))
    }

    /// Adds a cluster.
    pub(super) fn put(
        &mut self,
        name: &str,
        socket: Socket,
        endpoints: Vec<EndpointSource>,
        balancer: Option<Balancer>,
    ) -> Lead {
        let protocol = Some(socket.protocol);
        let place = Elsewhere::Proxy(String::new());
        let checked = endpoints.iter().any(|one| one.health_port.is_some());
        let cluster = Cluster {
            socket: Some(socket),
            endpoints,
            balancer,
            health_check: checked.then(|| health::check(INTERVAL, None)),
            elsewhere: None,
            ..Cluster::elsewhere(name, place)
        };
        self.clusters.insert(name.to_owned(), cluster);
        Lead { cluster: name.to_owned(), protocol }
    }

    /// Returns protocol, port and pods of the VirtualService or Service with this name; `None` if neither exists.
    pub(super) fn derive(&mut self, reference: &Reference) -> Option<Derived> {
        let Reference { namespace, name, .. } = reference;
        let object = ObjectRef::namespaced(&virtual_service::KIND, namespace.clone(), name.clone());
        let known = reference.may_be(object.kind);
        if let Some(form) = known.then(|| self.lookup.object::<VirtualService>(&object)).flatten() {
            return self.of_virtual_service(&form.form().ok()?, namespace, &object.title());
        }
        let service = self.lookup.service(namespace, name).filter(|_| reference.short)?;
        self.of_service(service, reference)
    }

    /// Returns the protocol of the VirtualService or Service with this name; `None` if neither exists.
    pub(super) fn listens(&mut self, reference: &Reference) -> Option<Protocol> {
        let (groups, missing) = (self.groups.clone(), self.missing.clone());
        let derived = self.derive(reference);
        // Its pods are the endpoints of another Plan.
        (self.groups, self.missing) = (groups, missing);
        derived.map(|derived| derived.socket.protocol)
    }

    fn of_virtual_service(
        &mut self,
        form: &VirtualServiceForm,
        namespace: &str,
        title: &str,
    ) -> Option<Derived> {
        let mut socket = model::socket(&form.listener.socket);
        // These belong to the listener.
        socket.connect = None;
        socket.settings.clear();
        if let Some(path) = socket.filename.take() {
            let source = EndpointSource { name: title.into(), from: Source::File(path), ..unnamed(None) };
            return Some(Derived { socket, endpoints: vec![source] });
        }
        let (port, from) = (port(&socket), self.group(&form.filter, namespace, title));
        self.complete(&mut socket);
        let health_port = form.listener.rules.as_ref().map(|_| portreeve_api::pod::L7MP_PORT);
        let source = EndpointSource { name: title.into(), from, health_port, ..unnamed(port) };
        Some(Derived { socket, endpoints: vec![source] })
    }

    fn of_service(&mut self, service: &ServiceSpec, reference: &Reference) -> Option<Derived> {
        let title = format!("Service {}/{}", reference.namespace, reference.name);
        let ports = service.ports.as_deref().unwrap_or_default();
        let Some((first, others)) = ports.split_first() else {
            self.miss(format!("{title} has no port"));
            return None;
        };
        if !others.is_empty() {
            let text =
                format!("{title} has several ports, the first is used: define a Target to choose another");
            self.warn(Reason::Unsupported, text);
        }
        let port = pod_port(first);
        let protocol = match first.protocol.as_deref() {
            None | Some("TCP") => Protocol::Tcp,
            Some("UDP") => Protocol::Udp,
            Some(other) => {
                self.miss(format!("{title} has the protocol {other}, which l7mp doesn't have"));
                return None;
            }
        };
        let selection = match service.selector.as_ref().filter(|labels| !labels.is_empty()) {
            Some(labels) => Selection::Pods(PodSelection {
                namespace: Some(reference.namespace.clone()),
                selector: portreeve_api::selector::from_map(labels),
                ..PodSelection::default()
            }),
            None => {
                Selection::Service { namespace: reference.namespace.clone(), name: reference.name.clone() }
            }
        };
        let source = EndpointSource { name: title, from: self.use_group(selection), ..unnamed(port) };
        Some(Derived { socket: Socket::new(protocol, port), endpoints: vec![source] })
    }

    /// Gives a JSONSocket without a header the one that carries the session's labels on.
    fn complete(&mut self, socket: &mut Socket) {
        if socket.protocol == Protocol::JsonSocket && socket.header.is_empty() {
            let from = json_socket::labels(self.json_socket);
            let field =
                HeaderField { from: Some(from.into()), to: Some("/labels".into()), key: None, value: None };
            socket.header.push(field);
        }
        if let Some(query) = socket.settings.get_mut("query").filter(|_| self.json_socket) {
            *query = json_socket::path(query);
        }
    }

    pub(super) fn balancer(&self, form: &BalancerForm) -> Option<Balancer> {
        match form.policy {
            Policy::Trivial => None,
            Policy::ConsistentHash => {
                let key = form.key.clone().unwrap_or_default();
                let key = if self.json_socket { json_socket::path(&key) } else { key };
                Some(Balancer::MetadataPath(key))
            }
        }
    }

    fn endpoint(
        &mut self,
        form: &EndpointForm,
        port: Option<NonZeroU16>,
        (namespace, field): (&str, &str),
    ) -> EndpointSource {
        match form {
            EndpointForm::Static { name, source, weight } => EndpointSource {
                name: name.clone().unwrap_or_default(),
                from: model::source(source),
                weight: *weight,
                ..unnamed(port)
            },
            EndpointForm::Selected(filter) => {
                let from = self.group(filter, namespace, field);
                EndpointSource {
                    name: "selector".into(),
                    from,
                    health_port: self.health_port,
                    ..unnamed(port)
                }
            }
        }
    }

    fn group(&mut self, filter: &PodFilter, namespace: &str, field: &str) -> Source {
        let pods = self.pods(filter, namespace, field);
        self.use_group(Selection::Pods(pods))
    }

    fn use_group(&mut self, selection: Selection) -> Source {
        let name = selection.name();
        if !self.groups.contains(&selection) {
            self.groups.push(selection);
        }
        Source::Group(name)
    }
}

fn unnamed(port: Option<NonZeroU16>) -> EndpointSource {
    let from = Source::Unknown;
    EndpointSource { name: String::new(), from, port, health_port: None, weight: None, source: None }
}

/// Returns the port of a socket or of the transport under it.
fn port(socket: &Socket) -> Option<NonZeroU16> {
    socket.port.or_else(|| socket.transport.as_ref().and_then(|transport| port(transport)))
}

/// Returns the port of a Service's pods. A port by name is that of the Service.
fn pod_port(port: &ServicePort) -> Option<NonZeroU16> {
    let number = match &port.target_port {
        Some(IntOrString::Int(number)) => *number,
        Some(IntOrString::String(_)) | None => port.port,
    };
    u16::try_from(number).ok().and_then(NonZeroU16::new)
}
