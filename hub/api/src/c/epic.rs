//! EPIC, `epic.acnodal.io/v1`: the only object `epic/epic`, with the settings of the system and the counters of its ids
//! (C2, C3, C5). Entry points: [`Epic::parse`], [`Epic::validate`] and [`Epic::form`].
#![allow(unreachable_pub, reason = "KubeSchema repeats each type inside of a function")]

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::num::NonZeroU16;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::core::ApiResource;
use kube::{CustomResource, CustomResourceExt, KubeSchema};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::names::EPIC;
use super::port::{EndpointPort, GUE_PORT};
use super::schema::{self, MAX_ID, MAX_IMAGE, MAX_INTERFACE, MAX_INTERFACES, MAX_RESERVED, MAX_TUNNEL_ID};
use super::tunnel::TunnelEndpoint;
use super::{address, refusal};
use crate::door::{self, ParseError};
use crate::kind::{Api, Definition, Kind, Purpose};
use crate::object_field;
use crate::violation::{Checks, Violation};

/// The kind EPIC.
pub const KIND: Kind =
    Kind { api: Api::C, name: "EPIC", namespaced: true, prefix: "C/EPIC", purpose: Purpose::Part };

/// The kind's definition in the API server.
pub const DEFINITION: Definition = Definition {
    kind: &KIND,
    resource: || ApiResource::erase::<Epic>(&()),
    crd: || schema::default_spec(Epic::crd()),
};

/// The image of the endpoint discovery service if none is given.
pub const EDS_IMAGE: &str = "registry.gitlab.com/acnodal/xds-operator:latest";

/// The network interface that tunnels come in by if none is given.
pub const INGRESS_NIC: &str = "enp1s0";

/// Settings of the system. All are optional: the document's object has an empty `spec`, and is stored as it is.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq)]
#[kube(
    group = "epic.acnodal.io",
    version = "v1",
    kind = "EPIC",
    root = "Epic",
    plural = "epics",
    namespaced,
    status = "EpicStatus",
    derive = "PartialEq",
    derive = "Default",
    doc = "Settings of EPIC and the counters of its ids. The only object is epic in the namespace epic.",
    validation = Rule::new("self.metadata.name == 'epic'").message(refusal::epic_name().as_str())
)]
#[serde(rename_all = "kebab-case")]
pub struct EpicSpec {
    /// Image of the endpoint discovery service. Default: `registry.gitlab.com/acnodal/xds-operator:latest`. It has no
    /// effect: the hub serves endpoints.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = MAX_IMAGE))]
    pub eds_image: Option<String>,
    /// Image of the proxies. It has no effect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = MAX_IMAGE))]
    pub envoy_image: Option<String>,
    /// Image of the proxies' control plane. It has no effect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = MAX_IMAGE))]
    pub xds_image: Option<String>,
    /// Settings of the nodes.
    #[serde(default, deserialize_with = "object_field::read", skip_serializing_if = "Option::is_none")]
    pub base: Option<NodeBase>,
}

/// Settings of the nodes.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub struct NodeBase {
    /// Network interfaces that tunnels come in by. Default: `enp1s0`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(max = MAX_INTERFACES),
        inner(length(min = 1, max = MAX_INTERFACE)),
        extend("default" = json!([INGRESS_NIC]))
    )]
    pub gue_ingress_nics: Option<Vec<String>>,
    /// EPIC's end of the tunnels. Without an address it is the public address of each load balancer, which moves with it between
    /// gateways.
    #[serde(default, deserialize_with = "object_field::read", skip_serializing_if = "Option::is_none")]
    pub gue_endpoint: Option<TunnelEndpoint>,
}

/// The counters of ids, and what the hub says about the object.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub struct EpicStatus {
    /// The last `group-id` that an Account got.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = MAX_ID))]
    pub current_group_id: Option<i32>,
    /// The last `tunnel-id` that a tunnel got.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = MAX_TUNNEL_ID))]
    pub current_tunnel_id: Option<i64>,
    /// Addresses that load balancers are about to get, by the load balancers. The hub keeps them until it sees them in the
    /// load balancers, so that several hubs never give one address to two (C18).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("maxProperties" = MAX_RESERVED))]
    pub reserved_addresses: Option<BTreeMap<String, String>>,
    /// `Accepted`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}

