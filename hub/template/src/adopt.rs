//! Prepares a template's resources for an Envoy that other accounts use too: [`adopt`] (seed C15, C16).
//!
//! Names become those of the LoadBalancer, so that equal names of two templates don't meet. A template refers only to its own
//! clusters, routes that it has as a resource are put into their listeners, and sockets are open while the address is on
//! another node.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use portreeve_api::c::address::is_of_machine;
use prost_reflect::{DynamicMessage, Kind, ReflectMessage as _, Value};

use crate::convert;
use crate::descriptors::Descriptors;
use crate::facts::Facts;
use crate::references;
use crate::rendered::{Rendered, Resource, Socket};

const ANY: &str = "google.protobuf.Any";
const CLUSTER: &str = "envoy.config.cluster.v3.Cluster";
const CONNECTIONS: &str = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
const SOCKET_ADDRESS: &str = "envoy.config.core.v3.SocketAddress";

/// `Cluster.DiscoveryType.ORIGINAL_DST`, whose endpoints the client names.
const ORIGINAL_DESTINATION: i32 = 4;

/// What an Envoy gets for a LoadBalancer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Adopted {
    /// The listeners.
    pub listeners: Vec<AdoptedListener>,
    /// The clusters.
    pub clusters: Vec<AdoptedCluster>,
}

/// A listener for an Envoy.
#[derive(Clone, Debug, PartialEq)]
pub struct AdoptedListener {
    /// Its name in the template.
    pub name: String,
    /// Its sockets.
    pub sockets: Vec<Socket>,
    /// `envoy.config.listener.v3.Listener`
    pub body: Vec<u8>,
}

/// A cluster for an Envoy.
#[derive(Clone, Debug, PartialEq)]
pub struct AdoptedCluster {
    /// Its name in the template.
    pub name: String,
    /// The name in the template of what it asks for by EDS. `None`: it has its endpoints.
    pub eds_service_name: Option<String>,
    /// `envoy.config.cluster.v3.Cluster`
    pub body: Vec<u8>,
    /// `envoy.config.endpoint.v3.ClusterLoadAssignment`, if the template has one.
    pub assignment: Option<Vec<u8>>,
}

/// A resource that can't be adopted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{from}: {path}{problem}")]
pub struct AdoptError {
    /// The template, for example `envoyResources.listeners[0]`.
    pub from: String,
    /// The field's path with a colon. Empty for the whole resource.
    pub path: String,
    /// What is wrong, and what to do.
    pub problem: String,
}

/// Prepares a template's resources. `name` returns the name in the proxy of a listener or cluster of the template.
///
/// # Errors
/// Returns the first resource that refers to one that the template doesn't have, or that could reach beyond its LoadBalancer.
pub fn adopt(
    rendered: &Rendered,
    facts: &Facts,
    descriptors: &Descriptors,
    name: &dyn Fn(&str) -> String,
) -> Result<Adopted, AdoptError> {
    refuse_unserved(rendered)?;
    let clusters = rendered.upstreams.iter().map(|one| (one.name.clone(), name(&one.name))).collect();
    let mut adopting = Adopting { facts, descriptors, clusters, routes: BTreeMap::new() };
    for route in &rendered.routes {
        let (mut message, mut place) = adopting.read(route)?;
        adopting.walk(&mut message, &mut place)?;
        adopting.routes.insert(route.name.clone(), message);
    }
    let mut adopted = Adopted::default();
    for listener in &rendered.listeners {
        let body = adopting.listener(listener, name)?;
        let own = |socket: &&Socket| socket.listener == listener.name;
        let sockets = rendered.sockets.iter().filter(own).cloned().collect();
        adopted.listeners.push(AdoptedListener { name: listener.name.clone(), sockets, body });
    }
    let mut assignments = adopting.assignments(rendered)?;
    for (cluster, upstream) in rendered.clusters.iter().zip(&rendered.upstreams) {
        let body = adopting.cluster(cluster)?;
        let (name, asked) = (cluster.name.clone(), upstream.eds_service_name.clone());
        let eds_service_name = upstream.is_eds.then_some(asked);
        let assignment = assignments.remove(&upstream.name);
        adopted.clusters.push(AdoptedCluster { name, eds_service_name, body, assignment });
    }
    Ok(adopted)
}

/// Refuses lists that no Envoy asks the hub for.
fn refuse_unserved(rendered: &Rendered) -> Result<(), AdoptError> {
    let error = |from: &str, problem: &str| {
        Err(AdoptError { from: from.to_owned(), path: String::new(), problem: problem.to_owned() })
    };
    if let Some(runtime) = rendered.runtimes.first() {
        return error(
            &runtime.from,
            "runtime values are of a whole Envoy, which accounts share: leave the list out",
        );
    }
    if let Some(secret) = rendered.secrets.first() {
        let problem = "Secrets are not served: put certificate and key into inline_string fields, and leave the list out";
        return error(&secret.from, problem);
    }
    Ok(())
}

