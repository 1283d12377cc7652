//! Incremental (delta) and state-of-the-world xDS for any enum of resource types.
//!
//! The crate knows no Kubernetes. Without the feature `net` it is the pure core: [`Snapshot`] is state, [`Session`]
//! is one stream's protocol as a synchronous struct, [`View`] is what one node sees and knows who watches it.
//! With `net` it adds a tonic server and a client that reconnects.

pub mod encode;
pub mod envoy;
pub mod message;
pub mod resource;
pub mod session;
pub mod snapshot;
pub mod view;
pub mod watch;

pub use envoy::EnvoyType;
pub use message::{Event, Kind, Node, Request, Response, Variant};
pub use resource::{Missing, Name, Resource, ResourceType, Version};
pub use session::Session;
pub use snapshot::{Changes, Snapshot};
pub use view::View;
pub use watch::Watch;
