//! A node of the town: its network, its agent and where the agent's files are.

use std::net::IpAddr;
use std::path::PathBuf;

use crate::envoy::Admin;
use crate::netns::Netns;
use crate::process::Process;

/// A node with its agent.
pub struct Node {
    /// Its number in the bed.
    pub number: u8,
    /// "n1" and so on.
    pub name: String,
    /// Its network.
    pub netns: Netns,
    /// Its agent, unless it was killed.
    pub agent: Option<Process>,
    /// The agent's run directory.
    pub run_dir: PathBuf,
    /// Its agent's way to the API server, with the token of its agent's pod.
    pub kubeconfig: PathBuf,
    /// The token of its agent's pod for the hub.
    pub token: PathBuf,
}

// === impl Node ===

impl Node {
    /// The admin interface of the node's `gateway`.
    pub fn gateway(&self) -> Admin {
        Admin::new(self.run_dir.join("keepers/gateway/admin.sock"))
    }

    /// The node's address.
    pub fn address(&self) -> IpAddr {
        self.netns.v4()
    }
}
