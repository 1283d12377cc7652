//! VirtualService of API A, `servicemesh.l7mp.io/v1`: UDP and TCP pipes from a port of the selected pods' Envoy to
//! upstream endpoints. Field names are those of the original resource; `health_check.http`, `udp.idle_timeout` and
//! `tcp.cluster` are optional additions. Entry points: [`VirtualService::parse`] and [`VirtualService::validate`].
#![allow(unreachable_pub, reason = "KubeSchema repeats each type inside of a function")]
#![allow(clippy::duplicated_attributes, reason = "print columns share their keys")]

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::core::ApiResource;
use kube::{CustomResource, CustomResourceExt, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::door::{self, ParseError};
use crate::http_path::{HttpPath, MAX_PATH};
use crate::kind::{Api, Definition, Kind, Purpose};
use crate::names;
use crate::violation::{Checks, Violation};

/// The kind VirtualService. It is the only kind of API A, so references omit its name.
pub const KIND: Kind =
    Kind { api: Api::A, name: "VirtualService", namespaced: true, prefix: "A", purpose: Purpose::Listeners };

/// The kind's definition in the API server.
pub const DEFINITION: Definition = Definition {
    kind: &KIND,
    resource: || ApiResource::erase::<VirtualService>(&()),
    crd: VirtualService::crd,
};

/// Maximum number of listeners in one object. Together with [`MAX_ENDPOINTS`] it limits the API server's estimated cost
/// of the validation rules.
pub const MAX_LISTENERS: usize = 1024;
/// Maximum number of endpoint entries in one cluster.
pub const MAX_ENDPOINTS: usize = 256;
/// Maximum number of key-value pairs in one label selector.
pub const MAX_LABELS: usize = 64;
/// Maximum length of a name, an address or a hash key, in characters.
pub const MAX_NAME: usize = 253;
/// Minimum interval between two health checks, in milliseconds.
pub const MIN_INTERVAL_MS: i32 = 100;
/// Maximum interval between two health checks, in milliseconds (one hour).
pub const MAX_INTERVAL_MS: i32 = 3_600_000;

/// What the proxies on the selected pods do.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq)]
#[kube(
    group = "servicemesh.l7mp.io",
    version = "v1",
    kind = "VirtualService",
    plural = "virtualservices",
    shortname = "vsvc",
    namespaced,
    status = "VirtualServiceStatus",
    derive = "PartialEq",
    derive = "Default",
    doc = "Pipes from a port of the selected pods' proxy to upstream endpoints.",
    printcolumn(
        name = "Accepted",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Accepted")].status"#
    ),
    printcolumn(
        name = "Programmed",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Programmed")].reason"#
    ),
    printcolumn(
        name = "Healthy",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Healthy")].reason"#
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Endpoints",
        type_ = "string",
        priority = "1",
        json_path = r#".status.conditions[?(@.type=="Healthy")].message"#
    ),
    printcolumn(
        name = "Message",
        type_ = "string",
        priority = "1",
        json_path = r#".status.conditions[?(@.type=="Programmed")].message"#
    )
)]
pub struct VirtualServiceSpec {
    /// Labels of the pods whose proxy gets this configuration; a pod must carry all of them.
    #[schemars(extend("minProperties" = 1, "maxProperties" = MAX_LABELS))]
    pub selector: BTreeMap<String, String>,
    /// The pipes; their names are unique within the object.
    #[schemars(length(min = 1, max = MAX_LISTENERS))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub listeners: Vec<Listener>,
}

/// One pipe, from a port of the proxy to upstream endpoints. Exactly one of `udp` and `tcp` is set.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq)]
#[x_kube(validation = Rule::new("has(self.udp) != has(self.tcp)").message("exactly one of udp and tcp must be set"))]
pub struct Listener {
    /// Name of the listener, unique within the object.
    #[schemars(length(min = 1, max = MAX_NAME), regex(pattern = names::PLAIN_PATTERN))]
    pub name: String,
    /// A UDP pipe.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub udp: Option<Udp>,
    /// A TCP pipe.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tcp: Option<Tcp>,
}

/// A UDP pipe.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq)]
pub struct Udp {
    /// Port that the proxy listens on, on every address.
    #[schemars(range(min = 1, max = 65_535))]
    pub port: i32,
    /// Where the datagrams go.
    pub cluster: Cluster,
    /// Milliseconds after which a session without datagrams ends. Default: 60000, Envoy's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub idle_timeout: Option<i32>,
}

