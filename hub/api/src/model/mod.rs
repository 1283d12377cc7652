//! The hub's resources as own types, read once from the protobuf of [`crate::plan`]: [`Plan`], [`NodeProxy`] and
//! [`Endpoint`]. Addresses, ports, durations and selectors are parsed, and what may be missing is an `Option`; nothing behind
//! this door interprets texts, numbers of enumerations, or 0 and "" that mean nothing.
//!
//! Reading (`TryFrom` of the message) fails with a [`Flaw`] for what makes no sense in any version, and for what would change
//! who takes the Plan. What a newer hub may know and one listener or cluster asks for is kept as `Unknown`: whoever translates
//! refuses that listener alone. Writing (`From<&…>` for the message) is the inverse: what was written is read back as it was,
//! and what a hub sent is written byte for byte.

mod cluster;
mod endpoint;
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
mod workload;

pub use crate::selector::{Requirement, Selector, Test};
pub use cluster::{Balancer, Cluster, HealthCheck};
pub use endpoint::Endpoint;
pub use flaw::{Flaw, UnreadablePlan};
pub use listener::{Listener, Options, Retry, Rewrite, Route, Rule, RuleList};
pub use node_proxy::{EnvoySettings, L7mpSettings, Namespaces, NodeProxy, Settings};
pub use plan::{Origin, Plan};
pub use security::{Cidr, NotACidr, SourcePolicy, Tls};
pub use socket::{Address, HeaderField, Protocol, Scope, Socket};
pub use source::{EndpointSource, Source};
pub use workload::{ProxyKind, Workload};
