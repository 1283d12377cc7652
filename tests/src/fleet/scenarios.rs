//! What happens in a simulated cluster, and what it costs: one row for each [`Scenario`].

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::ValueEnum;
use serde_json::Value;

use super::figures::{Counters, Row, describe};
use super::ledger::plan_mark;
use super::pod::Phase;
use super::probes::Probes;
use super::shape::{FIRST_PORT, HOT, NAMESPACE, PROXY, Shape, hot_service, node_proxy, service_name};
use super::site::{PROXIES, SERVICES, Site, edited};
use crate::wait;

/// Number of pods that are not ready at the same time in `churn`.
const DOWN: usize = 50;
/// Steps between two changed pods, so that neighbouring changes are in different groups.
const STRIDE: usize = 101;
/// Largest number of pods in `rolling`.
const ROLLED: usize = 1000;
/// Largest number of nodes in `nodes-fail`.
const FAILING: u32 = 500;
/// Number of changes of the pod in `hot`.
const FLIPS: usize = 50;
/// Largest number of services in `edit`.
const EDITED: u32 = 500;
/// The port of the services' endpoints after the edit.
const SECOND_PORT: u16 = FIRST_PORT + 1;

/// How fast and how long objects change.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Pace {
    /// Duration of the scenarios `idle` and `churn`, in seconds.
    #[arg(long, default_value_t = 30)]
    pub seconds: u32,
    /// Number of changed pods per second in the scenarios `churn` and `rolling`.
    #[arg(long, default_value_t = 100)]
    pub rate: u32,
}

/// What happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Scenario {
    /// Nothing happens: the cost of the agents' connections.
    Idle,
    /// Pods become ready and not ready at a steady rate.
    Churn,
    /// Pods are replaced by new ones, one after the other.
    Rolling,
    /// All pods of a tenth of the nodes stop to be ready at once, and come back at once.
    NodesFail,
    /// All gateways use one large group, and a pod of it changes again and again.
    Hot,
    /// Many services are edited at once.
    Edit,
    /// The NodeProxy runs on all nodes, and later on the gateway nodes again.
    Widen,
    /// The hub is killed and started again.
    Restart,
}

/// Starts everything. Returns the cost of the hub's start.
///
/// # Errors
/// Returns an error if agents don't converge in time.
pub async fn start(shape: Shape) -> Result<(Site, Row)> {
    let site = Site::start(shape).await?;
    site.in_sync().await?;
    let took = site.begun.elapsed();
    let row = Counters::zero().until_now(&site, "start", 1).await?.took(took);
    site.at_rest().await?;
    let all = (0..shape.services).map(|service| (service, 1));
    let mut times = programmed(&site, all, site.begun);
    times.sort();
    let rest = Counters::zero().until_now(&site, "start", 1).await?;
    let note = format!(
        "{} of {} services programmed ({}), {} writes and {:.2} s of CPU until rest, peak {} MiB",
        times.len(),
        shape.services,
        describe(&times),
        rest.writes,
        rest.cpu.as_secs_f64(),
        rest.peak / 1024
    );
    Ok((site, row.noted(note)))
}

// === impl Scenario ===

impl Scenario {
    /// Every scenario, in the order in which they are run.
    pub const ALL: [Self; 8] = [
        Self::Idle,
        Self::Churn,
        Self::Rolling,
        Self::NodesFail,
        Self::Hot,
        Self::Edit,
        Self::Widen,
        Self::Restart,
    ];

    /// Runs the scenario, and leaves the cluster as it was, except for the names of pods and the services' ports.
    ///
    /// # Errors
    /// Returns an error if agents don't converge in time.
    pub async fn run(self, site: &mut Site, pace: Pace) -> Result<Vec<Row>> {
        let rows = match self {
            Self::Idle => idle(site, pace).await,
            Self::Churn => churn(site, pace).await,
            Self::Rolling => rolling(site, pace).await,
            Self::NodesFail => nodes_fail(site).await,
            Self::Hot => hot(site).await,
            Self::Edit => edit(site).await,
            Self::Widen => widen(site).await,
            Self::Restart => restart(site).await,
        };
        let rows = rows.with_context(|| format!("{self:?}"))?;
        site.in_sync().await.with_context(|| format!("after {self:?}"))?;
        site.at_rest().await?;
        // What came meanwhile belongs to no scenario.
        site.ledger.take_done();
        Ok(rows)
    }
}

