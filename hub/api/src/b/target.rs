//! Target, `l7mp.io/v1`: a cluster of l7mp proxies, to which rules lead.
#![allow(unreachable_pub, reason = "KubeSchema repeats each type inside of a function")]
#![allow(clippy::duplicated_attributes, reason = "print columns share their keys")]

use kube::core::ApiResource;
use kube::{CustomResource, CustomResourceExt, KubeSchema};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::MeshStatus;
use super::field::{Field, MAX_TEXT, NAME_PATTERN};
use super::form::{ClusterForm, TargetForm};
use super::seen::Seen;
use super::{cluster, pods, schema};
use crate::door::{self, ParseError};
use crate::kind::{Api, Definition, Kind, Purpose};
use crate::violation::{Checks, Violation};

/// The kind Target.
pub const KIND: Kind =
    Kind { api: Api::B, name: "Target", namespaced: true, prefix: "B/Target", purpose: Purpose::Listeners };

/// The forms of the cluster, of which at most one is given.
const FORMS: [&str; 15] = [
    "cluster",
    "linkedVirtualService",
    "udp",
    "tcp",
    "websocket",
    "unixdomainsocket",
    "jsonsocket",
    "sync",
    "echo",
    "discard",
    "logger",
    "stdio",
    "jsonencap",
    "jsondecap",
    "metric",
];
const ONE_FORM: &str = "cluster, linkedVirtualService and the protocols exclude each other: give one of them";
const ONE_FORM_RULE: &str = "[has(self.cluster), has(self.linkedVirtualService), has(self.udp), has(self.tcp), \
    has(self.websocket), has(self.unixdomainsocket), has(self.jsonsocket), has(self.sync), \
    has(self.echo), has(self.discard), has(self.logger), has(self.stdio), has(self.jsonencap), \
    has(self.jsondecap), has(self.metric)].filter(given, given).size() <= 1";
const NO_FORM: &str = "needs a cluster, a linkedVirtualService, a protocol or a serviceName";
const SOME_FORM_RULE: &str = "has(self.serviceName) || [has(self.cluster), has(self.linkedVirtualService), has(self.udp), \
    has(self.tcp), has(self.websocket), has(self.unixdomainsocket), has(self.jsonsocket), \
    has(self.sync), has(self.echo), has(self.discard), has(self.logger), has(self.stdio), \
    has(self.jsonencap), has(self.jsondecap), has(self.metric)].filter(given, given).size() > 0";
/// The fields beside a protocol of the document.
const BESIDE: [&str; 3] = ["serviceName", "endpoints", "loadbalancer"];
const OUTSIDE: &str = "serviceName, endpoints and loadbalancer have no effect beside cluster and linkedVirtualService: put \
                       endpoints and loadbalancer into cluster, or give serviceName instead of linkedVirtualService";
const OUTSIDE_RULE: &str = "!(has(self.cluster) || has(self.linkedVirtualService)) || !(has(self.serviceName) || \
    has(self.endpoints) || has(self.loadbalancer))";

/// The kind's definition in the API server.
pub const DEFINITION: Definition =
    Definition { kind: &KIND, resource: || ApiResource::erase::<Target>(&()), crd: Target::crd };

