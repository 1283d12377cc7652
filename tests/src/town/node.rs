//! A node of the town: its network, its agent and the agent's files.

use std::net::IpAddr;
use std::path::PathBuf;

use crate::envoy::Admin;
use crate::netns::Netns;
use crate::process::Process;

/// A node with its agent.
pub struct Node {
    /// Number on the bed.
    pub number: u8,
    /// Name: "n1" and so on.
    pub name: String,
    /// Its network.
    pub netns: Netns,
    /// The agent. `None` after it was killed.
    pub agent: Option<Process>,
    /// The agent's run directory.
    pub run_dir: PathBuf,
    /// The agent's kubeconfig, with the token of its pod.
    pub kubeconfig: PathBuf,
    /// The token of the agent's pod for the hub.
    pub token: PathBuf,
}

// === impl Node ===

impl Node {
    /// Returns the admin interface of the node's `gateway`.
    pub fn gateway(&self) -> Admin {
        Admin::new(self.run_dir.join("keepers/gateway/admin.sock"))
    }

    /// Returns the node's address.
    pub fn address(&self) -> IpAddr {
        self.netns.v4()
    }
}
