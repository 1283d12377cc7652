//! From Plans to Envoy's configuration, one file per kind of resource. Entry point: [`translate`].
//!
//! Every cluster takes its endpoints by EDS, and its assignment always comes with it.

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
