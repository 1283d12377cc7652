//! LoadBalancer, `epic.acnodal.io/v1`: a public address whose ports lead to endpoints on customers' clusters (C9, C11,
//! C32). Entry points: [`LoadBalancer::parse`], [`LoadBalancer::validate`] and [`LoadBalancer::form`].
//!
//! The API server gives it no defaults, so objects of the document form are read back unchanged (C1).
#![allow(unreachable_pub, reason = "KubeSchema repeats each type inside of a function")]
#![allow(clippy::duplicated_attributes, reason = "print columns share their keys")]

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::num::{NonZeroU16, NonZeroU32};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::core::ApiResource;
use kube::{CustomResource, CustomResourceExt, KubeSchema};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::envoy_config::EnvoyConfigSpec;
use super::labels::{self, Reference, reference};
use super::port::{Port, ServicePort};
use super::schema::{self, MAX_CLUSTER, MAX_CLUSTERS, MAX_ID, MAX_NAME, MAX_PEERS, MAX_PORTS};
use super::tunnel::{NodeTunnels, ProxyInterface, Tunnel, TunnelEndpoint, TunnelPeer};
use super::tunnel_key::{self, TunnelKey};
use super::{address, refusal};
use crate::door::{self, ParseError};
use crate::kind::{Api, Definition, Kind, Purpose};
use crate::object_field;
use crate::tunnel_peer;
use crate::violation::{Checks, Violation};

/// The kind LoadBalancer.
pub const KIND: Kind = Kind {
    api: Api::C,
    name: "LoadBalancer",
    namespaced: true,
    prefix: "C/LoadBalancer",
    purpose: Purpose::Listeners,
};

/// The kind's definition in the API server.
pub const DEFINITION: Definition =
    Definition { kind: &KIND, resource: || ApiResource::erase::<LoadBalancer>(&()), crd: LoadBalancer::crd };

