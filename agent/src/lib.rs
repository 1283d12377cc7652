//! The agent.
pub mod envoy;
pub mod translate;
pub mod world;
