//! Translates Plans into Envoy's configuration, one file per kind of resource. Entry point: [`translate`].
//!
//! Every cluster gets its endpoints by EDS and is always sent with its assignment.

pub mod assignment;
pub mod cluster;
pub mod health_check;
pub mod listener;
mod model;
pub mod support;
mod translation;
mod wire;

pub use translation::translate;

#[cfg(test)]
mod tests;