/// Settings of the system, with their defaults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EpicForm {
    /// The image of the endpoint discovery service.
    pub eds_image: String,
    /// The network interfaces that tunnels come in by.
    pub ingress_nics: Vec<String>,
    /// EPIC's address of the tunnels. `None`: each load balancer's public address. (C.6 has the gateway's node there, but customers'
    /// nodes read a tunnel once, and a node's address doesn't move to another gateway.)
    pub epic_address: Option<IpAddr>,
    /// EPIC's UDP port of the tunnels.
    pub epic_port: NonZeroU16,
}

// === impl Epic ===

impl Epic {
    /// Reads an object. Returns it with a warning for each unknown field. An object may lack `spec`.
    ///
    /// # Errors
    /// Returns an error that names the field which can't be read, see [`door::parse`].
    pub fn parse(value: Value) -> Result<(Self, Vec<String>), ParseError> {
        door::parse(schema::with_spec(value))
    }

    /// Checks the rules for new objects. Returns an empty list for a valid object (C2, C14).
    pub fn validate(&self) -> Vec<Violation> {
        let mut checks = Checks::default();
        self.read(&mut checks);
        checks.done()
    }

    /// Returns the settings of an object that may be older than some rules.
    ///
    /// # Errors
    /// Returns the rules that it breaks.
    pub fn form(&self) -> Result<EpicForm, Vec<Violation>> {
        Checks::form_of_stored(|checks| self.read(checks))
    }

    fn read(&self, checks: &mut Checks) -> Option<EpicForm> {
        let name = self.metadata.name.as_deref();
        checks.must(name == Some(EPIC), "metadata.name", refusal::epic_name());
        // Files may leave the namespace to the command line.
        let namespace = self.metadata.namespace.as_deref().unwrap_or(EPIC);
        checks.must(namespace == EPIC, "metadata.namespace", refusal::epic_namespace());
        self.spec.read(checks)
    }
}

// === impl EpicSpec ===

impl EpicSpec {
    fn read(&self, checks: &mut Checks) -> Option<EpicForm> {
        let images = [
            ("spec.eds-image", &self.eds_image),
            ("spec.envoy-image", &self.envoy_image),
            ("spec.xds-image", &self.xds_image),
        ];
        for (path, image) in images {
            checks.length(image.as_deref().unwrap_or_default(), (0, MAX_IMAGE), path);
        }
        let base = self.base.as_ref();
        let nics = base.and_then(|base| base.gue_ingress_nics.as_deref());
        let most = (MAX_INTERFACES, MAX_INTERFACE);
        checks.names(nics.unwrap_or_default(), most, "spec.base.gue-ingress-nics");
        let gue = base.and_then(|base| base.gue_endpoint.as_ref());
        let (epic_address, port) = gue.map_or((None, None), |gue| endpoint(gue, checks));
        let image = self.eds_image.as_deref().filter(|image| !image.is_empty());
        Some(EpicForm {
            eds_image: image.unwrap_or(EDS_IMAGE).to_owned(),
            ingress_nics: nics.map_or_else(|| vec![INGRESS_NIC.to_owned()], <[String]>::to_vec),
            epic_address,
            epic_port: port.or(NonZeroU16::new(GUE_PORT))?,
        })
    }
}

/// Checks EPIC's end of the tunnels. Returns its address and port, if they are given.
fn endpoint(gue: &TunnelEndpoint, checks: &mut Checks) -> (Option<IpAddr>, Option<NonZeroU16>) {
    let path = "spec.base.gue-endpoint";
    let at = (&*format!("{path}.epic-address"), "epic-address");
    let address = address::optional(gue.epic_address.as_deref(), at, checks);
    let read = |port: &EndpointPort| port.check(&format!("{path}.epic-port"), checks);
    let port = gue.epic_port.as_ref().and_then(read).map(|port| port.port);
    let id = gue.tunnel_id.unwrap_or_default();
    let message = format!("must be from 0 to {MAX_TUNNEL_ID}, is {id}");
    checks.must((0..=MAX_TUNNEL_ID).contains(&id), format!("{path}.tunnel-id"), message);
    (address, port)
}
