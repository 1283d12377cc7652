//! ServicePrefix, `epic.acnodal.io/v1`: a pool of public addresses (C18). Entry points: [`ServicePrefix::parse`],
//! [`ServicePrefix::validate`] and [`ServicePrefix::form`].
#![allow(unreachable_pub, reason = "KubeSchema repeats each type inside of a function")]

use std::net::IpAddr;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::core::ApiResource;
use kube::{CustomResource, CustomResourceExt, KubeSchema};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::address;
use super::aggregation::Aggregation;
use super::names::EPIC;
use super::range::Range;
use super::schema::{self, MAX_INTERFACE};
use super::subnet::{Subnet, width};
use crate::door::{self, ParseError};
use crate::kind::{Api, Definition, Kind, Purpose};
use crate::violation::{Checks, Violation};

/// The kind ServicePrefix.
pub const KIND: Kind = Kind {
    api: Api::C,
    name: "ServicePrefix",
    namespaced: true,
    prefix: "C/ServicePrefix",
    purpose: Purpose::Part,
};

/// The kind's definition in the API server.
pub const DEFINITION: Definition = Definition {
    kind: &KIND,
    resource: || ApiResource::erase::<ServicePrefix>(&()),
    crd: ServicePrefix::crd,
};

/// The bridge of the proxies' pods if none is given.
pub const MULTUS_BRIDGE: &str = "multus0";

/// Maximum length of a pool's text: two IPv6 addresses in their longest form, and what is between them.
const MAX_POOL: usize = 91;

/// The schema's pattern of pools; the programs check the rest.
const POOL: &str = "^ *[0-9A-Fa-f:.]+ *[-/] *[0-9A-Fa-f:.]+ *$";

/// The schema's pattern of aggregations.
const AGGREGATION: &str = "^(default|/[0-9]{1,3})$";

/// A pool of public addresses.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq)]
#[kube(
    group = "epic.acnodal.io",
    version = "v1",
    kind = "ServicePrefix",
    plural = "serviceprefixes",
    shortname = "sp",
    shortname = "sps",
    namespaced,
    status = "ServicePrefixStatus",
    derive = "PartialEq",
    derive = "Default",
    doc = "A pool of public addresses. The pools of two objects must not overlap."
)]
#[serde(rename_all = "kebab-case")]
pub struct ServicePrefixSpec {
    /// Subnet of the addresses, for example `192.168.77.0/24`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(required, schema_with = "schema::subnet")]
    pub subnet: Option<String>,
    /// Addresses of the pool: a range, for example `192.168.77.2-192.168.77.8`, or a subnet. Both ends are usable.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(required, regex(pattern = POOL), length(max = MAX_POOL))]
    pub pool: Option<String>,
    /// Gateway's address in the subnet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::address_or_empty")]
    pub gateway: Option<String>,
    /// What is routed: `default` for the subnet, or for example `/32` for the subnet of that length around each address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = AGGREGATION), extend("default" = "default"))]
    pub aggregation: Option<String>,
    /// Bridge of the proxies' pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = MAX_INTERFACE), extend("default" = MULTUS_BRIDGE))]
    pub multus_bridge: Option<String>,
}

/// What the hub says about the object.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq)]
pub struct ServicePrefixStatus {
    /// `Accepted`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}

/// A parsed ServicePrefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePrefixForm {
    /// The subnet of the addresses.
    pub subnet: Subnet,
    /// The addresses.
    pub pool: Range,
    /// The gateway. `None`: there is none.
    pub gateway: Option<IpAddr>,
    /// What is routed for an address.
    pub aggregation: Aggregation,
    /// The bridge of the proxies' pods.
    pub multus_bridge: String,
}

// === impl ServicePrefix ===

impl ServicePrefix {
    /// Reads an object. Returns it with a warning for each unknown field.
    ///
    /// # Errors
    /// Returns an error that names the field which can't be read, see [`door::parse`].
    pub fn parse(value: Value) -> Result<(Self, Vec<String>), ParseError> {
        door::parse(value)
    }

    /// Checks the rules for new objects. Returns an empty list for a valid object (C18).
    pub fn validate(&self) -> Vec<Violation> {
        let mut checks = Checks::default();
        self.read(&mut checks);
        checks.done()
    }

    /// Returns the parsed form of an object that may be older than some rules.
    ///
    /// # Errors
    /// Returns the rules that it breaks.
    pub fn form(&self) -> Result<ServicePrefixForm, Vec<Violation>> {
        Checks::form_of_stored(|checks| self.read(checks))
    }

    fn read(&self, checks: &mut Checks) -> Option<ServicePrefixForm> {
        // Files may leave the namespace to the command line.
        let namespace = self.metadata.namespace.as_deref().unwrap_or(EPIC);
        checks.must(namespace == EPIC, "metadata.namespace", format!("must be {EPIC}, is {namespace}"));
        self.spec.read(checks)
    }
}

// === impl ServicePrefixSpec ===

impl ServicePrefixSpec {
    fn read(&self, checks: &mut Checks) -> Option<ServicePrefixForm> {
        checks.must(self.subnet.is_some(), "spec.subnet", "is required");
        let subnet: Option<Subnet> =
            self.subnet.as_deref().and_then(|text| checks.parsed(text, "spec.subnet"));
        checks.must(self.pool.is_some(), "spec.pool", "is required");
        let pool = self.pool.as_deref().and_then(|text| read_pool(text, checks));
        let gateway = address::optional(self.gateway.as_deref(), ("spec.gateway", "gateway"), checks);
        let aggregation = match &self.aggregation {
            Some(text) => checks.parsed(text, "spec.aggregation"),
            None => Some(Aggregation::Default),
        };
        if let (Some(Aggregation::Length(bits)), Some(pool)) = (aggregation, pool) {
            let most = width(pool.first());
            let message = format!("must be at most /{most} for the pool's addresses, is /{bits}");
            checks.must(bits <= most, "spec.aggregation", message);
        }
        let bridge = self.multus_bridge.as_deref().unwrap_or(MULTUS_BRIDGE);
        checks.length(bridge, (1, MAX_INTERFACE), "spec.multus-bridge");
        Some(ServicePrefixForm {
            subnet: subnet?,
            pool: pool?,
            gateway,
            aggregation: aggregation?,
            multus_bridge: bridge.to_owned(),
        })
    }
}

fn read_pool(text: &str, checks: &mut Checks) -> Option<Range> {
    let pool = checks.parsed(text, "spec.pool")?;
    // Spaces can make a valid range too long.
    checks.length(text, (1, MAX_POOL), "spec.pool");
    Some(pool)
}
