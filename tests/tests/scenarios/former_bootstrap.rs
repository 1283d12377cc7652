//! Envoys with the bootstrap of the replaced control plane, which has streams for clusters and listeners and no aggregated
//! one. It comes from `deploy/examples/seed-d-bootstrap`.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use portreeve_tests::greeter::greeting;
use portreeve_tests::node_names::{EGRESS, INGRESS, application, ingress, loopback, only, pod};
use portreeve_tests::town::{BOUND, Town, Worker, listeners};
use portreeve_tests::wait;

/// An EgressListener of alice to the pods of cluster bob.
fn alice(name: &str, port: u16) -> String {
    format!(
        "apiVersion: egresslistener.envoy.uw.systems/v1alpha1\nkind: EgressListener\n\
         metadata: {{name: {name}, namespace: default}}\n\
         spec: {{nodename: alice, listenport: {port}, target: {{cluster: bob, port: {INGRESS}}}}}\n"
    )
}

/// Creates pod `j` in a cluster, with an Envoy that has the former bootstrap and the cluster's name.
async fn member(town: &Town, j: u8, cluster: &str) -> Result<Worker> {
    let mut worker = pod(town, (1, j), cluster).await?;
    town.start_former_sidecar(&mut worker, 0, cluster)?;
    Ok(worker)
}

/// A connection through both Envoys.
struct Open(BufReader<TcpStream>);

// === impl Open ===

impl Open {
    fn new(client: &Worker) -> Result<Self> {
        let (_, stream) = greeting(&client.netns, loopback(EGRESS))?.context("no connection")?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        Ok(Self(BufReader::new(stream)))
    }

    /// Requires that the application still answers.
    fn lives(&mut self) -> Result<()> {
        self.0.get_mut().write_all(b"still there?\n")?;
        let mut line = String::new();
        self.0.read_line(&mut line)?;
        ensure!(line == "still there?\n", "the connection is cut: {line:?}");
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn envoys_with_the_former_bootstrap_follow_objects_and_pods_and_outlive_their_agent() -> Result<()> {
    let mut town = Town::start(1).await?;
    town.apply(&ingress("bob", "alice")).await?;
    town.apply(&alice("alice", EGRESS)).await?;
    let client = member(&town, 1, "alice").await?;
    let stranger = member(&town, 2, "carol").await?;
    let first = member(&town, 3, "bob").await?;
    let _first = application(&first)?;
    listeners(&client.admin, &["egress"], BOUND).await?;
    listeners(&first.admin, &["ingress"], BOUND).await?;
    listeners(&stranger.admin, &[], BOUND).await?;
    only(&client, EGRESS, &first)?;
    let refused = greeting(&stranger.netns, SocketAddr::new(first.ip(), INGRESS))?;
    ensure!(refused.is_none(), "a pod of another cluster was served");

    let second = member(&town, 4, "bob").await?;
    let served = application(&second)?;
    wait::wait_until("connections to the second pod", BOUND, || {
        greeting(&client.netns, loopback(EGRESS)).is_ok() && served.accepted() > 0
    })?;
    let mut connections: Vec<Open> = (0..10).map(|_| Open::new(&client)).collect::<Result<_>>()?;
    first.set_ready(false).await?;
    only(&client, EGRESS, &second)?;
    first.set_ready(true).await?;

    town.apply(&alice("more", EGRESS + 1)).await?;
    listeners(&client.admin, &["egress", "egress"], BOUND).await?;
    wait::wait_until("an answer at the new port", BOUND, || {
        greeting(&client.netns, loopback(EGRESS + 1)).is_ok_and(|answer| answer.is_some())
    })?;
    town.delete(&alice("more", EGRESS + 1)).await?;
    listeners(&client.admin, &["egress"], BOUND).await?;

    let before = client.admin.stat("listener_manager.listener_modified").await?;
    town.nodes[0].agent.take().context("no agent")?.kill();
    connections.iter_mut().try_for_each(Open::lives)?;
    town.start_agent(0)?;
    town.apply(&alice("more", EGRESS + 1)).await?;
    listeners(&client.admin, &["egress", "egress"], BOUND).await?;
    connections.iter_mut().try_for_each(Open::lives)?;
    let after = client.admin.stat("listener_manager.listener_modified").await?;
    ensure!(before == after, "the new agent sent other listeners");
    first.remove().await?;
    only(&client, EGRESS, &second)
}
