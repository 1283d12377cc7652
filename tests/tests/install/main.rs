//! The complete installation on real nodes: the shipped manifests and the images of this source tree, in one cluster
//! from the first command to the last.

mod addresses;
mod conditions;
mod confined;
mod convergence;
mod faults;
mod sidecars;
mod site;
mod tunnels;
mod uninstall;

use anyhow::Result;
use site::{PORTS, Site, call};

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_installed_confined_quick_and_replaced_under_traffic() -> Result<()> {
    let mut site = Site::install().await?;
    for (number, port) in PORTS.enumerate() {
        site.cluster.apply(&call(&format!("call-{number}"), port)).await?;
    }
    for number in 0..PORTS.len() {
        site.programmed(&format!("call-{number}")).await?;
    }
    site.each_key_has_its_pod_behind_every_gateway()?;
    site.connections_are_answered().await?;
    sidecars::take_a_call(&site).await?;
    addresses::are_put_on_nodes(&site).await?;
    tunnels::are_opened(&site).await?;
    confined::all_parts(&site).await?;
    convergence::of_a_hundred_calls(&site).await?;
    site.replaced(("daemonset", "portreeve-agent"), &site.next("agent")?, 0).await?;
    site.agents_took_turns()?;
    site.replaced(("daemonset", "portreeve-gateway"), &site.next("gateway")?, 1).await?;
    site.replaced(("deployment", "portreeve-hub"), &site.next("hub")?, 0).await?;
    faults::hubs_are_evicted(&site).await?;
    faults::node_dies_and_comes_back(&mut site).await?;
    uninstall::leaves_nothing(&site).await
}
