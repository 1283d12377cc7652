//! The agent.
pub mod envoy;
