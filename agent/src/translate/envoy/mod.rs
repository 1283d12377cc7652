//! Translates Plans into Envoy's configuration, one file per kind of resource. Entry point: [`translate`].
//!
//! Every cluster gets its endpoints by EDS and is always sent with its assignment.

pub mod assignment;
mod chain;
pub mod cluster;
pub mod health_check;
mod http;
pub mod listener;
mod model;
mod peers;
mod principals;
mod sockets;
pub mod support;
mod target;
mod tls;
mod translation;
mod udp;
mod unbuilt;
mod wire;

pub use translation::translate;

#[cfg(test)]
mod tests;
