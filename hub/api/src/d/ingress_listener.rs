//! IngressListener, `ingresslistener.envoy.uw.systems/v1alpha1`: a port of the proxies with a node name that leads to the
//! application beside each of them, on 127.0.0.1. Entry points: [`IngressListener::parse`],
//! [`IngressListener::validate`] and [`IngressListener::form`].
#![allow(unreachable_pub, reason = "KubeSchema repeats each type inside of a function")]
#![allow(clippy::duplicated_attributes, reason = "print columns share their keys")]

use std::collections::BTreeSet;
use std::num::NonZeroU16;

use kube::core::ApiResource;
use kube::{CustomResource, CustomResourceExt, KubeSchema};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::layer::{self, Layer};
use super::spelling::either;
use super::{ListenerStatus, MAX_NAME, MAX_SAN, MAX_SANS};
use crate::door::{self, ParseError};
use crate::kind::{Api, Definition, Kind, Purpose};
use crate::object_field;
use crate::violation::{Checks, Violation};

/// The kind IngressListener.
pub const KIND: Kind = Kind {
    api: Api::D,
    name: "IngressListener",
    namespaced: true,
    prefix: "D/IngressListener",
    purpose: Purpose::Listeners,
};

/// The kind's definition in the API server.
pub const DEFINITION: Definition = Definition {
    kind: &KIND,
    resource: || ApiResource::erase::<IngressListener>(&()),
    crd: IngressListener::crd,
};

const TWO_CLUSTERS: &str =
    "rbacallowcluster and rbac.cluster are two spellings of one field: give one of them";
const TWO_SANS: &str = "sans and Sans are two spellings of one field: give sans";
const UNPROVEN_SANS: &str =
    "rbac.sans needs tls.secret and tls.validation: without them no client has a verified certificate";
const UNUSED_VALIDATION: &str = "validation has no effect without secret: give both or neither";
const SAME_PORT: &str = "listenport and targetport must differ: the proxy would connect to itself";

/// A port of the proxies with a node name, to the application beside each of them.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq)]
#[kube(
    group = "ingresslistener.envoy.uw.systems",
    version = "v1alpha1",
    kind = "IngressListener",
    plural = "ingresslisteners",
    shortname = "il",
    namespaced,
    status = "ListenerStatus",
    derive = "PartialEq",
    derive = "Default",
    doc = "A port of the proxies with a node name, to the application beside each of them.",
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
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Message",
        type_ = "string",
        priority = "1",
        json_path = r#".status.conditions[?(@.type=="Programmed")].message"#
    )
)]
#[x_kube(
    validation = Rule::new("!has(self.rbacallowcluster) || !has(self.rbac) || !has(self.rbac.cluster)").message(TWO_CLUSTERS),
    validation = Rule::new(
        "!has(self.rbac) || ((!has(self.rbac.sans) || size(self.rbac.sans) == 0) && (!has(self.rbac.Sans) || size(self.rbac.Sans) == 0)) || (has(self.tls) && has(self.tls.secret) && self.tls.secret != '' && has(self.tls.validation) && self.tls.validation != '')"
    ).message(UNPROVEN_SANS),
    validation = Rule::new("self.listenport != self.targetport").message(SAME_PORT)
)]
pub struct IngressListenerSpec {
    /// Name of the proxies that open the port: the `node.id` that an Envoy announces, or the name that its pod's annotation
    /// `portreeve.dev/proxy-name` or its NodeProxy sets. Proxies of pods in the object's own namespace are meant; several
    /// may share a name.
    #[schemars(required, length(min = 1, max = MAX_NAME))]
    pub nodename: Option<String>,
    /// Port that the proxies listen on, on every address.
    #[schemars(required, range(min = 1, max = 65_535))]
    pub listenport: Option<i32>,
    /// Port of the application, on 127.0.0.1.
    #[schemars(required, range(min = 1, max = 65_535))]
    pub targetport: Option<i32>,
    /// The older spelling of `rbac.cluster`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = MAX_NAME))]
    pub rbacallowcluster: Option<String>,
    /// Who may connect. Without it every peer may.
    #[serde(default, deserialize_with = "object_field::read", skip_serializing_if = "Option::is_none")]
    pub rbac: Option<Rbac>,
    /// TLS towards the clients. Without it the port is plain text.
    #[serde(default, deserialize_with = "object_field::read", skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
    /// `http` for HTTP, which the application must speak as HTTP/2 without TLS (h2c). Default: `tcp`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = layer::PATTERN))]
    pub layer: Option<String>,
}

/// Who may connect. A peer must pass each list that is not empty.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq)]
#[x_kube(validation = Rule::new("!has(self.sans) || !has(self.Sans)").message(TWO_SANS))]
pub struct Rbac {
    /// Only the addresses of this cluster's pods. Empty: every address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = MAX_NAME))]
    pub cluster: Option<String>,
    /// Only clients whose certificate has one of these names, as a URI SAN, a DNS SAN or the subject. Empty: every client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = MAX_SANS), inner(length(min = 1, max = MAX_SAN)))]
    pub sans: Option<Vec<String>>,
    /// A misspelling of `sans` that an earlier release read.
    #[serde(default, skip_serializing_if = "Option::is_none", rename = "Sans")]
    #[schemars(length(max = MAX_SANS), inner(length(min = 1, max = MAX_SAN)))]
    pub misspelt_sans: Option<Vec<String>>,
}