async fn idle(site: &mut Site, pace: Pace) -> Result<Vec<Row>> {
    let before = Counters::of(site).await?;
    tokio::time::sleep(Duration::from_secs(pace.seconds.into())).await;
    let row = before.until_now(site, "idle", 0).await?;
    let share = row.cpu.as_secs_f64() / f64::from(pace.seconds);
    Ok(vec![row.noted(format!("{share:.3} of a processor"))])
}

async fn churn(site: &mut Site, pace: Pace) -> Result<Vec<Row>> {
    let pods: Vec<u32> = site.shape.used_pods().collect();
    let count = (pace.seconds * pace.rate) as usize;
    let before = Counters::of(site).await?;
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / pace.rate.max(1));
    let (mut down, mut next) = (VecDeque::new(), 0);
    for _ in 0..count {
        ticks.tick().await;
        if down.len() >= DOWN.min(pods.len() / 2) {
            site.set(down.pop_front(), Phase::Ready);
            continue;
        }
        let pod = pods[next * STRIDE % pods.len()];
        next += 1;
        down.push_back(pod);
        site.set([pod], Phase::Unready);
    }
    site.settled().await?;
    let row = before.until_now(site, "churn", count).await?;
    site.set(down, Phase::Ready);
    Ok(vec![row.noted(format!("{} changes per s for {} s", pace.rate, pace.seconds))])
}

/// Each pod causes four events: its successor is created and becomes ready, then it terminates and is deleted.
async fn rolling(site: &mut Site, pace: Pace) -> Result<Vec<Row>> {
    let pods: Vec<u32> = site.shape.used_pods().take(ROLLED).collect();
    let before = Counters::of(site).await?;
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / pace.rate.max(1));
    for number in &pods {
        ticks.tick().await;
        let old = site.pods[*number as usize];
        let new = old.successor();
        site.source.store.put_pods([new]);
        site.pods[*number as usize] = new;
        site.set([*number], Phase::Ready);
        site.source.store.put_pods([old.with(Phase::Terminating)]);
        site.expect(old.with(Phase::Unready));
        site.ledger.sent();
        site.source.store.delete_pod(&old);
    }
    site.settled().await?;
    let row = before.until_now(site, "rolling", 4 * pods.len()).await?;
    Ok(vec![row.noted(format!("{} pods, {} per s", pods.len(), pace.rate))])
}

async fn nodes_fail(site: &mut Site) -> Result<Vec<Row>> {
    let nodes = (site.shape.nodes / 10).clamp(1, FAILING);
    let pods = site.shape.pods() - nodes * site.shape.pods_per_node..site.shape.pods();
    let mut rows = Vec::new();
    for (name, phase) in [("nodes-fail", Phase::Unready), ("nodes-back", Phase::Ready)] {
        let before = Counters::of(site).await?;
        site.set(pods.clone(), phase);
        site.settled().await?;
        let row = before.until_now(site, name, pods.len()).await?;
        rows.push(row.noted(format!("{nodes} nodes")));
        site.at_rest().await?;
    }
    Ok(rows)
}

async fn hot(site: &mut Site) -> Result<Vec<Row>> {
    let before = Counters::of(site).await?;
    let begun = Instant::now();
    site.source.store.put(SERVICES, hot_service());
    site.has_hot = true;
    site.in_sync().await?;
    let pods = site.shape.hot_pods().count();
    let added = before.until_now(site, "hot-add", 1).await?.took(begun.elapsed());
    site.at_rest().await?;

    let before = Counters::of(site).await?;
    for flip in 0..FLIPS {
        site.set([0], if flip % 2 == 0 { Phase::Unready } else { Phase::Ready });
        site.settled().await?;
    }
    let row = before.until_now(site, "hot", FLIPS).await?;
    site.source.store.delete(SERVICES, &key(HOT));
    site.has_hot = false;
    Ok(vec![added, row.noted(format!("a group of {pods} pods"))])
}

