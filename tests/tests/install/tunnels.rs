//! EPIC's end of the tunnels on real nodes: the component `tunnels` opens its device on every node, and takes it back.

use std::fs;

use anyhow::{Context, Result};
use portreeve_tests::cluster::Node;
use portreeve_tests::process::run;
use portreeve_tests::wait;

use crate::site::{BOUND, Site, deploy};

/// Installs the component, and waits for the device on every node.
pub async fn are_opened(site: &Site) -> Result<()> {
    let cluster = &site.cluster;
    let text = fs::read_to_string(deploy("components/tunnels/daemonset.yaml"))?;
    let set = text.replace("image: portreeve-agent", &format!("image: {}", site.agent_image()?));
    cluster.kubectl(&["apply", "-f", &deploy("components/tunnels/account.yaml")])?;
    cluster.apply(&set).await?;
    cluster.rolled_out("daemonset", "portreeve", "portreeve-tunnels", BOUND).await?;
    wait::until("the device of the tunnels on every node", BOUND, || async {
        cluster.nodes().iter().all(has_device)
    })
    .await
    .with_context(|| cluster.evidence())
}

/// Returns whether a node has the device of the tunnels.
fn has_device(node: &Node) -> bool {
    run(node.netns().command("ip").args(["link", "show", "gue0"])).is_ok()
}

/// Removes the component, and checks that its devices are gone.
pub async fn are_closed(site: &Site) -> Result<()> {
    let cluster = &site.cluster;
    cluster.kubectl(&["delete", "-n", "portreeve", "daemonset", "portreeve-tunnels"])?;
    cluster.kubectl(&["delete", "-f", &deploy("components/tunnels/account.yaml")])?;
    wait::until("no device of the tunnels", BOUND, || async { !cluster.nodes().iter().any(has_device) })
        .await
        .with_context(|| cluster.evidence())
}
