//! Route, `l7mp.io/v1`: a way through clusters that several rules share.
#![allow(unreachable_pub, reason = "KubeSchema repeats each type inside of a function")]
#![allow(clippy::duplicated_attributes, reason = "print columns share their keys")]

use kube::core::ApiResource;
use kube::{CustomResource, CustomResourceExt, KubeSchema};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::MeshStatus;
use super::field::{Field, MAX_TEXT, NAME_PATTERN};
use super::form::RouteForm;
use super::seen::Seen;
use super::{rules, schema};
use crate::door::{self, ParseError};
use crate::kind::{Api, Definition, Kind, Purpose};
use crate::violation::{Checks, Violation};

/// The kind Route.
pub const KIND: Kind =
    Kind { api: Api::B, name: "Route", namespaced: true, prefix: "B/Route", purpose: Purpose::Part };

/// The kind's definition in the API server.
pub const DEFINITION: Definition =
    Definition { kind: &KIND, resource: || ApiResource::erase::<Route>(&()), crd: Route::crd };

/// A way of sessions through clusters, for the VirtualServices that name it.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq)]
#[kube(
    group = "l7mp.io",
    version = "v1",
    kind = "Route",
    plural = "routes",
    namespaced,
    status = "MeshStatus",
    derive = "PartialEq",
    derive = "Default",
    doc = "A way of sessions through clusters, for the VirtualServices that name it.",
    printcolumn(
        name = "Accepted",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Accepted")].status"#
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct RouteSpec {
    /// Where sessions end: the name of a Target, VirtualService or Service, or a cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::any")]
    pub destination: Option<Value>,
    /// The deployed form of a `destination` by its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = MAX_TEXT), regex(pattern = NAME_PATTERN))]
    pub destination_ref: Option<String>,
    /// Clusters on the way to the destination: `cluster`, `clusterRef`, or a name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::list")]
    pub ingress: Option<Value>,
    /// Clusters on the way back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::list")]
    pub egress: Option<Value>,
    /// Retries after a failure: `retry_on`, `num_retries` and `timeout` in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::object")]
    pub retry: Option<Value>,
}

// === impl Route ===

impl Route {
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
    pub fn form(&self) -> Result<RouteForm, Vec<Violation>> {
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

    fn read(&self, spec: &Field<'_>, checks: &mut Checks) -> Option<RouteForm> {
        Some(rules::route(spec, checks))
    }
}
