//! Rule, `l7mp.io/v1`: a rule for a rule list that the proxies' own configuration has.
#![allow(unreachable_pub, reason = "KubeSchema repeats each type inside of a function")]
#![allow(clippy::duplicated_attributes, reason = "print columns share their keys")]

use kube::core::ApiResource;
use kube::{CustomResource, CustomResourceExt, KubeSchema};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::MeshStatus;
use super::field::{Field, MAX_TEXT, NAME_PATTERN};
use super::form::RuleObjectForm;
use super::seen::Seen;
use super::{pods, rules, schema};
use crate::door::{self, ParseError};
use crate::kind::{Api, Definition, Kind, Purpose};
use crate::violation::{Checks, Violation};

/// The kind Rule.
pub const KIND: Kind =
    Kind { api: Api::B, name: "Rule", namespaced: true, prefix: "B/Rule", purpose: Purpose::Listeners };

/// The kind's definition in the API server.
pub const DEFINITION: Definition =
    Definition { kind: &KIND, resource: || ApiResource::erase::<Rule>(&()), crd: Rule::crd };

/// A rule for a rule list in the own configuration of the l7mp proxies in the selected pods.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq)]
#[kube(
    group = "l7mp.io",
    version = "v1",
    kind = "Rule",
    plural = "rules",
    namespaced,
    status = "MeshStatus",
    derive = "PartialEq",
    derive = "Default",
    doc = "A rule for a rule list in the own configuration of the l7mp proxies in the selected pods.",
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
    validation = schema::required("rulelist"),
    validation = schema::required("rule")
)]
#[serde(rename_all = "camelCase")]
pub struct RuleSpec {
    /// The pods with the proxies that are meant: `matchLabels`, `matchExpressions`, `matchFields`, `matchNamespace` and
    /// `matchService`, all ANDed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::object")]
    pub selector: Option<Value>,
    /// The rule list in the proxies' own configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = MAX_TEXT), regex(pattern = NAME_PATTERN))]
    pub rulelist: Option<String>,
    /// The position in the list, from 0. Default: 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<u32>,
    /// The rule: `match` and `action`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::object")]
    pub rule: Option<Value>,
    /// Whether the object's owners are told in `status.children.applied` once every proxy runs it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub update_owners: Option<bool>,
}

// === impl Rule ===

impl Rule {
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
    pub fn form(&self) -> Result<RuleObjectForm, Vec<Violation>> {
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

    fn read(&self, spec: &Field<'_>, checks: &mut Checks) -> Option<RuleObjectForm> {
        for (field, given) in [
            ("selector", self.spec.selector.is_some()),
            ("rulelist", self.spec.rulelist.is_some()),
            ("rule", self.spec.rule.is_some()),
        ] {
            checks.must(given, format!("spec.{field}"), "is required");
        }
        let filter = pods::read(&spec.get("selector")?, checks);
        let list = spec.get("rulelist")?.name(checks)?.to_owned();
        let rule = rules::rule(&spec.get("rule")?, checks);
        let position = self.spec.position.unwrap_or_default();
        Some(RuleObjectForm { filter, list, position, rule })
    }
}
