//! Two replicas of the hub: one is killed, one hangs, one loses the API server, and no agent gets older state.

use std::net::SocketAddr;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use portreeve_tests::process::Process;
use portreeve_tests::relay::Relay;
use portreeve_tests::town::{BOUND, Town, serving_at};
use portreeve_tests::virtual_service::{Host, Service};
use portreeve_tests::{under_test, wait};

/// How long the replica without the API server is the only one.
const BLIND: Duration = Duration::from_secs(10);

/// A town whose agents know two hubs. The second hub has its own connection to the API server.
struct Pair {
    town: Town,
    other: Process,
    elsewhere: SocketAddr,
    /// The second hub's connection to the API server, until it is cut.
    link: Option<Relay>,
}

// === impl Pair ===

impl Pair {
    /// Creates two nodes with gateways, a worker on the first, and a service to it.
    async fn start() -> Result<Self> {
        let mut town = Town::without_portreeve(2).await?;
        town.start_hub()?;
        let root = town.bed.root().clone();
        let target = town.control.address();
        let link = root.enter(|| Relay::start(&root, target))??;
        let config = std::fs::read_to_string(town.control.kubeconfig("hub")?)?;
        let path = town.dir().join("other.kubeconfig");
        std::fs::write(&path, config.replace(&target.to_string(), &link.address().to_string()))?;
        let (other, elsewhere) = start_other(&town, SocketAddr::new(root.v4(), 0))?;
        town.agent_args = vec!["--hub".into(), format!("https://{elsewhere}")];
        for index in 0..town.nodes.len() {
            town.start_agent(index)?;
        }
        town.gateways().await?;
        let service = Service::new("call", "app: envoy-ingress");
        town.apply(&service.udp("call", 5000, &[Host::Pods("app: worker")], 10_000).yaml()).await?;
        let mut pair = Self { town, other, elsewhere, link: Some(link) };
        for index in 0..2 {
            pair.agent(index)?.wait_log("fed by", BOUND)?;
        }
        Ok(pair)
    }

    fn agent(&mut self, index: usize) -> Result<&mut Process> {
        self.town.nodes[index].agent.as_mut().context("an agent was started")
    }

    /// Kills one of the hubs.
    fn kill(&mut self, hub: SocketAddr) {
        match hub == self.elsewhere {
            true => self.other.kill(),
            false => self.town.hub = None,
        }
    }

    /// Restarts a killed hub.
    fn revive(&mut self, hub: SocketAddr) -> Result<()> {
        if hub != self.elsewhere {
            return self.town.start_hub();
        }
        self.other = start_other(&self.town, hub)?.0;
        Ok(())
    }

    /// Returns the hub that feeds an agent, from the agent's log.
    fn feeder(&mut self, index: usize) -> Result<SocketAddr> {
        let log = self.agent(index)?.log();
        let line =
            log.lines().rev().find(|line| line.contains("fed by")).context("an agent without a hub")?;
        let address = line.split("hub=https://").nth(1).context("no address in the agent's line")?;
        Ok(address.split_whitespace().next().unwrap_or_default().parse()?)
    }

    /// Returns whether a gateway has an endpoint.
    async fn has(&self, index: usize, ip: &str) -> bool {
        let clusters = self.town.nodes[index].gateway().clusters().await;
        clusters.is_ok_and(|text| text.contains(&format!("::{ip}:10000::")))
    }

    /// Waits until both gateways have, or no longer have, an endpoint.
    async fn shows(&self, ip: &str, there: bool) -> Result<Duration> {
        let begun = Instant::now();
        for index in 0..2 {
            let what = format!("endpoint {ip} on gateway {index}: {there}");
            wait::until(&what, BOUND, || async { self.has(index, ip).await == there }).await?;
        }
        Ok(begun.elapsed())
    }

    /// Waits until one of the hubs feeds both agents.
    async fn fed_by(&mut self, hub: SocketAddr) -> Result<()> {
        for index in 0..2 {
            wait::wait_until(&format!("agent {index} at {hub}"), BOUND, || {
                self.feeder(index).is_ok_and(|found| found == hub)
            })?;
        }
        Ok(())
    }
}

/// Starts the second hub, with its own kubeconfig.
fn start_other(town: &Town, address: SocketAddr) -> Result<(Process, SocketAddr)> {
    let mut command: Command = under_test::command_in(town.bed.root(), "hub")?;
    command.args(["--listen", &address.to_string(), "--grace", "2", "--identity", "other"]);
    command.arg("--kubeconfig").arg(town.dir().join("other.kubeconfig"));
    command.args(&town.trust.hub_args).env("NO_COLOR", "1");
    let mut other = Process::spawn("other", &command)?;
    let address = serving_at(&mut other)?;
    Ok((other, address))
}

