//! The agent.
pub mod envoy;
pub mod translate;
pub mod world;
pub mod keeper;
pub mod keepers;
pub mod roles;
