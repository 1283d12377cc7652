//! A template's listeners and clusters for a LoadBalancer: [`render`] (C16).

use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU16;
use std::sync::LazyLock;

use portreeve_api::c::endpoint_form::EndpointForm;
use portreeve_api::c::envoy_config::EnvoyConfigSpec;
use portreeve_api::c::load_balancer::LoadBalancerForm;
use portreeve_api::c::port::{Port, Transport};
use portreeve_api::conditions::Reason;
use portreeve_api::model::{Balancer, Cluster, EnvoyBody, EnvoyResource, Listener, Protocol};
use portreeve_api::refs::{PlanName, ResourceName};
use portreeve_template as template;
use portreeve_template::{AdoptedCluster, AdoptedListener, DescribeError, Descriptors, Facts};

use super::ports;
use crate::object::Rejection;

/// The largest number of upstream clusters of a template: its `ClusterWeight` is the part of 100 that each gets.
const CLUSTERS: usize = 100;

/// Decoding them takes milliseconds.
static DESCRIPTORS: LazyLock<Result<Descriptors, DescribeError>> = LazyLock::new(Descriptors::built_in);

/// What a template makes.
#[derive(Default)]
pub struct Made {
    /// The listeners, without rules.
    pub listeners: Vec<Listener>,
    /// The clusters. Those that ask for endpoints which the template doesn't list have sources.
    pub clusters: Vec<Cluster>,
    /// Both, as an Envoy gets them.
    pub envoy: Vec<EnvoyResource>,
}

/// A template, and the field in which it stands, for messages.
pub struct Template<'a> {
    /// The template.
    pub spec: &'a EnvoyConfigSpec,
    /// For example `spec.envoy-template of group gold`.
    pub of: String,
}

/// What a template is rendered for.
pub struct Served<'a> {
    /// The LoadBalancer's name.
    pub name: &'a str,
    /// Its Plan's name.
    pub plan: &'a PlanName,
    /// The LoadBalancer.
    pub form: &'a LoadBalancerForm,
    /// The address that its listeners bind.
    pub address: IpAddr,
    /// Its endpoints, in an order that doesn't change.
    pub endpoints: &'a [EndpointForm],
    /// The address that proxies connect from, if some endpoints are behind tunnels.
    pub source: Option<Ipv4Addr>,
}

/// Renders a template. Without upstream clusters it makes no listener (C.3).
///
/// # Errors
/// Returns an error that names the template, its field and the remedy.
pub fn render(template: &Template<'_>, served: &Served<'_>) -> Result<Made, Rejection> {
    let refused = |error: String| Rejection {
        reason: Reason::Unsupported,
        message: format!("{}: {error}", template.of),
    };
    let clusters = served.form.upstream_clusters.len();
    if clusters > CLUSTERS {
        let text = format!("{clusters} upstream clusters: with a template there are at most {CLUSTERS}");
        return Err(refused(text));
    }
    let descriptors = DESCRIPTORS.as_ref().map_err(|error| refused(error.to_string()))?;
    let facts = served.facts();
    let rendered =
        template::render(template.spec, &facts, descriptors).map_err(|error| refused(error.to_string()))?;
    let name = |name: &str| ResourceName::of(served.plan.as_name(), name).to_string();
    let adopted =
        template::adopt(&rendered, &facts, descriptors, &name).map_err(|error| refused(error.to_string()))?;
    let mut made = Made::default();
    for cluster in adopted.clusters {
        made.add_cluster(cluster, served);
    }
    for listener in adopted.listeners {
        made.add_listener(listener).map_err(refused)?;
    }
    Ok(made)
}

// === impl Served ===

impl Served<'_> {
    fn facts(&self) -> Facts {
        let cluster = |name: &String| {
            let endpoints = self.endpoints_of(name).map(|one| template::Endpoint {
                address: one.address,
                node_address: one.node_address.unwrap_or(one.address),
                port: port(&one.port),
            });
            template::Cluster { name: name.clone(), endpoints: endpoints.collect() }
        };
        Facts {
            service_name: self.name.to_owned(),
            public_address: self.address,
            source: self.source,
            ports: self.form.ports.iter().map(port).collect(),
            clusters: self.form.upstream_clusters.iter().map(cluster).collect(),
        }
    }

    /// Returns the endpoints of an upstream cluster, of all ports (C.7). Those of the document form are of every cluster.
    fn endpoints_of<'s>(&'s self, cluster: &'s str) -> impl Iterator<Item = &'s EndpointForm> {
        let is_of = move |one: &&EndpointForm| one.cluster.as_deref().is_none_or(|name| name == cluster);
        self.endpoints.iter().filter(is_of)
    }
}

// === impl Made ===

impl Made {
    fn add_listener(&mut self, listener: AdoptedListener) -> Result<(), String> {
        let AdoptedListener { name, sockets, body } = listener;
        let [socket] = sockets.as_slice() else {
            return Err(format!("listener {name} has {} addresses: give each a listener", sockets.len()));
        };
        let protocol = match socket.protocol {
            template::Protocol::Tcp => Protocol::Tcp,
            template::Protocol::Udp => Protocol::Udp,
        };
        let port = NonZeroU16::new(socket.port).ok_or_else(|| format!("listener {name} has no port"))?;
        self.listeners.push(Listener {
            name: name.clone(),
            socket: Some(ports::socket(protocol, socket.address, port)),
            rules: Vec::new(),
            tls: None,
            sources: None,
            http: false,
            options: None,
            needs: Vec::new(),
        });
        self.envoy.push(EnvoyResource { name, body: Some(EnvoyBody::Listener(body.into())) });
        Ok(())
    }

    fn add_cluster(&mut self, cluster: AdoptedCluster, served: &Served<'_>) {
        let AdoptedCluster { name, eds_service_name, body, assignment } = cluster;
        let asked = eds_service_name.filter(|_| assignment.is_none());
        let endpoints: Vec<&EndpointForm> =
            asked.iter().flat_map(|cluster| served.endpoints_of(cluster)).collect();
        let udp = !endpoints.is_empty() && endpoints.iter().all(|one| one.port.transport == Transport::Udp);
        let protocol = if udp { Protocol::Udp } else { Protocol::Tcp };
        self.clusters.push(Cluster {
            name: name.clone(),
            socket: Some(ports::upstream(protocol, served.source)),
            endpoints: endpoints.into_iter().map(|one| ports::source(one, None)).collect(),
            balancer: Some(Balancer::RoundRobin),
            health_check: None,
            tls: None,
            http: false,
            connect_timeout: None,
            needs: Vec::new(),
            elsewhere: None,
        });
        let assignment = assignment.map(|body| EnvoyBody::Assignment(body.into()));
        let bodies = [Some(EnvoyBody::Cluster(body.into())), assignment];
        let resources = bodies.into_iter().flatten();
        self.envoy.extend(resources.map(|body| EnvoyResource { name: name.clone(), body: Some(body) }));
    }
}

fn port(port: &Port) -> template::Port {
    template::Port {
        name: port.name.clone(),
        port: port.port.get(),
        protocol: port.transport.upper_case().to_owned(),
    }
}
