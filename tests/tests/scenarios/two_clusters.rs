//! Two Kubernetes clusters, each with its own hub that knows the other's pods, and agents in both.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use portreeve_api::d::CLUSTER_NAME_ANNOTATION;
use portreeve_tests::node_names::{
    EGRESS, INGRESS, answer, answers, application, egress, ingress, loopback, member, only,
};
use portreeve_tests::town::BOUND;
use portreeve_tests::town::{Town, listeners};

/// How soon a peer of the other cluster must be allowed or refused.
const SOON: Duration = Duration::from_secs(1);

/// Lets a town's hub know the other town's pods, by a file in the form of the replaced control plane.
pub fn knows(town: &mut Town, other: &Town) -> Result<()> {
    let kubeconfig = other.control.kubeconfig("hub")?;
    let sources = serde_json::json!([
        {"name": "own", "kubeconfig": "", "listenersource": true},
        {"name": "other", "kubeconfig": kubeconfig},
    ]);
    let path = town.dir().join("config.json");
    std::fs::write(&path, sources.to_string())?;
    town.trust.hub_args.push(format!("--sources={}", path.display()));
    Ok(())
}

pub fn start(town: &mut Town) -> Result<()> {
    town.start_hub()?;
    (0..town.nodes.len()).try_for_each(|index| town.start_agent(index))
}

#[tokio::test(flavor = "multi_thread")]
async fn traffic_flows_across_clusters_to_those_who_are_allowed() -> Result<()> {
    let mut west = Town::without_portreeve(2).await?;
    let mut east = west.beside(11..=11).await?;
    knows(&mut west, &east)?;
    knows(&mut east, &west)?;
    start(&mut west)?;
    start(&mut east)?;
    for town in [&west, &east] {
        town.apply(&ingress("bob", "alice")).await?;
    }
    west.apply(&egress("alice", "bob")).await?;
    let near = member(&west, (2, 1), "bob").await?;
    let far = member(&east, (11, 1), "bob").await?;
    let alice = member(&west, (1, 1), "alice").await?;
    let carol = west.worker(1, 2, "", false).await?;
    let (_near, served) = (application(&near)?, application(&far)?);
    listeners(&alice.admin, &["egress"], BOUND).await?;
    for bob in [&near, &far] {
        answers(&alice, loopback(EGRESS), &bob.name)?;
    }
    let to = SocketAddr::new(far.ip(), INGRESS);
    let before = served.accepted();
    for _ in 0..20 {
        ensure!(answer(&carol, to)?.is_empty(), "carol is served without being allowed");
    }
    ensure!(served.accepted() == before, "the application saw a connection of carol's");
    for (cluster, expected) in [(Some("alice"), &*far.name), (None, "")] {
        let begun = Instant::now();
        carol.annotate(CLUSTER_NAME_ANNOTATION, cluster).await?;
        answers(&carol, to, expected)?;
        println!("{cluster:?} in the other cluster: in force after {:?}", begun.elapsed());
        ensure!(begun.elapsed() < SOON, "in force after {:?}", begun.elapsed());
    }
    // A pod of the other cluster is no longer an endpoint.
    far.set_ready(false).await?;
    only(&alice, EGRESS, &near)
}
