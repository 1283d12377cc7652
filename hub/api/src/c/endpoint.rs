//! Endpoint, `epic.acnodal.io/v1`: a port of a customer's pod (C10), in the document's form.
//! Entry points: [`Endpoint::parse`], [`Endpoint::validate`] and [`Endpoint::form`].
#![allow(unreachable_pub, reason = "KubeSchema repeats each type inside of a function")]
#![allow(clippy::duplicated_attributes, reason = "print columns share their keys")]

use kube::core::ApiResource;
use kube::{CustomResource, CustomResourceExt, KubeSchema};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::endpoint_form::{EndpointForm, EndpointStatus, Parts};
use super::labels::Reference;
use super::port::EndpointPort;
use super::schema::{self, MAX_NAME};
use crate::door::{self, ParseError};
use crate::kind::{Api, Definition, Kind, Purpose};
use crate::object_field;
use crate::violation::{Checks, Violation};

/// The kind Endpoint.
pub const KIND: Kind =
    Kind { api: Api::C, name: "Endpoint", namespaced: true, prefix: "C/Endpoint", purpose: Purpose::Part };

/// The kind's definition in the API server.
pub const DEFINITION: Definition =
    Definition { kind: &KIND, resource: || ApiResource::erase::<Endpoint>(&()), crd: Endpoint::crd };

/// A port of a customer's pod.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq)]
#[kube(
    group = "epic.acnodal.io",
    version = "v1",
    kind = "Endpoint",
    plural = "endpoints",
    namespaced,
    status = "EndpointStatus",
    derive = "PartialEq",
    derive = "Default",
    doc = "A port of a customer's pod, to which a load balancer sends connections.",
    printcolumn(name = "Load Balancer", type_ = "string", json_path = ".spec.load-balancer"),
    printcolumn(name = "Address", type_ = "string", json_path = ".spec.address"),
    printcolumn(name = "Node Address", type_ = "string", json_path = ".spec.node-address"),
    printcolumn(name = "Port", type_ = "integer", json_path = ".spec.port.port"),
    printcolumn(name = "Protocol", type_ = "string", json_path = ".spec.port.protocol"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "kebab-case")]
#[schemars(extend("required" = ["address", "port"]))]
pub struct EndpointSpec {
    /// Name of the load balancer. Without it the label `owning-loadbalancer` names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = MAX_NAME))]
    pub load_balancer: Option<String>,
    /// IP address of the pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(required, schema_with = "schema::address")]
    pub address: Option<String>,
    /// IP address of the pod's node, the other end of the tunnel. Empty: the pod is reached without a tunnel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::address_or_empty")]
    pub node_address: Option<String>,
    /// Port of the pod.
    #[serde(default, deserialize_with = "object_field::read", skip_serializing_if = "Option::is_none")]
    pub port: Option<EndpointPort>,
}

// === impl Endpoint ===

impl Endpoint {
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
    pub fn form(&self) -> Result<EndpointForm, Vec<Violation>> {
        Checks::form_of_stored(|checks| self.read(checks))
    }

    /// Returns the name of the load balancer (C17).
    ///
    /// # Errors
    /// Returns the first two places that disagree.
    pub fn load_balancer(&self) -> Reference {
        self.parts().load_balancer()
    }

    fn read(&self, checks: &mut Checks) -> Option<EndpointForm> {
        let name = self.spec.load_balancer.as_deref().unwrap_or_default();
        checks.length(name, (0, MAX_NAME), "spec.load-balancer");
        self.parts().check(checks)
    }

    fn parts(&self) -> Parts<'_> {
        Parts {
            meta: &self.metadata,
            address: self.spec.address.as_deref(),
            node_address: self.spec.node_address.as_deref(),
            port: self.spec.port.as_ref(),
            load_balancer: self.spec.load_balancer.as_deref(),
            cluster: None,
        }
    }
}
