//! Incremental (delta) and state-of-the-world xDS for any enum of resource types.
//!
//! The crate does not know Kubernetes. Without the feature `net` it is a pure core: a [`Snapshot`] holds resources, a
//! [`Session`] is one stream's protocol as a synchronous struct, and a [`View`] is the snapshot of one node with the streams
//! that watch it. `net` adds a tonic server and a client that reconnects. (nix is used for one socket option, SO_PEERPIDFD. foldhash
//! hashes names with a secret seed in a quarter of the time of std's hasher, and each name of a first push is looked up a few times.)

pub mod base;
pub mod changes;
pub mod encode;
pub mod envoy;
mod follow;
mod load;
pub mod message;
mod place;
mod protobuf;
pub mod resource;
pub mod session;
pub mod snapshot;
mod table;
pub mod view;
pub mod watch;

#[cfg(feature = "net")]
mod budget;
#[cfg(feature = "net")]
pub mod client;
#[cfg(feature = "net")]
pub mod connect;
#[cfg(feature = "net")]
mod connection;
#[cfg(feature = "net")]
mod cut;
#[cfg(feature = "net")]
mod frames;
#[cfg(feature = "net")]
mod limits;
#[cfg(feature = "net")]
mod pace;
#[cfg(feature = "net")]
mod peer;
#[cfg(feature = "net")]
mod requests;
#[cfg(feature = "net")]
pub mod serve;
#[cfg(feature = "net")]
pub mod server;
#[cfg(feature = "net")]
mod source;
#[cfg(feature = "net")]
mod spanned;
#[cfg(feature = "net")]
mod stream;
#[cfg(feature = "net")]
mod tally;
#[cfg(feature = "net")]
mod turn;
#[cfg(feature = "net")]
pub mod unix;
#[cfg(feature = "net")]
pub mod wire;

pub use base::Base;
pub use changes::Changes;
pub use envoy::EnvoyType;
pub use follow::Follower;
pub use load::Load;
pub use message::{Event, Kind, Node, Request, Response, Variant, Versions};
pub use resource::{Missing, Name, Resource, ResourceType, Version};
pub use session::Session;
pub use snapshot::{Snapshot, Withheld};
pub use view::{Batch, View};
pub use watch::{Take, Watch};

#[cfg(feature = "net")]
pub use budget::Budget;
#[cfg(feature = "net")]
pub use client::{ClientSession, Delta, Sink, Upsert};
#[cfg(feature = "net")]
pub use connect::{Connect, run};
#[cfg(feature = "net")]
pub use connection::Connection;
#[cfg(feature = "net")]
pub use limits::Limits;
#[cfg(feature = "net")]
pub use peer::{Pass, Peer};
#[cfg(feature = "net")]
pub use serve::{Keepalive, serve_incoming, serve_tcp, serve_unix, serve_unix_gated};
#[cfg(feature = "net")]
pub use server::routes;
#[cfg(feature = "net")]
pub use source::{Hello, Source, StreamGuard, StreamInfo};
#[cfg(feature = "net")]
pub use unix::Gate;
