//! Traffic from one Kubernetes cluster to pods of another, through an EgressListener: the second API server is killed, comes
//! back, and is removed.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Result, ensure};
use portreeve_tests::controlplane::ControlPlane;
use portreeve_tests::greeter::Greeter;
use portreeve_tests::netns::Netns;
use portreeve_tests::node_names::{EGRESS, INGRESS, answer, answers, egress, loopback, member};
use portreeve_tests::town::{BOUND, Town, Worker, listeners};
use portreeve_tests::wait;

/// A town whose hub reads the pods of another cluster.
async fn town(away: &str) -> Result<(Town, ControlPlane)> {
    let mut town = Town::without_portreeve(1).await?;
    let plane = ControlPlane::start_in(&town.bed).await?;
    plane.apply(away).await?;
    let file = town.dir().join("config.json");
    list(&file, Some(&plane))?;
    town.trust.hub_args.push(format!("--sources={}", file.display()));
    town.start_hub()?;
    town.start_agent(0)?;
    Ok((town, plane))
}

/// Writes a sources file with the other cluster, or an empty one.
fn list(file: &Path, away: Option<&ControlPlane>) -> Result<()> {
    let config = away.map(|away| away.kubeconfig("admin")).transpose()?;
    let entry = config.map(|path| format!("{{\"name\": \"away\", \"kubeconfig\": \"{}\"}}", path.display()));
    std::fs::write(file.with_extension("new"), format!("[{}]", entry.unwrap_or_default()))?;
    Ok(std::fs::rename(file.with_extension("new"), file)?)
}

/// A ready pod of cluster `bob` in the other Kubernetes cluster, and its application at the port of IngressListeners.
async fn bob(plane: &ControlPlane, name: &str, netns: &Netns) -> Result<Greeter> {
    let meta = format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: default, annotations: \
         {{cluster-name.envoy.uw.io: bob}}}}\n"
    );
    let ip = netns.v4();
    plane.apply(&format!("{meta}spec: {{nodeName: n1, containers: [{{name: c, image: i}}]}}\n")).await?;
    let status = format!(
        "status: {{phase: Running, podIP: {ip}, podIPs: [{{ip: {ip}}}], conditions: [{{type: Ready, status: 'True', \
         lastTransitionTime: '2026-01-01T00:00:00Z'}}]}}\n"
    );
    portreeve_tests::manifest::apply_status(&plane.client()?, &format!("{meta}{status}")).await?;
    Greeter::start(netns, name, SocketAddr::new(ip, INGRESS))
}

/// Whether 20 connections reach this pod.
fn steady(client: &Worker, name: &str) -> Result<()> {
    for _ in 0..20 {
        let found = answer(client, loopback(EGRESS))?;
        ensure!(found == name, "{found:?} for {name}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn traffic_reaches_a_pod_of_another_cluster_while_its_api_server_and_hub_and_agent_are_away()
-> Result<()> {
    let (mut town, mut away) = town("{apiVersion: v1, kind: Namespace, metadata: {name: other}}").await?;
    town.apply(&egress("alice", "bob")).await?;
    let alice = member(&town, (1, 1), "alice").await?;
    listeners(&alice.admin, &["egress"], BOUND).await?;
    let places = [town.bed.pod(1, 2)?, town.bed.pod(1, 3)?];
    let _first = bob(&away, "bob-1", &places[0]).await?;
    answers(&alice, loopback(EGRESS), "bob-1")?;

    away.kill();
    steady(&alice, "bob-1")?;
    // A hub that never read the other cluster takes nothing away, nor does an agent that was started with it.
    for with_agent in [false, true] {
        town.hub = None;
        if with_agent {
            town.nodes[0].agent = None;
        }
        town.start_hub()?;
        if with_agent {
            town.start_agent(0)?;
        }
        // Another change of the object comes from the new hub.
        town.apply(&egress("alice", "bob").replace("target:", "lbpolicy: tcp, target:")).await?;
        steady(&alice, "bob-1")?;
        let read = || async { town.hub.as_ref().is_some_and(|hub| hub.log().contains("agent connected")) };
        wait::until("the agent at the new hub", BOUND, read).await?;
        steady(&alice, "bob-1")?;
    }
    away.revive().await?;
    let _second = bob(&away, "bob-2", &places[1]).await?;
    answers(&alice, loopback(EGRESS), "bob-2")?;
    answers(&alice, loopback(EGRESS), "bob-1")?;

    let file = town.dir().join("config.json");
    list(&file, None)?;
    answers(&alice, loopback(EGRESS), "")?;
    list(&file, Some(&away))?;
    answers(&alice, loopback(EGRESS), "bob-1")?;
    listeners(&alice.admin, &["egress"], BOUND).await
}