/// A cluster of the l7mp proxies in the selected pods.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq)]
#[kube(
    group = "l7mp.io",
    version = "v1",
    kind = "Target",
    plural = "targets",
    shortname = "tr",
    namespaced,
    status = "MeshStatus",
    derive = "PartialEq",
    derive = "Default",
    doc = "A cluster of the l7mp proxies in the selected pods.",
    printcolumn(name = "Selector", type_ = "string", priority = "1", json_path = ".spec.selector"),
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
    validation = Rule::new(ONE_FORM_RULE).message(ONE_FORM),
    validation = Rule::new(SOME_FORM_RULE).message(NO_FORM),
    validation = Rule::new(OUTSIDE_RULE).message(OUTSIDE)
)]
#[serde(rename_all = "camelCase")]
pub struct TargetSpec {
    /// The pods with the proxies that are meant: `matchLabels`, `matchExpressions`, `matchFields`, `matchNamespace` and
    /// `matchService`, all ANDed. Without it the objects that use the Target
    /// have a copy each.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::object")]
    pub selector: Option<Value>,
    /// The cluster: `spec` with exactly one protocol, `endpoints` and `loadbalancer`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::object")]
    pub cluster: Option<Value>,
    /// The VirtualService that gives the cluster's protocol, port and pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = MAX_TEXT), regex(pattern = NAME_PATTERN))]
    pub linked_virtual_service: Option<String>,
    /// The document's form of `cluster.spec.UDP`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::object")]
    pub udp: Option<Value>,
    /// The document's form of `cluster.spec.TCP`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::object")]
    pub tcp: Option<Value>,
    /// The document's form of `cluster.spec.WebSocket`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::object")]
    pub websocket: Option<Value>,
    /// The document's form of `cluster.spec.UnixDomainSocket`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::object")]
    pub unixdomainsocket: Option<Value>,
    /// The document's form of `cluster.spec.JSONSocket`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::object")]
    pub jsonsocket: Option<Value>,
    /// The document's form of `cluster.spec.Sync`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::object")]
    pub sync: Option<Value>,
    /// The document's form of `cluster.spec.Echo`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::object")]
    pub echo: Option<Value>,
    /// The document's form of `cluster.spec.Discard`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::object")]
    pub discard: Option<Value>,
    /// The document's form of `cluster.spec.Logger`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::object")]
    pub logger: Option<Value>,
    /// The document's form of `cluster.spec.Stdio`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::object")]
    pub stdio: Option<Value>,
    /// The document's form of `cluster.spec.JSONEncap`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::object")]
    pub jsonencap: Option<Value>,
    /// The document's form of `cluster.spec.JSONDecap`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::object")]
    pub jsondecap: Option<Value>,
    /// The document's form of `cluster.spec.Metric`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::object")]
    pub metric: Option<Value>,
    /// The document's form of `linkedVirtualService`, beside which other fields may be given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = MAX_TEXT), regex(pattern = NAME_PATTERN))]
    pub service_name: Option<String>,
    /// The document's form of `cluster.endpoints`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::objects")]
    pub endpoints: Option<Value>,
    /// The document's form of `cluster.loadbalancer`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::object")]
    pub loadbalancer: Option<Value>,
}

// === impl Target ===

impl Target {
    /// Reads an object. Returns it with a warning for each unknown field.
    ///
    /// # Errors
    /// Returns an error that names the field which can't be read, see [`door::parse`].
    pub fn parse(value: Value) -> Result<(Self, Vec<String>), ParseError> {
        let (object, mut warnings) = door::parse::<Self>(value)?;
        warnings.extend(object.unknown_fields());
        Ok((object, warnings))
    }

    /// Checks the rules for new objects. Returns an empty list for a valid object.
    pub fn validate(&self) -> Vec<Violation> {
        let mut checks = Checks::default();
        let value = self.value();
        self.read(&Field::new(&value, "spec"), &mut checks);
        checks.done()
    }

    /// Returns the resolved form of an object that may be older than some rules.
    ///
    /// # Errors
    /// Returns the rules that it breaks.
    pub fn form(&self) -> Result<TargetForm, Vec<Violation>> {
        let value = self.value();
        Checks::form_of_stored(|checks| self.read(&Field::new(&value, "spec"), checks))
    }

    /// Returns a warning for each unknown field below those of `spec`, which the schema leaves open.
    pub fn unknown_fields(&self) -> Vec<String> {
        let (value, seen) = (self.value(), Seen::default());
        self.read(&Field::watched(&value, &seen), &mut Checks::of_stored());
        seen.unknown(&value)
    }

    /// Returns `spec` as JSON.
    fn value(&self) -> Value {
        serde_json::to_value(&self.spec).unwrap_or_default()
    }

    fn read(&self, spec: &Field<'_>, checks: &mut Checks) -> Option<TargetForm> {
        let filter = spec.get("selector").map(|selector| pods::read(&selector, checks));
        let link = spec.get("linkedVirtualService");
        let inner = spec.get("cluster");
        let forms = spec.given(&FORMS);
        checks.must(forms <= 1, "spec", ONE_FORM);
        checks.must(forms > 0 || spec.get("serviceName").is_some(), "spec", NO_FORM);
        let outside = (inner.is_some() || link.is_some()) && spec.given(&BESIDE) > 0;
        checks.must(!outside, "spec", OUTSIDE);
        let cluster = match (link, inner) {
            (Some(link), _) => {
                let service = link.name(checks).map(str::to_owned);
                ClusterForm { service, ..ClusterForm::default() }
            }
            (None, Some(inner)) => cluster::read(&inner, checks),
            (None, None) => cluster::read(spec, checks),
        };
        Some(TargetForm { filter, cluster })
    }
}
