//! VirtualService, `l7mp.io/v1`: a port of l7mp proxies, with rules for its sessions.
#![allow(unreachable_pub, reason = "KubeSchema repeats each type inside of a function")]
#![allow(clippy::duplicated_attributes, reason = "print columns share their keys")]

use kube::core::ApiResource;
use kube::{CustomResource, CustomResourceExt, KubeSchema};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use std::time::Duration;

use super::MeshStatus;
use super::field::Field;
use super::form::{ListenerForm, Options, VirtualServiceForm};
use super::seen::Seen;
use super::{pods, rules, schema, socket};
use crate::door::{self, ParseError};
use crate::kind::{Api, Definition, Kind, Purpose};
use crate::violation::{Checks, Violation};

/// The kind VirtualService.
pub const KIND: Kind = Kind {
    api: Api::B,
    name: "VirtualService",
    namespaced: true,
    prefix: "B/VirtualService",
    purpose: Purpose::Listeners,
};

/// The kind's definition in the API server.
pub const DEFINITION: Definition = Definition {
    kind: &KIND,
    resource: || ApiResource::erase::<VirtualService>(&()),
    crd: VirtualService::crd,
};

/// The forms of the port, of which exactly one is given.
const PORTS: [&str; 7] = ["listener", "udp", "tcp", "http", "websocket", "unixdomainsocket", "jsonsocket"];
const ONE_PORT: &str =
    "must have exactly one of listener, udp, tcp, http, websocket, unixdomainsocket and jsonsocket";
const ONE_PORT_RULE: &str = "[has(self.listener), has(self.udp), has(self.tcp), has(self.http), has(self.websocket), \
    has(self.unixdomainsocket), has(self.jsonsocket)].filter(given, given).size() == 1";
const RULES_OUTSIDE: &str = "rules have no effect beside listener: put them into it";

/// A port of the l7mp proxies in the selected pods, and what happens to its sessions.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq)]
#[kube(
    group = "l7mp.io",
    version = "v1",
    kind = "VirtualService",
    plural = "virtualservices",
    namespaced,
    status = "MeshStatus",
    derive = "PartialEq",
    derive = "Default",
    doc = "A port of the l7mp proxies in the selected pods, and what happens to its sessions.",
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
    validation = schema::required("selector"),
    validation = Rule::new(ONE_PORT_RULE).message(ONE_PORT),
    validation = Rule::new("!has(self.listener) || !has(self.rules)").message(RULES_OUTSIDE)
)]
#[serde(rename_all = "camelCase")]
pub struct VirtualServiceSpec {
    /// The pods with the proxies that are meant: `matchLabels`, `matchExpressions`, `matchFields`, `matchNamespace` and
    /// `matchService`, all ANDed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::object")]
    pub selector: Option<Value>,
    /// The port: `spec` with exactly one protocol, `rules` or `rulesRef`, and `options`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::object")]
    pub listener: Option<Value>,
    /// Whether the object's owners are told in `status.children.applied` once every proxy runs it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub update_owners: Option<bool>,
    /// The document's form of `listener.spec.UDP`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::object")]
    pub udp: Option<Value>,
    /// The document's form of `listener.spec.TCP`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::object")]
    pub tcp: Option<Value>,
    /// The document's form of `listener.spec.HTTP`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::object")]
    pub http: Option<Value>,
    /// The document's form of `listener.spec.WebSocket`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::object")]
    pub websocket: Option<Value>,
    /// The document's form of `listener.spec.UnixDomainSocket`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::object")]
    pub unixdomainsocket: Option<Value>,
    /// The document's form of `listener.spec.JSONSocket`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::object")]
    pub jsonsocket: Option<Value>,
    /// The document's form of `listener.rules`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::objects")]
    pub rules: Option<Value>,
    /// The document's form of `listener.options`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::object")]
    pub options: Option<Value>,
}

// === impl VirtualService ===

impl VirtualService {
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
    pub fn form(&self) -> Result<VirtualServiceForm, Vec<Violation>> {
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

    fn read(&self, spec: &Field<'_>, checks: &mut Checks) -> Option<VirtualServiceForm> {
        checks.must(self.spec.selector.is_some(), "spec.selector", "is required");
        let filter = pods::read(&spec.get("selector")?, checks);
        let inner = spec.get("listener");
        let ports = spec.given(&PORTS) == 1;
        checks.must(ports, "spec", ONE_PORT);
        checks.must(inner.is_none() || spec.get("rules").is_none(), "spec", RULES_OUTSIDE);
        if !ports {
            return None;
        }
        if let Some(inner) = &inner {
            // The object's name is the listener's.
            inner.pass_over(&["name"]);
        }
        let deployed = inner.is_some();
        let listener = inner.unwrap_or_else(|| spec.clone());
        let socket = match deployed {
            true => {
                let protocol = listener.get("spec");
                checks.must(protocol.is_some(), "spec.listener.spec", "is required");
                socket::listener(&protocol?, false, checks)
            }
            false => socket::listener(spec, true, checks),
        };
        let rules = rules::read(&listener, checks);
        for options in [listener.get("options"), spec.get("options")].into_iter().flatten() {
            options.object(checks);
        }
        let options = Self::options(&listener, spec, deployed, checks);
        let (socket, server_mode) = socket?;
        let listener = ListenerForm { socket, server_mode, options, rules };
        Some(VirtualServiceForm { filter, listener })
    }

    /// Reads the options. The replaced operator always ended the sessions of a deleted object; in the document that is an
    /// option.
    fn options(listener: &Field<'_>, spec: &Field<'_>, deployed: bool, checks: &mut Checks) -> Options {
        let get = |key: &str| {
            let of = |field: &Field<'_>| {
                field
                    .get("options")
                    .and_then(|options| options.get(key).map(|one| (one.path, one.value.clone())))
            };
            of(listener).or_else(|| of(spec))
        };
        let track = get("track").and_then(|(path, value)| Field::new(&value, path).number(checks));
        let ends = get("removeOrphanSessions").map(|(path, value)| Field::new(&value, path).yes(checks));
        Options {
            remove_orphan_sessions: ends.unwrap_or(deployed),
            track: track.filter(|seconds| *seconds > 0).map(|seconds| Duration::from_secs(seconds.into())),
        }
    }
}