async fn edit(site: &mut Site) -> Result<Vec<Row>> {
    let count = site.shape.services.min(EDITED);
    let before = Counters::of(site).await?;
    let begun = Instant::now();
    let mut written = Vec::new();
    for service in 0..count {
        let key = key(&service_name(service));
        let stored = site.source.store.get(SERVICES, &key).context(key)?;
        let object = edited(site.shape.service(service, SECOND_PORT), &stored);
        let generation = object["metadata"]["generation"].as_i64().unwrap_or_default();
        site.ledger.expect(plan_mark(service, SECOND_PORT), site.concerned);
        site.ledger.sent();
        site.source.store.put(SERVICES, object);
        written.push((service, generation));
    }
    site.settled().await?;
    // Only reports of all gateways' agents make a service programmed.
    if site.shape.agents >= site.shape.gateways {
        let all = || async { programmed(site, written.iter().copied(), begun).len() == written.len() };
        wait::until("programmed services", site.shape.bound(), all).await?;
    }
    site.at_rest().await?;
    let row = before.until_now(site, "edit", count as usize).await?;
    let mut times = programmed(site, written, begun);
    times.sort();
    let each = row.writes as f64 / f64::from(count.max(1));
    let note = format!("{} programmed ({}), {each:.2} writes per service", times.len(), describe(&times));
    Ok(vec![row.noted(note)])
}

async fn widen(site: &mut Site) -> Result<Vec<Row>> {
    let (nodes, gateways, agents) = (site.shape.nodes, site.shape.gateways, site.shape.agents as usize);
    let mut rows = Vec::new();
    for (name, on_all_nodes, selected) in [("widen", true, nodes), ("narrow", false, gateways)] {
        let before = Counters::of(site).await?;
        let probes = Probes::start(site.metrics);
        let begun = Instant::now();
        let stored = site.source.store.get(PROXIES, &proxy()).context("the NodeProxy")?;
        site.source.store.put(PROXIES, edited(node_proxy(on_all_nodes), &stored));
        site.concerned = if on_all_nodes { agents } else { site.shape.concerned() };
        let told = || async { status_nodes(site) == Some(selected.into()) };
        wait::until("the NodeProxy's number of nodes", site.shape.bound(), told).await?;
        let told = begun.elapsed();
        site.in_sync().await?;
        let took = begun.elapsed();
        site.at_rest().await?;
        let row = before.until_now(site, name, 1).await?.took(took);
        let note = format!("status.nodes is {selected} after {} ms; {}", told.as_millis(), probes.describe());
        rows.push(row.noted(note));
    }
    Ok(rows)
}

async fn restart(site: &mut Site) -> Result<Vec<Row>> {
    let before = Counters::of(site).await?.of_new_hub();
    let begun = Instant::now();
    site.restart_hub()?;
    site.in_sync().await?;
    let took = begun.elapsed();
    site.at_rest().await?;
    let row = before.until_now(site, "restart", 1).await?.took(took);
    let note = format!("{} resources were sent again", row.received);
    Ok(vec![row.noted(note)])
}

/// Returns the times from `begun` until these services were programmed in these generations, for those that are.
fn programmed(site: &Site, services: impl IntoIterator<Item = (u32, i64)>, begun: Instant) -> Vec<Duration> {
    let time = |(service, generation): (u32, i64)| {
        let written = site.source.store.written(SERVICES, &key(&service_name(service)));
        let (_, at) = written.programmed.filter(|(of, _)| *of == generation)?;
        Some(at.saturating_duration_since(begun))
    };
    services.into_iter().filter_map(time).collect()
}

fn status_nodes(site: &Site) -> Option<u64> {
    site.source.store.get(PROXIES, &proxy())?.pointer("/status/nodes").and_then(Value::as_u64)
}

fn proxy() -> String {
    format!("/{PROXY}")
}

fn key(name: &str) -> String {
    format!("{NAMESPACE}/{name}")
}
