//! The hub's resources as own types, read once from the protobuf of [`crate::plan`]: [`Plan`], [`NodeProxy`] and
//! [`Endpoint`]. Addresses, ports, durations and selectors are parsed, and optional fields are `Option`s. Code that uses
//! these types handles no raw strings, enum numbers, or 0 and "" as placeholders.
//!
//! Reading (`TryFrom` the message) fails with a [`Flaw`] if a value is invalid in every version, or if an unknown value
//! would change which proxies take the Plan. An unknown value in a single listener or cluster, which a newer hub may send,
//! is kept as `Unknown`; the translator then rejects only that listener. Writing (`From<&…>` for the message) is the
//! inverse of reading: a value is read back as it was written, and a hub's message is written back byte for byte.

mod cluster;
mod endpoint;
mod envoy_resource;
mod flaw;
mod listener;
mod node_proxy;
mod plan;
mod security;
mod selector;
mod socket;
mod source;
#[cfg(test)]
mod tests;
mod tunnels;
mod workload;

pub use crate::selector::{Requirement, Selector, Test};
pub use crate::tunnel_peer::TunnelPeer;
pub use cluster::{Balancer, Cluster, Elsewhere, HealthCheck};
pub use endpoint::Endpoint;
pub use envoy_resource::{EnvoyBody, EnvoyResource};
pub use flaw::{Flaw, UnreadablePlan};
pub use listener::{Listener, Options, Retry, Rewrite, Route, Rule, RuleList};
pub use node_proxy::{EnvoySettings, L7mpSettings, Namespaces, NodeProxy, Settings};
pub use plan::{Origin, Plan, TEMPLATE, TUNNELS};
pub use security::{Cidr, NotACidr, Secret, SourcePolicy, Tls, is_subject};
pub use socket::{Address, HeaderField, Protocol, Scope, Socket};
pub use source::{EndpointSource, Source};
pub use tunnels::{Tunnel, TunnelledEndpoint, Tunnels};
pub use workload::{ProxyKind, Workload};
