//! Translates Plans into an l7mp proxy's configuration, as [`L7mp`]'s [`ProxyModel`](super::ProxyModel), and its
//! resource types ([`L7mp`]) with their bodies ([`objects`]). The driver in `portreeve-l7mp` turns these into the proxy's
//! own objects.

mod endpoints;
mod model;
pub mod objects;
mod rules;
mod spec;
mod support;
#[cfg(test)]
mod tests;
mod translation;
mod types;

pub use types::L7mp;
