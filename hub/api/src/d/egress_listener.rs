//! EgressListener, `egresslistener.envoy.uw.systems/v1alpha1`: a loopback port of the proxies with a node name that leads
//! to the pods of a cluster. `health_check`, `tls.validation`, `tls.sans` and `tls.servername` are optional additions.
//! Entry points: [`EgressListener::parse`], [`EgressListener::validate`] and [`EgressListener::form`].
#![allow(unreachable_pub, reason = "KubeSchema repeats each type inside of a function")]
#![allow(clippy::duplicated_attributes, reason = "print columns share their keys")]

use std::collections::BTreeSet;
use std::num::NonZeroU16;
use std::time::Duration;

use kube::core::ApiResource;
use kube::{CustomResource, CustomResourceExt, KubeSchema};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::layer::{self, Layer};
use super::spelling::either;
use super::{ListenerStatus, MAX_NAME, MAX_SAN, MAX_SANS};
use crate::a::virtual_service::{HealthProtocol, HttpCheck, MAX_INTERVAL_MS, MIN_INTERVAL_MS};
use crate::door::{self, ParseError};
use crate::http_path::HttpPath;
use crate::kind::{Api, Definition, Kind, Purpose};
use crate::object_field;
use crate::violation::{Checks, Violation};

/// The kind EgressListener.
pub const KIND: Kind = Kind {
    api: Api::D,
    name: "EgressListener",
    namespaced: true,
    prefix: "D/EgressListener",
    purpose: Purpose::Listeners,
};

/// The kind's definition in the API server.
pub const DEFINITION: Definition = Definition {
    kind: &KIND,
    resource: || ApiResource::erase::<EgressListener>(&()),
    crd: EgressListener::crd,
};

const ONE_CLUSTER: &str =
    "target.cluster and targetcluster are two spellings of one field: give exactly one of them";
const ONE_PORT: &str = "target.port and targetport are two spellings of one field: give exactly one of them";
const UNVERIFIED: &str = "sans and servername need secret or validation: without them there is no TLS";

/// A loopback port of the proxies with a node name, to the pods of a cluster.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq)]
#[kube(
    group = "egresslistener.envoy.uw.systems",
    version = "v1alpha1",
    kind = "EgressListener",
    plural = "egresslisteners",
    shortname = "el",
    namespaced,
    status = "ListenerStatus",
    derive = "PartialEq",
    derive = "Default",
    doc = "A loopback port of the proxies with a node name, to the pods of a cluster.",
    printcolumn(name = "Node", type_ = "string", json_path = ".spec.nodename"),
    printcolumn(name = "Port", type_ = "integer", json_path = ".spec.listenport"),
    printcolumn(
        name = "Accepted",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Accepted")].status"#
    ),
    printcolumn(
        name = "Resolved",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="ResolvedRefs")].reason"#
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
#[x_kube(
    validation = Rule::new("has(self.targetcluster) != (has(self.target) && has(self.target.cluster))").message(ONE_CLUSTER),
    validation = Rule::new("has(self.targetport) != (has(self.target) && has(self.target.port))").message(ONE_PORT)
)]
pub struct EgressListenerSpec {
    /// Name of the proxies that open the port: the `node.id` that an Envoy announces, or the name that its pod's annotation
    /// `portreeve.dev/proxy-name` or its NodeProxy sets. Proxies of pods in the object's own namespace are meant; several
    /// may share a name.
    #[schemars(required, length(min = 1, max = MAX_NAME))]
    pub nodename: Option<String>,
    /// Port that the proxies listen on, on 127.0.0.1.
    #[schemars(required, range(min = 1, max = 65_535))]
    pub listenport: Option<i32>,
    /// Where the connections go.
    #[serde(default, deserialize_with = "object_field::read", skip_serializing_if = "Option::is_none")]
    pub target: Option<Target>,
    /// The older spelling of `target.cluster`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = MAX_NAME))]
    pub targetcluster: Option<String>,
    /// The older spelling of `target.port`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65_535))]
    pub targetport: Option<i32>,
    /// `http` for HTTP, which the pods must speak as HTTP/2. Default: `tcp`. It says nothing about load balancing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = layer::PATTERN))]
    pub lbpolicy: Option<String>,
    /// TLS towards the pods. Without it the connections are plain text.
    #[serde(default, deserialize_with = "object_field::read", skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
    /// How the pods are checked. Without it they count as healthy.
    #[serde(default, deserialize_with = "object_field::read", skip_serializing_if = "Option::is_none")]
    pub health_check: Option<HealthCheck>,
}

