//! Events in real clusters: hubs are evicted, and a node dies and comes back.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::Api;
use kube::api::EvictParams;
use portreeve_tests::wait;

use crate::addresses;
use crate::site::{BOUND, PORTS, Site};

/// The control plane needs 8 s to notice that a node is gone.
const NOTICED: Duration = Duration::from_secs(90);

/// The number of trials. One in which the kernel dropped datagrams is void.
const TRIALS: usize = 3;

/// Evicts the hubs one at a time, without any effect on traffic. Repeated if the kernel dropped datagrams.
pub async fn hubs_are_evicted(site: &Site) -> Result<()> {
    for _ in 0..TRIALS {
        let path = site.path(PORTS.start);
        let traffic = path.traffic()?;
        evict_hubs(site).await?;
        let fate = path.end(traffic)?;
        if fate.drops == 0 {
            return fate.is_good(0);
        }
        println!("void: {} dropped by the kernel", fate.drops);
    }
    anyhow::bail!("the kernel dropped datagrams each time")
}

async fn evict_hubs(site: &Site) -> Result<()> {
    let pods = Api::<Pod>::namespaced(site.cluster.client()?, "portreeve");
    let hubs = site.cluster.pods("portreeve", "app.kubernetes.io/component=hub").await?;
    for hub in &hubs {
        // The server rejects the eviction until the previous hub has a successor, and the client retries.
        pods.evict(&hub.name, &EvictParams::default()).await?;
        let budget = Api::<PodDisruptionBudget>::namespaced(site.cluster.client()?, "portreeve");
        let left = budget.get("portreeve-hub").await?.status.map(|status| status.disruptions_allowed);
        ensure!(left == Some(0), "{left:?} more hubs may go while one is away");
    }
    site.cluster.rolled_out("deployment", "portreeve", "portreeve-hub", BOUND).await
}

/// Pods of other nodes take over the calls of a dead node's pods. Its gateway serves again when the node is back.
pub async fn node_dies_and_comes_back(site: &mut Site) -> Result<()> {
    let (lost, left) = (addresses::LOST, 0);
    let address = addresses::of_lost(site)?;
    let others: Vec<String> =
        site.workers.iter().filter(|pod| pod.node != "node-1").map(|pod| pod.name.clone()).collect();
    let begun = Instant::now();
    site.cluster.node_mut(lost).kill()?;
    addresses::moves(site, address, begun)?;
    site.cluster.node_lost(lost, NOTICED).await?;
    println!("the node is known to be dead after {:.1?}", begun.elapsed());
    wait::until("the pods that are left to answer every call", BOUND, || async {
        site.homes(left).is_ok_and(|homes| homes.iter().all(|by| others.contains(by)))
    })
    .await
    .with_context(|| format!("{:?}, of {others:?}", site.homes(left)))?;
    println!("and nobody relies on it after {:.1?}", begun.elapsed());

    let begun = Instant::now();
    site.cluster.node_mut(lost).start()?;
    site.cluster.nodes_ready(BOUND).await?;
    for (kind, name) in [
        ("daemonset", "portreeve-agent"),
        ("daemonset", "portreeve-gateway"),
        ("deployment", "portreeve-hub"),
    ] {
        site.cluster.rolled_out(kind, "portreeve", name, BOUND).await?;
    }
    site.cluster.rolled_out("daemonset", "default", "worker", BOUND).await?;
    site.answer().await?;
    wait::until("calls to be spread alike by all gateways", BOUND, || async {
        site.each_key_has_its_pod_behind_every_gateway().is_ok()
    })
    .await?;
    println!("the node is back, and used, after {:.1?}", begun.elapsed());
    Ok(())
}