/// A TCP pipe.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq)]
pub struct Tcp {
    /// Port that the proxy listens on, on every address.
    #[schemars(range(min = 1, max = 65_535))]
    pub port: i32,
    /// Where the connections go. Without it nothing can be forwarded, and the listener isn't opened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<Cluster>,
}

/// Upstream endpoints, and how one of them is chosen.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq)]
pub struct Cluster {
    /// Name of the cluster.
    #[schemars(length(min = 1, max = MAX_NAME), regex(pattern = names::PLAIN_PATTERN))]
    pub name: String,
    /// How endpoints are found. Both values are served in the same way: as they come and go.
    pub service_discovery: ServiceDiscovery,
    /// All sessions of all clusters with the same key reach the same upstream host, for example a call id. Without it (or
    /// empty) sessions are spread by the sender's address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = MAX_NAME))]
    pub hash_key: Option<String>,
    /// How endpoints are checked. Without it they count as healthy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health_check: Option<HealthCheck>,
    /// The upstream endpoints; entries are joined.
    #[schemars(length(min = 1, max = MAX_ENDPOINTS))]
    pub endpoints: Vec<Endpoint>,
}

/// How endpoints are found.
#[derive(Serialize, Deserialize, JsonSchema, Debug, Clone, Copy, Default, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum ServiceDiscovery {
    /// Names are resolved.
    #[default]
    StrictDns,
    /// Endpoints are discovered.
    Eds,
}

/// How endpoints are checked.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq)]
pub struct HealthCheck {
    /// Milliseconds between two checks.
    #[schemars(range(min = MIN_INTERVAL_MS, max = MAX_INTERVAL_MS))]
    pub interval: i32,
    /// What is checked: that a TCP connection to the endpoint's `health_check_port` is accepted.
    pub protocol: HealthProtocol,
    /// Ask by HTTP instead of only connecting.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpCheck>,
}

/// What a health check speaks.
#[derive(Serialize, Deserialize, JsonSchema, Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum HealthProtocol {
    /// A TCP connection.
    #[default]
    #[serde(rename = "TCP")]
    Tcp,
}

/// An HTTP GET over the health check's TCP connection.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq)]
pub struct HttpCheck {
    /// Path to get, for example `/healthcheck`; a status of 2xx or 3xx is healthy.
    #[schemars(length(min = 1, max = MAX_PATH), regex(pattern = HttpPath::PATTERN))]
    pub path: String,
}

/// One entry of a cluster's endpoints.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq)]
pub struct Endpoint {
    /// Name of the entry, for messages to people.
    #[schemars(length(min = 1, max = MAX_NAME))]
    pub name: String,
    /// The upstream host or hosts.
    pub host: Host,
    /// Upstream port.
    #[schemars(range(min = 1, max = 65_535))]
    pub port: i32,
    /// Port for the health check, on the same address. Without it the endpoint isn't checked and counts as healthy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65_535))]
    pub health_check_port: Option<i32>,
}

/// An upstream host or a set of them. Exactly one of `address` and `selector` is set.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq)]
#[x_kube(
    validation = Rule::new("has(self.address) != has(self.selector)").message("exactly one of address and selector must be set")
)]
pub struct Host {
    /// An IP address or a DNS name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = MAX_NAME), regex(pattern = "^[0-9A-Za-z._:-]+$"))]
    pub address: Option<String>,
    /// Labels of the upstream pods; a pod must carry all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("minProperties" = 1, "maxProperties" = MAX_LABELS))]
    pub selector: Option<BTreeMap<String, String>>,
}

/// What the hub says about the object.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq)]
pub struct VirtualServiceStatus {
    /// `Accepted`, `ResolvedRefs`, `Programmed` and `Healthy`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}

// === impl VirtualService ===

impl VirtualService {
    /// Reads an object. Returns it with a warning for each unknown field.
    ///
    /// # Errors
    /// Returns an error that names the field which can't be read, see [`door::parse`].
    pub fn parse(value: Value) -> Result<(Self, Vec<String>), ParseError> {
        door::parse(value)
    }

    /// Checks the rules of the CRD's schema, for objects that didn't pass through an API server. Returns an empty list
    /// for a valid object.
    pub fn validate(&self) -> Vec<Violation> {
        let mut checks = Checks::default();
        self.spec.check(&mut checks);
        checks.done()
    }

