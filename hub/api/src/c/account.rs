//! Account, `epic.acnodal.io/v1`: a customer, with its own namespace (C3, C4, C8). Entry points: [`Account::parse`],
//! [`Account::validate`] and [`Account::form`].
#![allow(unreachable_pub, reason = "KubeSchema repeats each type inside of a function")]

use std::num::NonZeroU16;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::core::ApiResource;
use kube::{CustomResource, CustomResourceExt, KubeSchema};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::names::{EPIC, is_account, namespace_of_account};
use super::schema::{self, MAX_ID};
use crate::door::{self, ParseError};
use crate::kind::{Api, Definition, Kind, Purpose};
use crate::violation::{Checks, Violation};

/// The kind Account.
pub const KIND: Kind =
    Kind { api: Api::C, name: "Account", namespaced: true, prefix: "C/Account", purpose: Purpose::Part };

/// The kind's definition in the API server.
pub const DEFINITION: Definition = Definition {
    kind: &KIND,
    resource: || ApiResource::erase::<Account>(&()),
    crd: || schema::default_spec(Account::crd()),
};

const NAME: &str =
    "an account's name must have at most 58 characters and no dot: epic-<name> is its namespace";

/// A customer.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq)]
#[kube(
    group = "epic.acnodal.io",
    version = "v1",
    kind = "Account",
    plural = "accounts",
    namespaced,
    status = "AccountStatus",
    derive = "PartialEq",
    derive = "Default",
    doc = "A customer. Its objects are in the namespace epic-<name>.",
    validation = Rule::new("self.metadata.name.size() <= 58 && !self.metadata.name.contains('.')").message(NAME)
)]
#[x_kube(validation = schema::kept_number("group-id"))]
#[serde(rename_all = "kebab-case")]
pub struct AccountSpec {
    /// Number of the account on the wire. The hub sets it if it is absent or 0, and it can't change after that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = MAX_ID))]
    pub group_id: Option<i32>,
}

/// The counter of ids, and what the hub says about the object.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub struct AccountStatus {
    /// The last `service-id` that a load balancer of the account got.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = MAX_ID))]
    pub current_service_id: Option<i32>,
    /// `Accepted`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}

/// A parsed Account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountForm {
    /// The namespace of the account's objects. The Account itself is there, or in `epic`; the former counts if there
    /// are both (C.6).
    pub namespace: String,
    /// The number of the account. `None`: it has none yet.
    pub group_id: Option<NonZeroU16>,
}

// === impl Account ===

impl Account {
    /// Reads an object. Returns it with a warning for each unknown field. An object may lack `spec`.
    ///
    /// # Errors
    /// Returns an error that names the field which can't be read, see [`door::parse`].
    pub fn parse(value: Value) -> Result<(Self, Vec<String>), ParseError> {
        door::parse(schema::with_spec(value))
    }

    /// Checks the rules for new objects. Returns an empty list for a valid object (C8).
    pub fn validate(&self) -> Vec<Violation> {
        let mut checks = Checks::default();
        self.read(&mut checks);
        checks.done()
    }

    /// Returns the parsed form of an object that may be older than some rules.
    ///
    /// # Errors
    /// Returns the rules that it breaks.
    pub fn form(&self) -> Result<AccountForm, Vec<Violation>> {
        Checks::form_of_stored(|checks| self.read(checks))
    }

    fn read(&self, checks: &mut Checks) -> Option<AccountForm> {
        let name = self.metadata.name.as_deref().unwrap_or_default();
        checks.must(is_account(name), "metadata.name", NAME);
        let own = namespace_of_account(name);
        // Files may leave the namespace to the command line.
        let namespace = self.metadata.namespace.as_deref().unwrap_or(EPIC);
        let message = format!("must be {own} or {EPIC}, is {namespace}");
        checks.must(namespace == own || namespace == EPIC, "metadata.namespace", message);
        let id = self.spec.group_id.unwrap_or_default();
        checks.range(id, (0, MAX_ID), "spec.group-id");
        Some(AccountForm { namespace: own, group_id: NonZeroU16::new(u16::try_from(id).ok()?) })
    }
}
