//! The memory of an agent with 30 local pods and two Envoys, and of the Envoys' keepers. It is printed, and what each
//! process allocated is bounded. With the program of a release build in `UNDER_TEST`, the figures are those of production.
//! Relocations and pages of files depend on the build, so they are not bounded.

use anyhow::{Context, Result, ensure};
use portreeve_tests::pipe::{Pipe, virtual_service};
use portreeve_tests::resident::resident;
use portreeve_tests::town::{BOUND, Town, listeners};
use portreeve_tests::wait;

/// Number of local pods.
const PODS: u8 = 30;
/// Bound of what an agent has allocated, in KiB. 3,150 were measured.
const AGENT: u64 = 8 << 10;
/// Bound of what a keeper has allocated, in KiB. 500 were measured.
const KEEPER: u64 = 1 << 10;

/// A second proxy on the node.
const SECOND: &str = "
apiVersion: portreeve.dev/v1alpha1
kind: NodeProxy
metadata: {name: second}
spec:
  nodeSelector: {role: gateway}
  labels: {app: second}
";

#[tokio::test]
async fn agent_and_keepers_own_little_memory() -> Result<()> {
    let town = Town::start(1).await?;
    town.apply(SECOND).await?;
    town.gateways().await?;
    let mut workers = Vec::new();
    for j in 1..=PODS {
        workers.push(town.worker(1, j, "app: worker", false).await?);
    }
    town.apply(&virtual_service("memory", "app: envoy-ingress", &[Pipe::new("one", 5001, 7000)])).await?;
    listeners(&town.nodes[0].gateway(), &["one"], BOUND).await?;
    wait::until("two keepers", BOUND, || async { town.descendants_with(" keep ").len() == 2 }).await?;

    let agent = resident(town.nodes[0].agent.as_ref().context("an agent")?.pid())?;
    println!("agent: {agent}");
    ensure!(agent.allocated <= AGENT, "the agent: {agent}");
    for pid in town.descendants_with(" keep ") {
        let keeper = resident(pid)?;
        println!("keeper: {keeper}");
        ensure!(keeper.allocated <= KEEPER, "a keeper: {keeper}");
    }
    Ok(())
}
