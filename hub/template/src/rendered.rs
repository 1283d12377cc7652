//! What becomes of a template: [`Rendered`].

use std::net::IpAddr;

use portreeve_api::c::envoy_config::SecretReference;

use crate::facts::Protocol;

/// The resources of an Envoy. The same template and facts make the same bytes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rendered {
    /// `envoy.config.listener.v3.Listener`
    pub listeners: Vec<Resource>,
    /// `envoy.config.cluster.v3.Cluster`
    pub clusters: Vec<Resource>,
    /// `envoy.config.route.v3.RouteConfiguration`
    pub routes: Vec<Resource>,
    /// `envoy.config.endpoint.v3.ClusterLoadAssignment`
    pub endpoints: Vec<Resource>,
    /// `envoy.service.runtime.v3.Runtime`
    pub runtimes: Vec<Resource>,
    /// Kubernetes Secrets with certificates, which the caller reads.
    pub secrets: Vec<Secret>,
    /// The sockets that the listeners open. All are on the LoadBalancer's address and public ports.
    pub sockets: Vec<Socket>,
    /// The clusters, and which of them get their endpoints by EDS.
    pub upstreams: Vec<Upstream>,
}

/// A resource of an Envoy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    /// Its name: `name` or `cluster_name` in its content.
    pub name: String,
    /// Its type URL in Envoy's API v3.
    pub type_url: String,
    /// The protobuf message.
    pub value: Vec<u8>,
    /// Its template, for example `envoyResources.listeners[0]`.
    pub from: String,
}

/// A certificate of an Envoy.
#[derive(Clone, Debug, PartialEq)]
pub struct Secret {
    /// Name that the listeners and clusters use.
    pub name: String,
    /// Kubernetes Secret that holds it. `None` if the template names none.
    pub reference: Option<SecretReference>,
    /// Its place in the template, for example `envoyResources.secrets[0]`.
    pub from: String,
}

/// A socket that a listener opens.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Socket {
    /// Address.
    pub address: IpAddr,
    /// Port.
    pub port: u16,
    /// Protocol.
    pub protocol: Protocol,
    /// Name of the listener.
    pub listener: String,
}

/// A cluster, as the server of its endpoints sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// Name of the cluster.
    pub name: String,
    /// Name under which Envoy asks for its endpoints: `eds_cluster_config.service_name`, or the cluster's name.
    pub eds_service_name: String,
    /// Whether Envoy asks for its endpoints by EDS.
    pub is_eds: bool,
}