/// Where the connections go.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq)]
pub struct Target {
    /// The cluster: all ready pods that carry its name in the annotation `cluster-name.envoy.uw.io`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = MAX_NAME))]
    pub cluster: Option<String>,
    /// Port of the pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65_535))]
    pub port: Option<i32>,
}

/// TLS towards the pods. Servers are always verified.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq)]
#[x_kube(
    validation = Rule::new(
        "((!has(self.sans) || size(self.sans) == 0) && (!has(self.servername) || self.servername == '')) || (has(self.secret) && self.secret != '') || (has(self.validation) && self.validation != '')"
    ).message(UNVERIFIED)
)]
pub struct Tls {
    /// Secret with the client's certificate (`tls.crt`, `tls.key`), in the object's namespace. Empty: the client shows none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = MAX_NAME))]
    pub secret: Option<String>,
    /// Secret with the authority (`ca.crt`) of the servers' certificates. Default: `secret`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = MAX_NAME))]
    pub validation: Option<String>,
    /// Names of which a server's certificate must have one, as a DNS, URI or IP SAN. Empty: any certificate of the authority.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = MAX_SANS), inner(length(min = 1, max = MAX_SAN)))]
    pub sans: Option<Vec<String>>,
    /// Server name that the client asks for (SNI). Empty: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = MAX_NAME))]
    pub servername: Option<String>,
}

/// How the pods are checked.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq)]
pub struct HealthCheck {
    /// Milliseconds between two checks.
    #[schemars(range(min = MIN_INTERVAL_MS, max = MAX_INTERVAL_MS))]
    pub interval: i32,
    /// What is checked: that a TCP connection is accepted.
    pub protocol: HealthProtocol,
    /// Port for the check, on the pod's address. Default: the target's port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65_535))]
    pub port: Option<i32>,
    /// Ask by HTTP instead of only connecting.
    #[serde(default, deserialize_with = "object_field::read", skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpCheck>,
}

/// An EgressListener, whichever its spelling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Egress {
    /// The name of the proxies; not empty.
    pub nodename: String,
    /// The loopback port of the proxies.
    pub listen: NonZeroU16,
    /// The cluster; not empty.
    pub cluster: String,
    /// The port of the cluster's pods.
    pub port: NonZeroU16,
    /// The protocol.
    pub layer: Layer,
    /// TLS towards the pods. `None`: plain text.
    pub tls: Option<ClientTls>,
    /// The health check of the pods. `None`: no health check.
    pub health_check: Option<PodCheck>,
}

/// TLS of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientTls {
    /// The Secret with the client's certificate and key. `None`: the client shows none.
    pub secret: Option<String>,
    /// The Secret with the authority of the servers' certificates.
    pub validation: String,
    /// The names of which a server's certificate must have one. Empty: any certificate of the authority is accepted.
    pub sans: BTreeSet<String>,
    /// The server name (SNI) that the client asks for.
    pub server_name: Option<String>,
}

/// The health check of a cluster's pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodCheck {
    /// The time between two checks.
    pub interval: Duration,
    /// The port of the check.
    pub port: NonZeroU16,
    /// The path of an HTTP GET. `None`: a TCP connect.
    pub http_path: Option<String>,
}

// === impl EgressListener ===

impl EgressListener {
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

