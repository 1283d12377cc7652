//! RemoteEndpoint, `epic.acnodal.io/v1`: a port of a customer's pod (C10), in E1's form.
//! Entry points: [`RemoteEndpoint::parse`], [`RemoteEndpoint::validate`] and [`RemoteEndpoint::form`].
#![allow(unreachable_pub, reason = "KubeSchema repeats each type inside of a function")]
#![allow(clippy::duplicated_attributes, reason = "print columns share their keys")]

use kube::core::ApiResource;
use kube::{CustomResource, CustomResourceExt, KubeSchema};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::endpoint_form::{EndpointForm, EndpointStatus, Parts};
use super::labels::{OWNING_CLUSTER, Reference, reference};
use super::port::EndpointPort;
use super::schema::{self, MAX_CLUSTER};
use crate::door::{self, ParseError};
use crate::kind::{Api, Definition, Kind, Purpose};
use crate::object_field;
use crate::violation::{Checks, Violation};

/// The kind RemoteEndpoint.
pub const KIND: Kind = Kind {
    api: Api::C,
    name: "RemoteEndpoint",
    namespaced: true,
    prefix: "C/RemoteEndpoint",
    purpose: Purpose::Part,
};

/// The kind's definition in the API server.
pub const DEFINITION: Definition = Definition {
    kind: &KIND,
    resource: || ApiResource::erase::<RemoteEndpoint>(&()),
    crd: RemoteEndpoint::crd,
};

/// A port of a customer's pod.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq)]
#[kube(
    group = "epic.acnodal.io",
    version = "v1",
    kind = "RemoteEndpoint",
    plural = "remoteendpoints",
    shortname = "rep",
    shortname = "reps",
    namespaced,
    status = "EndpointStatus",
    derive = "PartialEq",
    derive = "Default",
    doc = "A port of a customer's pod, to which a load balancer sends connections.",
    printcolumn(
        name = "Load Balancer",
        type_ = "string",
        json_path = ".metadata.labels.owning-loadbalancer"
    ),
    printcolumn(name = "Address", type_ = "string", json_path = ".spec.address"),
    printcolumn(name = "Node Address", type_ = "string", json_path = ".spec.node-address"),
    printcolumn(name = "Port", type_ = "integer", json_path = ".spec.port.port"),
    printcolumn(name = "Protocol", type_ = "string", json_path = ".spec.port.protocol"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "kebab-case")]
#[schemars(extend("required" = ["address", "cluster", "port"]))]
pub struct RemoteEndpointSpec {
    /// Customer's cluster that the endpoint is on, one of the load balancer's `upstream-clusters`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(required, length(min = 1, max = MAX_CLUSTER))]
    pub cluster: Option<String>,
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

// === impl RemoteEndpoint ===

impl RemoteEndpoint {
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

    /// Returns the customer's cluster. The label `owning-cluster` repeats it (C17).
    ///
    /// # Errors
    /// Returns the field and the label that disagree.
    pub fn cluster(&self) -> Reference {
        let field = self.spec.cluster.as_deref().map(|name| ("spec.cluster", name));
        reference(field, &self.metadata, &[OWNING_CLUSTER])
    }

    fn read(&self, checks: &mut Checks) -> Option<EndpointForm> {
        let cluster = self.spec.cluster.as_deref();
        checks.given_name(cluster, MAX_CLUSTER, "spec.cluster");
        self.parts().check(checks)
    }

    fn parts(&self) -> Parts<'_> {
        Parts {
            meta: &self.metadata,
            address: self.spec.address.as_deref(),
            node_address: self.spec.node_address.as_deref(),
            port: self.spec.port.as_ref(),
            load_balancer: None,
            cluster: self.spec.cluster.as_deref(),
        }
    }
}