/// The state of adopting a template.
struct Adopting<'a> {
    facts: &'a Facts,
    descriptors: &'a Descriptors,
    /// The clusters' names in the template, and in the proxy.
    clusters: BTreeMap<String, String>,
    /// The route configurations by their names in the template.
    routes: BTreeMap<String, DynamicMessage>,
}

/// Where in the template the walk is.
struct Place {
    from: String,
    path: String,
}

// === impl Place ===

impl Place {
    fn error(&self, problem: impl Into<String>) -> AdoptError {
        AdoptError { from: self.from.clone(), path: format!("{}: ", self.path), problem: problem.into() }
    }
}

// === impl Adopting ===

impl Adopting<'_> {
    fn read(&self, resource: &Resource) -> Result<(DynamicMessage, Place), AdoptError> {
        let full_name = resource.type_url.rsplit('/').next().unwrap_or_default();
        let short = full_name.rsplit('.').next().unwrap_or_default();
        let place = Place { from: resource.from.clone(), path: short.to_owned() };
        match self.descriptors.decode(full_name, &resource.value) {
            Ok(message) => Ok((message, place)),
            Err(error) => Err(place.error(error.to_string())),
        }
    }

    fn listener(&self, resource: &Resource, name: &dyn Fn(&str) -> String) -> Result<Vec<u8>, AdoptError> {
        let (mut message, mut place) = self.read(resource)?;
        self.walk(&mut message, &mut place)?;
        message.set_field_by_name("name", Value::String(name(&resource.name)));
        // The address may be on another node, or not yet on this one.
        put(&mut message, "freebind", |yes| yes.set_field_by_name("value", Value::Bool(true)));
        Ok(convert::bytes(self.descriptors, &message))
    }

    fn cluster(&self, resource: &Resource) -> Result<Vec<u8>, AdoptError> {
        let (mut message, mut place) = self.read(resource)?;
        self.walk(&mut message, &mut place)?;
        let name = self.clusters.get(&resource.name).cloned().unwrap_or_default();
        message.set_field_by_name("name", Value::String(name));
        if message.has_field_by_name("eds_cluster_config")
            && let Some(Value::Message(config)) = message.get_field_by_name_mut("eds_cluster_config")
        {
            config.clear_field_by_name("service_name");
        }
        if let Some(source) = self.facts.source {
            bind_to(&mut message, source);
        }
        Ok(convert::bytes(self.descriptors, &message))
    }

    /// Returns the assignments by the names of their clusters in the template.
    fn assignments(&self, rendered: &Rendered) -> Result<BTreeMap<String, Vec<u8>>, AdoptError> {
        let mut assignments = BTreeMap::new();
        for resource in &rendered.endpoints {
            let (mut message, mut place) = self.read(resource)?;
            let asking =
                rendered.upstreams.iter().find(|one| one.is_eds && one.eds_service_name == resource.name);
            let Some(asking) = asking else {
                return Err(place
                    .error(format!("no cluster of type EDS asks for the endpoints of {}", resource.name)));
            };
            message.set_field_by_name("cluster_name", Value::String(asking.name.clone()));
            self.walk(&mut message, &mut place)?;
            assignments.insert(asking.name.clone(), convert::bytes(self.descriptors, &message));
        }
        Ok(assignments)
    }

    /// Walks through a message: renames what it refers to, and refuses what reaches beyond the LoadBalancer.
    fn walk(&self, message: &mut DynamicMessage, place: &mut Place) -> Result<(), AdoptError> {
        let descriptor = message.descriptor();
        let full_name = descriptor.full_name();
        if let Some(why) = references::refused_message(full_name) {
            return Err(place.error(format!("not allowed here: it {why}")));
        }
        match full_name {
            ANY => return self.any(message, place),
            CLUSTER => refuse_type(message, place)?,
            SOCKET_ADDRESS => self.check_address(message, place)?,
            _ => {}
        }
        for field in descriptor.fields() {
            if !message.has_field(&field) {
                continue;
            }
            let length = place.path.len();
            place.path = format!("{}.{}", place.path, field.name());
            if let Some(why) = references::refused(full_name, field.name()) {
                return Err(place.error(format!("not allowed here: it {why}")));
            }
            let is_cluster = references::is_cluster(full_name, field.name());
            self.value(message.get_field_mut(&field), is_cluster, place)?;
            place.path.truncate(length);
        }
        // Last, because the references in the routes were renamed already.
        if full_name == CONNECTIONS { self.put_routes(message, place) } else { Ok(()) }
    }

    fn value(&self, value: &mut Value, is_cluster: bool, place: &mut Place) -> Result<(), AdoptError> {
        match value {
            Value::Message(message) => self.walk(message, place),
            Value::List(values) => values.iter_mut().try_for_each(|one| self.value(one, is_cluster, place)),
            Value::Map(entries) => {
                entries.values_mut().try_for_each(|one| self.value(one, is_cluster, place))
            }
            Value::String(name) if is_cluster => {
                let own = self.clusters.get(name).ok_or_else(|| {
                    let known: BTreeSet<&str> = self.clusters.keys().map(String::as_str).collect();
                    let known: Vec<&str> = known.into_iter().take(10).collect();
                    place.error(format!("the template has no cluster {name}, it has {}", known.join(", ")))
                })?;
                name.clone_from(own);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn any(&self, message: &mut DynamicMessage, place: &mut Place) -> Result<(), AdoptError> {
        let text = |field| message.get_field_by_name(field).map(std::borrow::Cow::into_owned);
        let (Some(Value::String(url)), Some(Value::Bytes(bytes))) = (text("type_url"), text("value")) else {
            return Ok(());
        };
        let name = url.rsplit('/').next().unwrap_or_default();
        let decoded = self.descriptors.decode(name, &bytes);
        let mut inner = decoded.map_err(|error| place.error(error.to_string()))?;
        self.walk(&mut inner, place)?;
        let bytes = convert::bytes(self.descriptors, &inner);
        message.set_field_by_name("value", Value::Bytes(bytes.into()));
        Ok(())
    }

    /// Replaces the name of a route configuration by its content, so that no Envoy asks for it.
    fn put_routes(&self, message: &mut DynamicMessage, place: &Place) -> Result<(), AdoptError> {
        if !message.has_field_by_name("rds") {
            return Ok(());
        }
        let rds = message.get_field_by_name("rds").map(std::borrow::Cow::into_owned);
        let name = rds.as_ref().and_then(Value::as_message).and_then(|rds| {
            let name = rds.get_field_by_name("route_config_name")?;
            name.as_str().map(str::to_owned)
        });
        let name = name.unwrap_or_default();
        let Some(routes) = self.routes.get(&name) else {
            let problem = format!("the template has no route configuration {name}: add it to its routes");
            return Err(place.error(problem));
        };
        message.clear_field_by_name("rds");
        message.set_field_by_name("route_config", Value::Message(routes.clone()));
        Ok(())
    }

    /// Refuses addresses of the gateway itself.
    fn check_address(&self, message: &DynamicMessage, place: &Place) -> Result<(), AdoptError> {
        let text = message.get_field_by_name("address").and_then(|text| text.as_str().map(str::to_owned));
        let text = text.unwrap_or_default();
        let error =
            || place.error(format!("{text} is an address of the gateway itself: use those of the endpoints"));
        let Ok(address) = text.parse::<IpAddr>() else {
            let name = text.trim_end_matches('.').to_ascii_lowercase();
            let local = name == "localhost" || name.ends_with(".localhost");
            return if local { Err(error()) } else { Ok(()) };
        };
        let endpoints = self.facts.clusters.iter().flat_map(|cluster| &cluster.endpoints);
        let mut own = endpoints.map(|endpoint| endpoint.address).chain([self.facts.public_address]);
        if !is_of_machine(address) || own.any(|own| own == address) {
            return Ok(());
        }
        Err(error())
    }
}

/// Makes a cluster connect from an address, also while another node has it.
fn bind_to(cluster: &mut DynamicMessage, source: Ipv4Addr) {
    put(cluster, "upstream_bind_config", |config| {
        put(config, "source_address", |address| {
            address.set_field_by_name("address", Value::String(source.to_string()));
            address.set_field_by_name("port_value", Value::U32(0));
        });
        put(config, "freebind", |yes| yes.set_field_by_name("value", Value::Bool(true)));
    });
}

/// Sets a field to a new message of the field's type.
fn put(message: &mut DynamicMessage, field: &str, fill: impl FnOnce(&mut DynamicMessage)) {
    let field = message.descriptor().get_field_by_name(field);
    let Some((field, Kind::Message(of))) = field.map(|field| (field.clone(), field.kind())) else { return };
    let mut value = DynamicMessage::new(of);
    fill(&mut value);
    message.set_field(&field, Value::Message(value));
}

/// Refuses clusters whose endpoints the client names.
fn refuse_type(cluster: &DynamicMessage, place: &Place) -> Result<(), AdoptError> {
    let ty = cluster.get_field_by_name("type").and_then(|ty| ty.as_enum_number());
    if ty == Some(ORIGINAL_DESTINATION) {
        return Err(place.error("type ORIGINAL_DST reaches any address that a client names: use EDS"));
    }
    Ok(())
}