    /// Returns the resolved form of an object that may be older than the schema.
    ///
    /// # Errors
    /// Returns the rules that it breaks and that make it impossible to serve it as its author meant it.
    pub fn form(&self) -> Result<Egress, Vec<Violation>> {
        Checks::form_of_stored(|checks| self.spec.check(checks))
    }
}

// === impl EgressListenerSpec ===

impl EgressListenerSpec {
    fn check(&self, checks: &mut Checks) -> Option<Egress> {
        let nodename = checks.given_name(self.nodename.as_deref(), MAX_NAME, "spec.nodename");
        let listen = checks.given_port(self.listenport, "spec.listenport");
        let target = self.target.as_ref();
        let flat = ("spec.targetcluster", self.targetcluster.as_ref());
        let nested = ("spec.target.cluster", target.and_then(|target| target.cluster.as_ref()));
        checks.must(flat.1.is_some() || nested.1.is_some(), "spec", ONE_CLUSTER);
        let cluster = either(checks, ("spec", ONE_CLUSTER), flat, nested);
        let cluster = cluster.and_then(|(path, name)| checks.given_name(Some(name), MAX_NAME, path));
        let flat = ("spec.targetport", self.targetport.as_ref());
        let nested = ("spec.target.port", target.and_then(|target| target.port.as_ref()));
        checks.must(flat.1.is_some() || nested.1.is_some(), "spec", ONE_PORT);
        let port = either(checks, ("spec", ONE_PORT), flat, nested);
        let port = port.and_then(|(path, port)| checks.given_port(Some(*port), path));
        let layer = Layer::read(self.lbpolicy.as_deref());
        checks.must_be_new(!matches!(layer, Layer::Other(_)), "spec.lbpolicy", layer::RULE);
        let tls = self.tls.as_ref().and_then(|tls| tls.check(checks));
        let health_check = self.health_check.as_ref().map(|check| check.check(port, checks));
        Some(Egress {
            nodename: nodename?.to_owned(),
            listen: listen?,
            cluster: cluster?.to_owned(),
            port: port?,
            layer,
            tls,
            health_check: health_check.flatten(),
        })
    }
}

// === impl Tls ===

impl Tls {
    fn check(&self, checks: &mut Checks) -> Option<ClientTls> {
        let secret = checks.optional_name(self.secret.as_deref(), MAX_NAME, "spec.tls.secret");
        let validation = checks.optional_name(self.validation.as_deref(), MAX_NAME, "spec.tls.validation");
        let server_name = checks.optional_name(self.servername.as_deref(), MAX_NAME, "spec.tls.servername");
        let sans = self.sans.as_deref().unwrap_or_default();
        checks.names(sans, (MAX_SANS, MAX_SAN), "spec.tls.sans");
        let authority = validation.or(secret);
        let asks = server_name.is_some() || !sans.is_empty();
        checks.must(authority.is_some() || !asks, "spec.tls", UNVERIFIED);
        Some(ClientTls {
            secret: secret.map(str::to_owned),
            validation: authority?.to_owned(),
            sans: sans.iter().cloned().collect(),
            server_name: server_name.map(str::to_owned),
        })
    }
}

// === impl HealthCheck ===

impl HealthCheck {
    fn check(&self, target: Option<NonZeroU16>, checks: &mut Checks) -> Option<PodCheck> {
        let bounds = (MIN_INTERVAL_MS, MAX_INTERVAL_MS);
        checks.range(self.interval, bounds, "spec.health_check.interval");
        let port = match self.port {
            Some(port) => checks.given_port(Some(port), "spec.health_check.port"),
            None => target,
        };
        let path = self.http.as_ref().map(|http| http.path.as_str());
        if let Some(Err(bad)) = path.map(HttpPath::parse) {
            checks.must(false, "spec.health_check.http.path", bad.to_string());
        }
        let interval = Duration::from_millis(u64::try_from(self.interval).ok()?);
        Some(PodCheck { interval, port: port?, http_path: path.map(str::to_owned) })
    }
}