/// A public address whose ports lead to endpoints on customers' clusters.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq)]
#[kube(
    group = "epic.acnodal.io",
    version = "v1",
    kind = "LoadBalancer",
    plural = "loadbalancers",
    shortname = "lb",
    shortname = "lbs",
    namespaced,
    status = "LoadBalancerStatus",
    derive = "PartialEq",
    derive = "Default",
    doc = "A public address whose ports lead to endpoints on customers' clusters.",
    printcolumn(name = "Public Address", type_ = "string", json_path = ".spec.public-address"),
    printcolumn(
        name = "Service Group",
        type_ = "string",
        json_path = ".metadata.labels.owning-servicegroup"
    ),
    printcolumn(
        name = "Service Prefix",
        type_ = "string",
        json_path = ".metadata.labels.owning-serviceprefix"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[x_kube(validation = schema::kept_number("service-id"), validation = schema::kept_text("tunnel-key"))]
#[serde(rename_all = "kebab-case")]
pub struct LoadBalancerSpec {
    /// Public IP address. Empty: one of the pool.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(required, schema_with = "schema::address_or_empty")]
    pub public_address: Option<String>,
    /// Ports that the load balancer listens on.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(required, length(max = MAX_PORTS))]
    pub public_ports: Option<Vec<ServicePort>>,
    /// Number of the load balancer on the wire, unique in its account. The hub sets it if it is absent or 0, and it
    /// can't change after that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = MAX_ID))]
    pub service_id: Option<i32>,
    /// Key of the load balancer's tunnels: 16 bytes in base64. The hub sets it if it is absent or empty, and it can't
    /// change after that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = tunnel_key::PATTERN), length(max = tunnel_key::TEXT_LENGTH))]
    pub tunnel_key: Option<String>,
    /// Template of the proxies' configuration. Default: the group's.
    #[serde(default, deserialize_with = "object_field::read", skip_serializing_if = "Option::is_none")]
    pub envoy_template: Option<EnvoyConfigSpec>,
    /// Customers' clusters that use the load balancer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = MAX_CLUSTERS), inner(length(min = 1, max = MAX_CLUSTER)))]
    pub upstream_clusters: Option<Vec<String>>,
    /// The document's form of the label `owning-servicegroup`: name of the load balancer's group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = MAX_NAME))]
    pub service_group: Option<String>,
    /// Name that customers see, in later versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = MAX_NAME))]
    pub display_name: Option<String>,
    /// Whether endpoints are reached through tunnels, in later versions. Default: true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub true_ingress: Option<bool>,
    /// Number of proxies, in later versions. Default: 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub envoy_replica_count: Option<i32>,
    /// The later form of `status.gue-tunnel-endpoints`: tunnels by the addresses of the customers' nodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gue_tunnel_endpoints: Option<BTreeMap<String, NodeTunnels>>,
    /// The later form of `status.proxy-ifindex` and `status.proxy-ifname`, by proxies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy_if_info: Option<BTreeMap<String, ProxyInterface>>,
}

/// The tunnels and the proxy's interface, and what the hub says about the object.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub struct LoadBalancerStatus {
    /// Tunnels by the addresses of the customers' nodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gue_tunnel_endpoints: Option<BTreeMap<String, TunnelEndpoint>>,
    /// The customers' ends of the tunnels, by the tunnels' numbers, as their pings show them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = MAX_PEERS))]
    pub tunnel_peers: Option<Vec<TunnelPeer>>,
    /// Index of the network interface that leads to the proxy's pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy_ifindex: Option<i64>,
    /// Name of the network interface that leads to the proxy's pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy_ifname: Option<String>,
    /// `Accepted`, `ResolvedRefs`, `Programmed` and `Healthy`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}

/// A LoadBalancer, whichever its version.
#[derive(Clone, Debug, PartialEq)]
pub struct LoadBalancerForm {
    /// The public address. `None`: it has none yet.
    pub public_address: Option<IpAddr>,
    /// The ports.
    pub ports: Vec<Port>,
    /// The number of the load balancer. `None`: it has none yet.
    pub service_id: Option<NonZeroU16>,
    /// The key of the tunnels. `None`: it has none yet.
    pub tunnel_key: Option<TunnelKey>,
    /// The template of the proxies' configuration. `None`: the group's.
    pub envoy_template: Option<EnvoyConfigSpec>,
    /// The customers' clusters that use the load balancer, in the object's order.
    pub upstream_clusters: Vec<String>,
    /// Whether endpoints are reached through tunnels.
    pub true_ingress: bool,
    /// The number of proxies.
    pub replicas: u32,
    /// The group's name.
    pub group: Reference,
    /// The name of the ServicePrefix with the address's pool. `Ok(None)`: the group's.
    pub service_prefix: Reference,
}

// === impl LoadBalancer ===

impl LoadBalancer {
    /// Reads an object. Returns it with a warning for each unknown field.
    ///
    /// # Errors
    /// Returns an error that names the field which can't be read, see [`door::parse`].
    pub fn parse(value: Value) -> Result<(Self, Vec<String>), ParseError> {
        door::parse(value)
    }

    /// Checks the rules for new objects. Returns an empty list for a valid object (C14).
    pub fn validate(&self) -> Vec<Violation> {
        let mut checks = Checks::default();
        self.read(&mut checks);
        checks.done()
    }

    /// Returns the resolved form of an object that may be older than some rules.
    ///
    /// # Errors
    /// Returns the rules that it breaks.
    pub fn form(&self) -> Result<LoadBalancerForm, Vec<Violation>> {
        Checks::form_of_stored(|checks| self.read(checks))
    }

    /// Returns the name of the group, of either kind (C17).
    ///
    /// # Errors
    /// Returns the first two of `spec.service-group` and the labels that disagree.
    pub fn group(&self) -> Reference {
        let field = self.spec.service_group.as_deref().map(|name| ("spec.service-group", name));
        let labels = [labels::OWNING_SERVICE_GROUP, labels::OWNING_LB_SERVICE_GROUP];
        reference(field, &self.metadata, &labels)
    }

    /// Returns the name of the ServicePrefix with the address's pool (C17).
    ///
    /// # Errors
    /// Returns the labels that disagree.
    pub fn service_prefix(&self) -> Reference {
        reference(None, &self.metadata, &[labels::OWNING_SERVICE_PREFIX])
    }

    /// Returns the name of the account that a label gives. The load balancer's namespace decides (C15).
    ///
    /// # Errors
    /// Returns the labels that disagree.
    pub fn account(&self) -> Reference {
        reference(None, &self.metadata, &[labels::OWNING_ACCOUNT])
    }

    /// Returns why the object can't be deleted, in E1's words; `None` if it can (C32).
    pub fn deletion_refusal(&self) -> Option<String> {
        let clusters = self.spec.upstream_clusters.as_deref().filter(|all| !all.is_empty())?;
        let namespace = self.metadata.namespace.as_deref().unwrap_or_default();
        let name = self.metadata.name.as_deref().unwrap_or_default();
        Some(refusal::has_upstream_clusters(namespace, name, clusters))
    }

    /// Returns the tunnels of the status and of the spec (C11). Those without an id or with an address that can't be
    /// parsed are left out.
    pub fn tunnels(&self) -> BTreeSet<Tunnel> {
        self.tunnel_endpoints().filter_map(|(node, endpoint)| endpoint.tunnel(node)).collect()
    }

    /// Returns the customers' ends of the tunnels that gateways have learned, by the tunnels' numbers (C31). Entries that can't be
    /// read are left out.
    pub fn peers(&self) -> BTreeMap<NonZeroU32, tunnel_peer::TunnelPeer> {
        let peers = self.status.as_ref().and_then(|status| status.tunnel_peers.as_deref());
        peers.unwrap_or_default().iter().filter_map(TunnelPeer::read).collect()
    }

    /// Returns the ids of all tunnels of the status and of the spec. No other tunnel may get them (C34).
    pub fn tunnel_ids(&self) -> BTreeSet<NonZeroU32> {
        self.tunnel_endpoints().filter_map(|(_, endpoint)| endpoint.id()).collect()
    }

    /// Returns each of EPIC's tunnel ends with the customer's node.
    fn tunnel_endpoints(&self) -> impl Iterator<Item = (&str, &TunnelEndpoint)> {
        let status = self.status.as_ref().and_then(|status| status.gue_tunnel_endpoints.as_ref());
        let status = status.into_iter().flatten().map(|(node, endpoint)| (node.as_str(), endpoint));
        let spec = self.spec.gue_tunnel_endpoints.iter().flatten().flat_map(|(node, tunnels)| {
            let endpoints = tunnels.epic_endpoints.iter().flatten();
            endpoints.map(|(_, endpoint)| (node.as_str(), endpoint))
        });
        status.chain(spec)
    }

    fn read(&self, checks: &mut Checks) -> Option<LoadBalancerForm> {
        let spec = &self.spec;
        checks.must(spec.public_address.is_some(), "spec.public-address", "is required");
        let at = ("spec.public-address", "public-address");
        let public_address = address::optional(spec.public_address.as_deref(), at, checks);
        let ports = spec.ports(checks);
        let id = spec.service_id.unwrap_or_default();
        checks.range(id, (0, MAX_ID), "spec.service-id");
        let tunnel_key = spec.key(checks);
        if let Some(template) = &spec.envoy_template {
            template.check(checks);
        }
        spec.check_clusters(checks);
        for (path, name) in
            [("spec.service-group", &spec.service_group), ("spec.display-name", &spec.display_name)]
        {
            checks.length(name.as_deref().unwrap_or_default(), (0, MAX_NAME), path);
        }
        let replicas = spec.envoy_replica_count.unwrap_or(1);
        checks.range(replicas, (0, i32::MAX), "spec.envoy-replica-count");
        let group = self.group();
        checks.must_be_new(group != Ok(None), "metadata.labels", &refusal::no_group());
        Some(LoadBalancerForm {
            public_address,
            ports: ports?,
            service_id: NonZeroU16::new(u16::try_from(id).ok()?),
            tunnel_key,
            envoy_template: spec.envoy_template.clone(),
            upstream_clusters: spec.upstream_clusters.clone().unwrap_or_default(),
            true_ingress: spec.true_ingress.unwrap_or(true),
            replicas: u32::try_from(replicas).ok()?,
            group,
            service_prefix: self.service_prefix(),
        })
    }
}

// === impl LoadBalancerSpec ===

impl LoadBalancerSpec {
    fn ports(&self, checks: &mut Checks) -> Option<Vec<Port>> {
        let path = "spec.public-ports";
        checks.must(self.public_ports.is_some(), path, "is required");
        let given = self.public_ports.as_deref()?;
        checks.count(given.len(), (0, MAX_PORTS), path);
        let mut seen = BTreeSet::new();
        let mut ports = Vec::new();
        for (index, port) in given.iter().enumerate() {
            let path = format!("{path}[{index}]");
            let Some(port) = port.check(&path, checks) else { continue };
            let message = format!("repeats {} {}", port.transport.upper_case(), port.port);
            checks.must(seen.insert((port.transport, port.port)), path, message);
            ports.push(port);
        }
        Some(ports)
    }

    fn key(&self, checks: &mut Checks) -> Option<TunnelKey> {
        let text = self.tunnel_key.as_deref().filter(|text| !text.is_empty())?;
        checks.parsed(text, "spec.tunnel-key")
    }

    fn check_clusters(&self, checks: &mut Checks) {
        let path = "spec.upstream-clusters";
        let clusters = self.upstream_clusters.as_deref().unwrap_or_default();
        checks.names(clusters, (MAX_CLUSTERS, MAX_CLUSTER), path);
        let mut seen = BTreeSet::new();
        for (index, cluster) in clusters.iter().enumerate() {
            checks.must(seen.insert(cluster), format!("{path}[{index}]"), format!("repeats {cluster:?}"));
        }
    }
}