#[tokio::test(flavor = "multi_thread")]
async fn agents_of_a_killed_hub_are_fed_by_the_other_and_go_home_when_theirs_is_back() -> Result<()> {
    let mut pair = Pair::start().await?;
    let first = pair.town.worker(1, 1, "app: worker", false).await?;
    pair.shows(&first.ip().to_string(), true).await?;
    let home = pair.town.hub_address().context("a hub was started")?;
    let homes = [pair.feeder(0)?, pair.feeder(1)?];
    println!("at home: {homes:?}, the hubs are {home} and {}", pair.elsewhere);
    let (victim, survivor) = if homes[0] == home { (home, pair.elsewhere) } else { (pair.elsewhere, home) };
    pair.kill(victim);
    let killed = Instant::now();
    pair.fed_by(survivor).await?;
    println!("both are fed by the survivor after {:.2?}", killed.elapsed());
    let second = pair.town.worker(2, 1, "app: worker", false).await?;
    println!("the survivor's news took {:.2?}", pair.shows(&second.ip().to_string(), true).await?);
    pair.revive(victim)?;
    let back = Instant::now();
    for (index, home) in homes.into_iter().enumerate() {
        wait::wait_until(&format!("agent {index} at home"), BOUND, || {
            pair.feeder(index).is_ok_and(|found| found == home)
        })?;
    }
    println!("everybody is at home {:.1?} after the return", back.elapsed());
    second.remove().await?;
    pair.shows(&second.ip().to_string(), false).await?;
    ensure!(pair.has(0, &first.ip().to_string()).await, "an endpoint that never went is gone");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn hub_that_hangs_is_left_within_two_seconds() -> Result<()> {
    let mut pair = Pair::start().await?;
    let hung = pair.town.hub_address().context("a hub was started")?;
    pair.town.hub.as_mut().context("a hub was started")?.stop()?;
    let begun = Instant::now();
    let words = format!("no reports to this hub hub=https://{hung} error=\"it does not answer any more");
    for index in 0..2 {
        pair.agent(index)?.wait_log(&words, BOUND)?;
    }
    let noticed = begun.elapsed();
    println!("both agents noticed within {noticed:.2?}");
    pair.fed_by(pair.elsewhere).await?;
    println!("both are fed by the other after {:.2?}", begun.elapsed());
    // At most 1.9 s by design; the rest is a margin for a busy machine.
    ensure!(noticed < Duration::from_secs(4), "{noticed:?}");
    let worker = pair.town.worker(1, 1, "app: worker", false).await?;
    pair.shows(&worker.ip().to_string(), true).await?;
    pair.town.hub.as_mut().context("a hub was started")?.cont()?;
    worker.remove().await?;
    pair.shows(&worker.ip().to_string(), false).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn blind_replica_brings_back_no_endpoint_and_takes_none_away() -> Result<()> {
    let mut pair = Pair::start().await?;
    let (old, stays) = (
        pair.town.worker(1, 1, "app: worker", false).await?,
        pair.town.worker(2, 1, "app: worker", false).await?,
    );
    for worker in [&old, &stays] {
        pair.shows(&worker.ip().to_string(), true).await?;
    }
    let sees = pair.town.hub_address().context("a hub was started")?;
    pair.other.stop()?;
    pair.fed_by(sees).await?;
    pair.other.cont()?;
    // From here on the other hub gets no events, but still answers.
    pair.link = None;
    pair.other.wait_log("watch failed", BOUND)?;
    let served = pair.other.log().matches("agent connected").count();
    old.remove().await?;
    pair.shows(&old.ip().to_string(), false).await?;
    pair.town.hub = None;
    let (old, stays) = (old.ip().to_string(), stays.ip().to_string());
    let wrong = wait::eventually("a step back", BLIND, || async {
        for index in 0..2 {
            if pair.has(index, &old).await || !pair.has(index, &stays).await {
                return Some(index);
            }
        }
        None
    });
    if let Ok(index) = wrong.await {
        bail!("gateway {index} went back in time");
    }
    let log = pair.other.log();
    ensure!(log.matches("agent connected").count() == served, "a blind replica served an agent:\n{log}");
    pair.town.start_hub()?;
    let new = pair.town.worker(1, 2, "app: worker", false).await?;
    println!("the news of a hub that sees took {:.2?}", pair.shows(&new.ip().to_string(), true).await?);
    ensure!(!pair.has(0, &old).await && pair.has(0, &stays).await, "not the endpoints of now");
    Ok(())
}
