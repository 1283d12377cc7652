//! The hub's own cluster ([`Home`]).

use kube::{Client, Config};

/// The hub's own cluster.
#[derive(Clone, Copy)]
pub struct Home<'h> {
    /// A client of its API server.
    pub client: &'h Client,
    /// The client's configuration.
    pub config: &'h Config,
    /// The hub's namespace.
    pub namespace: &'h str,
}
