//! The kinds of objects that the product accepts, one row each ([`ALL`]). What the hub does with a kind is in the hub's own
//! registry.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;

use crate::a::virtual_service::{self, VirtualService};
use crate::kind::Kind;
use crate::own::node_proxy;

/// A kind of objects.
#[derive(Debug)]
pub struct Row {
    /// Which kind it is.
    pub kind: &'static Kind,
    /// Its definition as generated from its type.
    pub crd: fn() -> CustomResourceDefinition,
}

/// Every kind, in the order in which their definitions are installed.
pub const ALL: &[Row] = &[
    Row { kind: &virtual_service::KIND, crd: VirtualService::crd },
    Row { kind: &node_proxy::KIND, crd: node_proxy::crd },
];
