//! The kinds of objects that the product accepts, one row each ([`ALL`]). What the hub does with a kind is in the hub's own
//! registry.

use crate::a::virtual_service;
use crate::kind::Definition;
use crate::own::node_proxy;

/// Every kind, in the order in which their definitions are installed.
pub const ALL: [&Definition; 2] = [&virtual_service::DEFINITION, &node_proxy::DEFINITION];
