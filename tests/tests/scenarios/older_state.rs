//! Edits whose agent was killed before they were on its disk: the next agent has an older state than its proxies.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use portreeve_tests::path;
use portreeve_tests::pipe::{Pipe, virtual_service};
use portreeve_tests::town::{BOUND, Town};
use portreeve_tests::udp::{Echo, Flow};
use portreeve_tests::wait;
use serde_json::json;

use crate::last_known_good::copy;
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

/// The state of the node's agent as it was before an edit.
struct Before(PathBuf);

impl Before {
    /// Waits until what is served is on the disk, and copies that.
    async fn of(town: &mut Town) -> Result<Self> {
        tokio::time::sleep(STORED).await;
        town.nodes[0].agent = None;
        let before = town.dir().join("state-before");
        copy(&town.state_dir(0), &before)?;
        town.start_agent(0)?;
        Ok(Self(before))
    }

    /// Replaces the agent by one with this state, and lets its hub come later. Sessions to an address must not notice.
    async fn comes_back(self, town: &mut Town, at: SocketAddr) -> Result<()> {
        path::opens(town.bed.root(), at, "worker", BOUND)?;
        let flow = Flow::to(at).sockets(4).rate(200).lasting(BOUND).start(town.bed.root())?;
        tokio::time::sleep(STORED).await;
        (town.nodes[0].agent, town.hub) = (None, None);
        std::fs::remove_dir_all(town.state_dir(0))?;
        copy(&self.0, &town.state_dir(0))?;
        town.start_agent(0)?;
        tokio::time::sleep(ALONE).await;
        town.start_hub()?;
        town.nodes[0].agent.as_mut().context("an agent")?.wait_log("fed by", BOUND)?;
        tokio::time::sleep(STORED).await;
        let report = flow.stop()?;
        println!("{report}");
        report.lossless()?;
        for line in &report.lines {
            ensure!(line.upstreams().len() == 1, "sessions were made anew: {:?}", line.upstreams());
        }
        Ok(())
    }
}

/// Moves an object of a proxy with this address to another port, which is not on the disk of the next agent.
async fn edit_stays(town: &mut Town, proxy: IpAddr, edited: impl Fn(u16) -> String) -> Result<()> {
    town.apply(&edited(BEFORE)).await?;
    path::opens(town.bed.root(), SocketAddr::new(proxy, BEFORE), "worker", BOUND)?;
    let before = Before::of(town).await?;
    town.apply(&edited(AFTER)).await?;
    before.comes_back(town, SocketAddr::new(proxy, AFTER)).await
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

#[tokio::test(flavor = "multi_thread")]
async fn new_gateway_lives_on_although_its_agent_did_not_live_to_store_it() -> Result<()> {
    let mut town = Town::start(1).await?;
    let _echo = worker(&town).await?;
    let pipe = Pipe::new("rtp", AFTER, WORKER);
    town.apply(&virtual_service("call", "app: envoy-ingress", &[pipe])).await?;
    let before = Before::of(&mut town).await?;
    town.gateways().await?;
    let envoys = town.descendants_with("--base-id");
    let at = SocketAddr::new(town.nodes[0].address(), AFTER);
    before.comes_back(&mut town, at).await?;
    ensure!(town.descendants_with("--base-id") == envoys, "another Envoy than {envoys:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn gateway_keeps_settings_that_its_agent_did_not_live_to_store() -> Result<()> {
    let mut town = Town::start(1).await?;
    let _echo = worker(&town).await?;
    town.gateways().await?;
    let pipe = Pipe::new("rtp", AFTER, WORKER);
    town.apply(&virtual_service("call", "app: envoy-ingress", &[pipe])).await?;
    let at = SocketAddr::new(town.nodes[0].address(), AFTER);
    path::opens(town.bed.root(), at, "worker", BOUND)?;
    let before = Before::of(&mut town).await?;
    town.gateways_with("  envoy: {extraArgs: [--file-flush-interval-msec, '5000']}\n").await?;
    let replaced = || async {
        let (old, new) =
            (town.descendants_with("--base-id"), town.descendants_with("--file-flush-interval-msec"));
        !new.is_empty() && new == old
    };
    wait::until("an Envoy with the new settings alone", BOUND, replaced).await?;
    let envoys = town.descendants_with("--base-id");
    before.comes_back(&mut town, at).await?;
    ensure!(town.descendants_with("--base-id") == envoys, "another Envoy than {envoys:?}");
    Ok(())
}
