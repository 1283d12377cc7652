//! Public addresses on real nodes: the component `addresses` puts them on the gateways' nodes, and they move when a node dies.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use portreeve_tests::process::run;
use portreeve_tests::{epic, path, wait};

use crate::site::{BOUND, PORT, Site, deploy};

/// The public port. No call uses it.
const UDP: u16 = 7060;
/// Enough addresses that each node has one, because they are spread by their hashes.
const COUNT: u8 = 6;
/// How long an address may be away when its node dies.
const TAKEOVER: Duration = Duration::from_secs(3);
/// The node that dies.
pub const LOST: usize = 1;

/// An address of the nodes' network that no machine has.
fn address(site: &Site, number: u8) -> IpAddr {
    let [a, b, c, _] = site.cluster.node(0).address().octets();
    Ipv4Addr::new(a, b, c, 200 + number).into()
}

fn daemon_set(site: &Site) -> Result<String> {
    let text = fs::read_to_string(deploy("components/addresses/daemonset.yaml"))?;
    Ok(text.replace("image: portreeve-agent", &format!("image: {}", site.agent_image()?)))
}

/// Installs the component, and creates load balancers whose endpoint is the first worker, which lives on.
pub async fn are_put_on_nodes(site: &Site) -> Result<()> {
    let cluster = &site.cluster;
    cluster.kubectl(&["apply", "-f", &deploy("components/addresses/rights.yaml")])?;
    cluster.apply(&daemon_set(site)?).await?;
    cluster.rolled_out("daemonset", "portreeve", "portreeve-addresses", BOUND).await?;
    let pod = site.workers.iter().find(|pod| pod.node == "node-0").context("no worker on node-0")?;
    for number in 1..=COUNT {
        let name = format!("n{number}");
        let objects = epic::account(&name, &format!("epic-{name}")) + &epic::group(&name, "gold", true);
        let balanced = epic::load_balancer(&name, address(site, number), [80, UDP]);
        let endpoints = epic::endpoints(&name, pod.address.into(), [PORT, PORT]);
        cluster.apply(&(objects + &balanced + &endpoints)).await?;
    }
    for number in 1..=COUNT {
        let to = SocketAddr::new(address(site, number), UDP);
        path::opens(cluster.outside(), to, &pod.name, BOUND).with_context(|| cluster.evidence())?;
        // A node that had no time to renew its Lease may lose an address at the moment when it adds it.
        let alone = || async { holders(site, address(site, number)).is_ok_and(|on| on.len() == 1) };
        wait::until(&format!("{to} to be on one node"), BOUND, alone).await?;
    }
    let spread: Vec<Vec<usize>> =
        (1..=COUNT).map(|number| holders(site, address(site, number))).collect::<Result<_>>()?;
    println!("addresses are on nodes {spread:?}");
    Ok(())
}

/// Returns the nodes that have an address.
fn holders(site: &Site, address: IpAddr) -> Result<Vec<usize>> {
    let has = |(index, node): (usize, &portreeve_tests::cluster::Node)| {
        let listed = run(node.netns().command("ip").args(["-o", "addr", "show"]))?;
        Ok((index, listed.contains(&format!(" {address}/32 "))))
    };
    let nodes = site.cluster.nodes().iter().enumerate().filter(|(_, node)| node.is_on());
    let all: Vec<(usize, bool)> = nodes.map(has).collect::<Result<_>>()?;
    Ok(all.into_iter().filter(|(_, has)| *has).map(|(index, _)| index).collect())
}

/// Returns an address of the node that will die.
pub fn of_lost(site: &Site) -> Result<IpAddr> {
    for number in 1..=COUNT {
        if holders(site, address(site, number))? == [LOST] {
            return Ok(address(site, number));
        }
    }
    anyhow::bail!("node {LOST} has no address")
}

/// Checks that an address answers on another node within three seconds after its node has died.
pub fn moves(site: &Site, address: IpAddr, died: Instant) -> Result<()> {
    path::answered(site.cluster.outside(), SocketAddr::new(address, UDP), BOUND)
        .with_context(|| site.cluster.evidence())?;
    let away = died.elapsed();
    println!("{address} answered on nodes {:?} {away:.2?} after its node had died", holders(site, address)?);
    ensure!(away < TAKEOVER, "{address} was away for {away:?}");
    Ok(())
}

/// Checks that the nodes give up the addresses, and removes the component.
pub async fn are_removed(site: &Site) -> Result<()> {
    let delete = ["delete", "loadbalancers.epic.acnodal.io", "--all", "--all-namespaces", "--wait=false"];
    // The API server forgets the policies a moment after their deletion.
    wait::until("the load balancers to be deleted", BOUND, || async {
        site.cluster.kubectl(&delete).is_ok()
    })
    .await?;
    wait::until("the nodes to have no public address", BOUND, || async {
        (1..=COUNT).all(|number| holders(site, address(site, number)).is_ok_and(|on| on.is_empty()))
    })
    .await
    .with_context(|| site.cluster.evidence())?;
    site.cluster.kubectl(&["delete", "-n", "portreeve", "daemonset", "portreeve-addresses"])?;
    site.cluster.kubectl(&["delete", "-f", &deploy("components/addresses/rights.yaml")])?;
    Ok(())
}