/// TLS towards the clients.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq)]
#[x_kube(
    validation = Rule::new("!has(self.validation) || self.validation == '' || (has(self.secret) && self.secret != '')").message(UNUSED_VALIDATION)
)]
pub struct Tls {
    /// Secret with the server's certificate (`tls.crt`, `tls.key`), in the object's namespace. Empty: plain text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = MAX_NAME))]
    pub secret: Option<String>,
    /// Secret with the authority (`ca.crt`) of the clients' certificates, which are then demanded. Empty: none is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = MAX_NAME))]
    pub validation: Option<String>,
}

/// An IngressListener, whichever its spelling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ingress {
    /// The name of the proxies; not empty.
    pub nodename: String,
    /// The port of the proxies.
    pub listen: NonZeroU16,
    /// The port of the application.
    pub target: NonZeroU16,
    /// The cluster whose pods' addresses are admitted. `None`: every address.
    pub cluster: Option<String>,
    /// The names of which a client's certificate must have one. Empty: every client is admitted.
    pub sans: BTreeSet<String>,
    /// The Secrets of TLS. `None`: plain text.
    pub tls: Option<ServerTls>,
    /// The protocol.
    pub layer: Layer,
    /// A `tls.validation` without effect, because there is no `tls.secret`. Only objects from before the schema have it.
    pub unused_validation: Option<String>,
}

/// The Secrets of a server's TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerTls {
    /// The Secret with certificate and key.
    pub secret: String,
    /// The Secret with the authority of the clients' certificates. `None`: clients need no certificate.
    pub validation: Option<String>,
}

// === impl IngressListener ===

impl IngressListener {
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
    pub fn form(&self) -> Result<Ingress, Vec<Violation>> {
        Checks::form_of_stored(|checks| self.spec.check(checks))
    }
}

// === impl IngressListenerSpec ===

impl IngressListenerSpec {
    fn check(&self, checks: &mut Checks) -> Option<Ingress> {
        let nodename = checks.given_name(self.nodename.as_deref(), MAX_NAME, "spec.nodename");
        let listen = checks.given_port(self.listenport, "spec.listenport");
        let target = checks.given_port(self.targetport, "spec.targetport");
        checks.must(listen.is_none() || listen != target, "spec", SAME_PORT);
        let (cluster, sans) = self.peers(checks);
        let (tls, unused_validation) = self.tls(checks);
        let proven = tls.as_ref().is_some_and(|tls| tls.validation.is_some());
        checks.must(sans.is_empty() || proven, "spec", UNPROVEN_SANS);
        let layer = Layer::read(self.layer.as_deref());
        checks.must_be_new(!matches!(layer, Layer::Other(_)), "spec.layer", layer::RULE);
        Some(Ingress {
            nodename: nodename?.to_owned(),
            listen: listen?,
            target: target?,
            cluster,
            sans,
            tls,
            layer,
            unused_validation,
        })
    }

    fn peers(&self, checks: &mut Checks) -> (Option<String>, BTreeSet<String>) {
        let rbac = self.rbac.as_ref();
        let flat = ("spec.rbacallowcluster", self.rbacallowcluster.as_ref());
        let nested = ("spec.rbac.cluster", rbac.and_then(|rbac| rbac.cluster.as_ref()));
        // In the flat spelling the empty name of a cluster admits nobody.
        let least = usize::from(flat.1.is_some());
        let cluster = either(checks, ("spec", TWO_CLUSTERS), flat, nested);
        if let Some((path, name)) = cluster {
            checks.length(name, (least, MAX_NAME), path);
        }
        let plain = ("spec.rbac.sans", rbac.and_then(|rbac| rbac.sans.as_ref()));
        let misspelt = ("spec.rbac.Sans", rbac.and_then(|rbac| rbac.misspelt_sans.as_ref()));
        let sans = either(checks, ("spec.rbac", TWO_SANS), plain, misspelt);
        if let Some((path, names)) = sans {
            checks.names(names, (MAX_SANS, MAX_SAN), path);
        }
        let sans = sans.map(|(_, names)| names.iter().cloned().collect()).unwrap_or_default();
        (cluster.map(|(_, name)| name.clone()).filter(|name| !name.is_empty()), sans)
    }

    fn tls(&self, checks: &mut Checks) -> (Option<ServerTls>, Option<String>) {
        let Some(tls) = &self.tls else { return (None, None) };
        let secret = checks.optional_name(tls.secret.as_deref(), MAX_NAME, "spec.tls.secret");
        let validation = checks.optional_name(tls.validation.as_deref(), MAX_NAME, "spec.tls.validation");
        checks.must_be_new(secret.is_some() || validation.is_none(), "spec.tls", UNUSED_VALIDATION);
        let validation = validation.map(str::to_owned);
        match secret {
            Some(secret) => (Some(ServerTls { secret: secret.to_owned(), validation }), None),
            None => (None, validation),
        }
    }
}
