//! The agent's state and its judgement: what the hub said, the node's pods and proxies, and what follows for each proxy
//! and each status.
//!
//! Everything here is synchronous and pure: no task, no clock, no file, no socket. The agent's tasks bring each event
//! to a verb of [`world::World`], with the time where it matters, and carry out what the verb returns. The crate
//! depends on no async runtime, no gRPC library and no Kubernetes client; a test asks cargo. What Envoy's messages look
//! like is in `portreeve-envoy`, because the crate of those messages brings a gRPC server with it.

pub mod claims;
pub mod fleet;
pub mod health;
pub mod names;
pub mod status;
pub mod translate;
pub mod world;