    /// Like [`Self::validate`], without the rules that objects stored by earlier versions may break: their listener and
    /// cluster names may hold any characters, which reach the proxy escaped (see [`names::proxy_part`]). Returns an
    /// empty list if the object can be served.
    pub fn validate_stored(&self) -> Vec<Violation> {
        let mut checks = Checks::of_stored();
        self.spec.check(&mut checks);
        checks.done()
    }
}

// === impl VirtualServiceSpec ===

impl VirtualServiceSpec {
    fn check(&self, checks: &mut Checks) {
        checks.count(self.selector.len(), (1, MAX_LABELS), "spec.selector");
        checks.count(self.listeners.len(), (1, MAX_LISTENERS), "spec.listeners");
        let mut names = BTreeSet::new();
        for (index, listener) in self.listeners.iter().enumerate() {
            let path = format!("spec.listeners[{index}]");
            let fresh = names.insert(listener.name.as_str());
            checks.must(fresh, path.as_str(), format!("listener name {} is used twice", listener.name));
            listener.check(&path, checks);
        }
    }
}

// === impl Listener ===

impl Listener {
    fn check(&self, path: &str, checks: &mut Checks) {
        checks.proxy_name(&self.name, (1, MAX_NAME), &format!("{path}.name"));
        checks.must(self.udp.is_some() != self.tcp.is_some(), path, "exactly one of udp and tcp must be set");
        if let Some(udp) = &self.udp {
            checks.port(udp.port, &format!("{path}.udp.port"));
            udp.cluster.check(&format!("{path}.udp.cluster"), checks);
            if let Some(idle) = udp.idle_timeout {
                checks.range(idle, (1, i32::MAX), &format!("{path}.udp.idle_timeout"));
            }
        }
        if let Some(tcp) = &self.tcp {
            checks.port(tcp.port, &format!("{path}.tcp.port"));
        }
        if let Some(cluster) = self.tcp.as_ref().and_then(|tcp| tcp.cluster.as_ref()) {
            cluster.check(&format!("{path}.tcp.cluster"), checks);
        }
    }
}

// === impl Cluster ===

impl Cluster {
    /// The constant hash key of this cluster's sessions. An empty key counts as `None`.
    pub fn key(&self) -> Option<&str> {
        self.hash_key.as_deref().filter(|key| !key.is_empty())
    }

    fn check(&self, path: &str, checks: &mut Checks) {
        checks.proxy_name(&self.name, (1, MAX_NAME), &format!("{path}.name"));
        if let Some(key) = &self.hash_key {
            checks.length(key, (0, MAX_NAME), &format!("{path}.hash_key"));
        }
        if let Some(health) = &self.health_check {
            health.check(&format!("{path}.health_check"), checks);
        }
        checks.count(self.endpoints.len(), (1, MAX_ENDPOINTS), &format!("{path}.endpoints"));
        for (index, endpoint) in self.endpoints.iter().enumerate() {
            endpoint.check(&format!("{path}.endpoints[{index}]"), checks);
        }
    }
}

// === impl HealthCheck ===

impl HealthCheck {
    fn check(&self, path: &str, checks: &mut Checks) {
        checks.range(self.interval, (MIN_INTERVAL_MS, MAX_INTERVAL_MS), &format!("{path}.interval"));
        if let Some(Err(bad)) = self.http.as_ref().map(|http| HttpPath::parse(&http.path)) {
            checks.must(false, format!("{path}.http.path"), bad.to_string());
        }
    }
}

// === impl Endpoint ===

impl Endpoint {
    fn check(&self, path: &str, checks: &mut Checks) {
        checks.length(&self.name, (1, MAX_NAME), &format!("{path}.name"));
        self.host.check(&format!("{path}.host"), checks);
        checks.port(self.port, &format!("{path}.port"));
        if let Some(port) = self.health_check_port {
            checks.port(port, &format!("{path}.health_check_port"));
        }
    }
}

// === impl Host ===

impl Host {
    fn check(&self, path: &str, checks: &mut Checks) {
        let one = self.address.is_some() != self.selector.is_some();
        checks.must(one, path, "exactly one of address and selector must be set");
        if let Some(address) = &self.address {
            let path = format!("{path}.address");
            checks.length(address, (1, MAX_NAME), &path);
            let plain = address.chars().all(|c| c.is_ascii_alphanumeric() || "._:-".contains(c));
            checks.must(plain, path, "must be an IP address or a DNS name");
        }
        if let Some(selector) = &self.selector {
            checks.count(selector.len(), (1, MAX_LABELS), &format!("{path}.selector"));
        }
    }
}
