//! Translates Plans into Envoy's configuration, one file per kind of resource (entry point: [`translate`]), and lists the
//! kinds of proxies that this agent serves ([`registry`]).
//!
//! Every cluster gets its endpoints by EDS and is always sent with its assignment. The crate is pure like
//! `portreeve-agent-core`. It stands beside it because `envoy-types`, where Envoy's messages come from, always depends on
//! a gRPC server and its runtime.

pub mod assignment;
mod chain;
pub mod cluster;
mod config_source;
mod hash;
pub mod health_check;
mod http;
pub mod listener;
mod model;
mod peers;
mod predicate;
mod principals;
pub mod registry;
mod retries;
mod routes;
mod sockets;
pub mod support;
mod target;
mod templated;
mod tls;
mod translation;
mod types;
mod udp;
mod unbuilt;
mod wire;

pub use translation::translate;
pub use types::Envoy;

#[cfg(test)]
mod tests;
