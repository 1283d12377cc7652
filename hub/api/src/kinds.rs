//! The registry of the kinds of objects that the product accepts, one row each ([`ALL`]). The hub's own registry says
//! how the hub handles each kind.

use crate::a::virtual_service;
use crate::d::{egress_listener, ingress_listener};
use crate::kind::Definition;
use crate::own::node_proxy;
use crate::{b, c};

/// Every kind, in the order in which the CRDs are installed.
pub const ALL: [&Definition; 16] = [
    &virtual_service::DEFINITION,
    &node_proxy::DEFINITION,
    &ingress_listener::DEFINITION,
    &egress_listener::DEFINITION,
    &b::virtual_service::DEFINITION,
    &b::target::DEFINITION,
    &b::route::DEFINITION,
    &b::rule::DEFINITION,
    &c::epic::DEFINITION,
    &c::account::DEFINITION,
    &c::service_group::DEFINITION,
    &c::lb_service_group::DEFINITION,
    &c::load_balancer::DEFINITION,
    &c::endpoint::DEFINITION,
    &c::remote_endpoint::DEFINITION,
    &c::service_prefix::DEFINITION,
];
