//! The resolved form of RemoteEndpoints and of Endpoints of the document form: [`EndpointForm`] (C10).
#![allow(unreachable_pub, reason = "KubeSchema repeats each type inside of a function")]

use std::net::IpAddr;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::KubeSchema;
use kube::core::ObjectMeta;
use serde::{Deserialize, Serialize};

use super::address;
use super::labels::{OWNING_LOAD_BALANCER, PREFIX, Reference, reference};
use super::port::{EndpointPort, Port};
use super::schema::{MAX_ID, MAX_TUNNEL_ID};
use crate::violation::Checks;

/// An endpoint of a load balancer: a port of a customer's pod, behind a tunnel to the pod's node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointForm {
    /// The pod's address.
    pub address: IpAddr,
    /// The pod's port.
    pub port: Port,
    /// The upstream cluster. `None` for Endpoints of the document form, which have none.
    pub cluster: Option<String>,
    /// The address of the pod's node, the other end of the tunnel. `None`: there is no tunnel.
    pub node_address: Option<IpAddr>,
    /// The load balancer's name.
    pub load_balancer: Reference,
}

/// What the programs say about an endpoint. The ids are copies for the clean-up after the load balancer is gone (C13).
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub struct EndpointStatus {
    /// The account's `group-id`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = MAX_ID))]
    pub group_id: Option<i32>,
    /// The load balancer's `service-id`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = MAX_ID))]
    pub service_id: Option<i32>,
    /// The number of the tunnel to the endpoint's node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = MAX_TUNNEL_ID))]
    pub tunnel_id: Option<i64>,
    /// The load balancer's `proxy-ifindex`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy_ifindex: Option<i64>,
    /// `Accepted` and `ResolvedRefs`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}

/// The fields of an endpoint, of either kind.
pub(super) struct Parts<'a> {
    /// The object's metadata.
    pub(super) meta: &'a ObjectMeta,
    /// `spec.address`.
    pub(super) address: Option<&'a str>,
    /// `spec.node-address`.
    pub(super) node_address: Option<&'a str>,
    /// `spec.port`.
    pub(super) port: Option<&'a EndpointPort>,
    /// `spec.load-balancer`.
    pub(super) load_balancer: Option<&'a str>,
    /// `spec.cluster`.
    pub(super) cluster: Option<&'a str>,
}

// === impl Parts ===

impl Parts<'_> {
    pub(super) fn load_balancer(&self) -> Reference {
        let field = self.load_balancer.map(|name| ("spec.load-balancer", name));
        reference(field, self.meta, &[OWNING_LOAD_BALANCER])
    }

    pub(super) fn check(&self, checks: &mut Checks) -> Option<EndpointForm> {
        let address = address::required(self.address, ("spec.address", "address"), checks);
        let node = address::optional(self.node_address, ("spec.node-address", "node-address"), checks);
        checks.must(self.port.is_some(), "spec.port", "is required");
        let port = self.port.and_then(|port| port.check("spec.port", checks));
        let load_balancer = self.load_balancer();
        let message = format!("names no load balancer: add the label {PREFIX}{OWNING_LOAD_BALANCER}");
        checks.must_be_new(load_balancer != Ok(None), "metadata.labels", &message);
        let cluster = self.cluster.map(str::to_owned);
        Some(EndpointForm { address: address?, port: port?, cluster, node_address: node, load_balancer })
    }
}
