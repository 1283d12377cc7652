//! Edits whose agent was killed before they were on its disk: the next agent has an older state than its proxies.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use portreeve_tests::path;
use portreeve_tests::pipe::{Pipe, virtual_service};
use portreeve_tests::town::{BOUND, Town};
use portreeve_tests::udp::{Echo, Flow};
use serde_json::json;

use crate::mesh::{Pod, object};

/// The ports of the object before and after its edit.
const BEFORE: u16 = 5000;
const AFTER: u16 = 5001;
/// The port of the worker.
const WORKER: u16 = 10_000;
/// Longer than it takes until what was accepted is on the disk.
const STORED: Duration = Duration::from_millis(500);
/// How long the next agent is without a hub: proxies connect to it meanwhile.
const ALONE: Duration = Duration::from_millis(700);

fn copy(from: &Path, to: &Path) -> Result<()> {
    let status = Command::new("cp").arg("-a").arg(from).arg(to).status()?;
    ensure!(status.success(), "cp {} {}", from.display(), to.display());
    Ok(())
}

/// Moves an object to another port, and replaces the agent by one with the state from before the edit. Its hub comes later.
async fn edit_stays(town: &mut Town, proxy: IpAddr, edited: impl Fn(u16) -> String) -> Result<()> {
    let state = town.state_dir(0);
    let before = town.dir().join("state-before");
    town.apply(&edited(BEFORE)).await?;
    path::opens(town.bed.root(), SocketAddr::new(proxy, BEFORE), "worker", BOUND)?;
    tokio::time::sleep(STORED).await;
    town.nodes[0].agent = None;
    copy(&state, &before)?;
    town.start_agent(0)?;

    town.apply(&edited(AFTER)).await?;
    let at = SocketAddr::new(proxy, AFTER);
    path::opens(town.bed.root(), at, "worker", BOUND)?;
    let flow = Flow::to(at).sockets(4).rate(200).lasting(BOUND).start(town.bed.root())?;
    tokio::time::sleep(STORED).await;
    (town.nodes[0].agent, town.hub) = (None, None);
    std::fs::remove_dir_all(&state)?;
    copy(&before, &state)?;
    town.start_agent(0)?;
    tokio::time::sleep(ALONE).await;
    town.start_hub()?;
    town.nodes[0].agent.as_mut().context("an agent")?.wait_log("fed by", BOUND)?;
    path::opens(town.bed.root(), at, "worker", BOUND)?;
    let report = flow.stop()?;
    println!("{report}");
    report.lossless()?;
    for line in &report.lines {
        ensure!(line.upstreams().len() == 1, "sessions were made anew: {:?}", line.upstreams());
    }
    Ok(())
}

/// Starts the worker that all objects lead to.
async fn worker(town: &Town) -> Result<Echo> {
    let worker = town.worker(1, 2, "app: worker", false).await?;
    Echo::start(&worker.netns, "worker", SocketAddr::new(worker.ip(), WORKER))
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_keeps_an_edit_that_its_agent_did_not_live_to_store() -> Result<()> {
    let mut town = Town::start(1).await?;
    let proxy = town.worker(1, 1, "app: gateway", true).await?;
    let _echo = worker(&town).await?;
    let edited = |port| virtual_service("call", "app: gateway", &[Pipe::new("rtp", port, WORKER)]);
    edit_stays(&mut town, proxy.ip(), edited).await
}

#[tokio::test(flavor = "multi_thread")]
async fn l7mp_keeps_an_edit_that_its_agent_did_not_live_to_store() -> Result<()> {
    let mut town = Town::start(1).await?;
    let proxy = Pod::start(&town, 1, 1, "app: gateway").await?;
    let _echo = worker(&town).await?;
    let edited = |port: u16| {
        let selector = json!({"matchLabels": {"app": "gateway"}});
        let worker = json!({
            "spec": {"UDP": {"port": WORKER}},
            "endpoints": [{"selector": {"matchLabels": {"app": "worker"}}}],
        });
        let rules = json!([{"action": {"route": {"destinationRef": "/l7mp.io/v1/Target/default/worker"}}}]);
        let listener = json!({"spec": {"UDP": {"port": port}}, "rules": rules});
        [
            object("Target", "worker", json!({"selector": selector, "cluster": worker})),
            object("VirtualService", "call", json!({"selector": selector, "listener": listener})),
        ]
        .concat()
    };
    edit_stays(&mut town, proxy.worker.ip(), edited).await
}
