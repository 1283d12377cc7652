//! API C, `epic.acnodal.io/v1`: EPIC, which offers load balancers on gateway clusters to customers' clusters. Accounts
//! have groups, groups have load balancers, and load balancers have endpoints behind GUE tunnels.
//!
//! Two forms are accepted and kept as written: that of the document (`service-group`, kind Endpoint) and E1's (labels, kind
//! RemoteEndpoint), with the fields of later versions. Each kind's `form` is the same for all of them.

pub mod account;
pub mod address;
pub mod aggregation;
pub mod endpoint;
pub mod endpoint_form;
pub mod endpoint_name;
pub mod envoy_config;
pub mod epic;
pub mod finalizers;
pub mod group;
pub mod labels;
pub mod lb_service_group;
pub mod load_balancer;
pub mod names;
pub mod port;
pub mod range;
pub mod refusal;
pub mod remote_endpoint;
pub mod schema;
pub mod service_group;
pub mod service_prefix;
pub mod subnet;
pub mod tunnel;
pub mod tunnel_key;
