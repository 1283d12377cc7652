//! The role `addresses` on a town's nodes: [`keeper`] starts it, [`want`] writes the addresses that a node could serve, as its
//! agent would, and [`holders`] looks for an address on the nodes' interfaces.

use std::fs;
use std::net::IpAddr;

use anyhow::Result;

use crate::process::{self, Process};
use crate::town::trust::API_AUDIENCE;
use crate::town::{BOUND, Node, Town};
use crate::{kustomize, under_test, wait};

/// The agent's file in its run directory.
const FILE: &str = "addresses.json";

/// Grants the role its rights.
///
/// # Errors
/// Returns an error if the API server rejects them.
pub async fn rights(town: &Town) -> Result<()> {
    town.apply(&fs::read_to_string(kustomize::deploy().join("components/addresses/rights.yaml"))?).await
}

/// Starts the role on a node. It reads the file of the node's agent.
///
/// # Errors
/// Returns an error if it has no rights yet, or can't be started.
pub async fn keeper(town: &Town, index: usize) -> Result<Process> {
    let node = &town.nodes[index];
    let token = town.control.unbound_token(("portreeve", "portreeve-addresses"), API_AUDIENCE).await?;
    let kubeconfig = town.control.kubeconfig_with(&format!("addresses-{}", node.name), &token)?;
    let mut command = under_test::command_in(&node.netns, "agent")?;
    command.args(["addresses", "--node", &node.name, "--kubeconfig"]).arg(kubeconfig);
    command.arg("--file").arg(node.run_dir.join(FILE)).env("NO_COLOR", "1");
    Process::spawn(&format!("addresses-{}", node.name), &command)
}

/// Replaces the file of a node without an agent.
///
/// # Errors
/// Returns an error if the file can't be written.
pub fn want(node: &Node, addresses: &[IpAddr]) -> Result<()> {
    fs::create_dir_all(&node.run_dir)?;
    let (path, new) = (node.run_dir.join(FILE), node.run_dir.join("addresses.new"));
    fs::write(&new, serde_json::to_vec(addresses)?)?;
    Ok(fs::rename(new, path)?)
}

/// Returns the nodes that have an address as a single one, by their position.
///
/// # Errors
/// Returns an error if the addresses can't be listed.
pub fn holders(town: &Town, address: IpAddr) -> Result<Vec<usize>> {
    let prefix = if address.is_ipv4() { 32 } else { 128 };
    let mut found = Vec::new();
    for (index, node) in town.nodes.iter().enumerate() {
        let listed = process::run(node.netns.command("ip").args(["-o", "addr", "show"]))?;
        if listed.contains(&format!(" {address}/{prefix} ")) {
            found.push(index);
        }
    }
    Ok(found)
}

/// Waits until one node alone has an address, and returns its position. A node that had no time to renew its Lease may lose an
/// address at the moment when it adds it, and takes it off at once.
///
/// # Errors
/// Returns an error if it takes too long.
pub async fn holder(town: &Town, address: IpAddr) -> Result<usize> {
    wait::eventually(&format!("{address} to be on one node"), BOUND, || async {
        let on = holders(town, address).ok()?;
        on.first().copied().filter(|_| on.len() == 1)
    })
    .await
}
