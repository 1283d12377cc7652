//! How a proxy subscribes to resources: [`Streams`].

/// How a proxy subscribes to the resources that others refer to: assignments and secrets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Streams {
    /// All types come by one aggregated stream.
    #[default]
    Aggregated,
    /// Every subscription has a stream of its own. Such a proxy may have no aggregated stream, and then it rejects
    /// resources that refer to one.
    Separate(Server),
}

/// The agent as a proxy with separate streams reaches it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// The name of the cluster in the proxy's bootstrap through which it reaches the agent.
    pub cluster: String,
    /// Whether the proxy uses the incremental variant.
    pub delta: bool,
}
