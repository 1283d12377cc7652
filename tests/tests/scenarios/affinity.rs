//! The four pipes of a call reach the same pod, whatever happens to other pods meanwhile: 50 calls over 8 pods through
//! two gateways.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Result, ensure};
use portreeve_tests::call::{PIPES, Pipe, Side};
use portreeve_tests::town::{BOUND, Town, Worker, listeners};
use portreeve_tests::udp::Echo;
use portreeve_tests::wait;

/// The pipes of each call that open first, and those that open later.
const OLD: Range<u16> = 0..2;
const YOUNG: Range<u16> = 2..4;
/// The first of a pod's four ports.
const FORWARD: u16 = 10_000;

/// Two gateways, and pods that answer with their names.
struct Stage {
    town: Town,
    workers: Vec<Worker>,
    echoes: Vec<Echo>,
}

/// A caller's socket towards one gateway for one pipe of one call.
struct Open {
    call: u16,
    gateway: usize,
    pipe: Pipe,
}

/// The pods that answered each call, by gateway.
#[derive(Default)]
struct Picks(BTreeMap<u16, [BTreeSet<String>; 2]>);

// === impl Stage ===

impl Stage {
    async fn with_pods(count: u8) -> Result<Self> {
        let town = Town::start(2).await?;
        town.gateways().await?;
        let mut stage = Self { town, workers: Vec::new(), echoes: Vec::new() };
        for number in 0..count {
            stage.add_pod(number).await?;
        }
        next_second().await?;
        Ok(stage)
    }

    /// Creates pods on the nodes in turn.
    async fn add_pod(&mut self, number: u8) -> Result<IpAddr> {
        let worker = self.town.worker(1 + number % 2, 1 + number / 2, "app: worker", false).await?;
        for port in FORWARD..FORWARD + PIPES {
            let address = SocketAddr::new(worker.ip(), port);
            self.echoes.push(Echo::start(&worker.netns, &worker.name, address)?);
        }
        let ip = worker.ip();
        self.workers.push(worker);
        Ok(ip)
    }

    /// Writes the calls, and waits until both gateways listen for all of them.
    async fn write_calls(&self, calls: Range<u16>) -> Result<()> {
        let sides: Vec<String> = calls.clone().map(|call| side(&format!("c{call}")).yaml()).collect();
        self.town.apply(&sides.join("---\n")).await?;
        let names: Vec<String> =
            (0..calls.end).flat_map(|call| side(&format!("c{call}")).listeners()).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        for node in &self.town.nodes {
            listeners(&node.gateway(), &names, BOUND).await?;
        }
        next_second().await
    }

    /// Waits until both gateways have a pod in this number of clusters.
    async fn known(&self, ip: IpAddr, clusters: usize) -> Result<()> {
        for node in &self.town.nodes {
            let admin = node.gateway();
            let what = format!("{ip} in {clusters} clusters of {}", node.name);
            wait::until(&what, BOUND, || async {
                let Ok(text) = admin.clusters().await else { return false };
                let mark = format!("::{ip}:");
                text.lines().filter(|l| l.contains(&mark) && l.contains("::cx_active::")).count() == clusters
            })
            .await?;
        }
        Ok(())
    }

    /// Opens these pipes of these calls at both gateways.
    fn open(&self, calls: Range<u16>, pipes: Range<u16>) -> Result<Vec<Open>> {
        let mut opened = Vec::new();
        for call in calls {
            for (gateway, node) in self.town.nodes.iter().enumerate() {
                for number in pipes.clone() {
                    let target = SocketAddr::new(node.address(), listen(call) + number);
                    let pipe = Pipe::open(self.town.bed.root(), target)?;
                    opened.push(Open { call, gateway, pipe });
                }
            }
        }
        Ok(opened)
    }
}

/// Waits for the clock's next second: creation times have whole seconds, and real pods need longer than one to be
/// ready.
async fn next_second() -> Result<()> {
    let second =
        || SystemTime::now().duration_since(UNIX_EPOCH).map(|time| time.as_secs()).unwrap_or_default();
    let now = second();
    wait::until("the next second", BOUND, || async { second() > now }).await
}

/// Returns the first of a call's four ports on the gateways.
fn listen(call: u16) -> u16 {
    20_000 + call * PIPES
}

/// Returns the gateways' side of call "c<number>".
fn side(call: &str) -> Side<'_> {
    let number: u16 = call[1..].parse().unwrap_or_default();
    Side {
        name: "ingress",
        call,
        app: "envoy-ingress",
        host: "selector: {app: worker}",
        listen: listen(number),
        forward: FORWARD,
        health_port: None,
    }
}

// === impl Picks ===

impl Picks {
    /// Sends one datagram through each pipe. All must be answered.
    fn ask<'a>(pipes: impl IntoIterator<Item = &'a Open>) -> Result<Self> {
        let mut picks = Self::default();
        for open in pipes {
            let by = open.pipe.ask()?;
            picks.0.entry(open.call).or_default()[open.gateway].insert(by);
        }
        Ok(picks)
    }

    /// Returns the calls whose pipes reach several pods, at one gateway or over both.
    fn split(&self) -> Vec<u16> {
        let split = |gateways: &&[BTreeSet<String>; 2]| gateways[0].union(&gateways[1]).count() > 1;
        self.0.iter().filter(|(_, gateways)| split(gateways)).map(|(call, _)| *call).collect()
    }

    /// Returns the pod of each call, or the first of them if it is split.
    fn winners(&self) -> BTreeMap<u16, String> {
        let first = |gateways: &[BTreeSet<String>; 2]| gateways[0].first().cloned().unwrap_or_default();
        self.0.iter().map(|(call, gateways)| (*call, first(gateways))).collect()
    }

    /// Returns the number of calls of each pod.
    fn spread(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        self.winners().into_values().for_each(|by| *counts.entry(by).or_default() += 1);
        counts
    }

    /// Returns the calls whose pod has changed.
    fn moved(&self, before: &Self) -> Vec<u16> {
        self.moves(before).into_iter().map(|(call, ..)| call).collect()
    }

    /// Returns the calls whose pod has changed, with the old and new pods.
    fn moves(&self, before: &Self) -> Vec<(u16, String, String)> {
        let now = self.winners();
        let moves = before.winners().into_iter().map(|(call, then)| {
            let now = now.get(&call).cloned().unwrap_or_default();
            (call, then, now)
        });
        moves.filter(|(_, then, now)| then != now).collect()
    }

    /// Returns the calls of one pod.
    fn calls_of(&self, pod: &str) -> Vec<u16> {
        self.winners().into_iter().filter(|(_, by)| by == pod).map(|(call, _)| call).collect()
    }

    /// Returns the pod with the most calls.
    fn busiest(&self) -> String {
        self.spread().into_iter().max_by_key(|(_, calls)| *calls).map(|(pod, _)| pod).unwrap_or_default()
    }
}

fn none<Call: std::fmt::Debug>(what: &str, calls: &[Call]) -> Result<()> {
    println!("{what}: {} {calls:?}", calls.len());
    ensure!(calls.is_empty(), "{what}: {calls:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_are_spread_whole_and_a_pod_added_between_their_pipes_moves_none() -> Result<()> {
    let mut stage = Stage::with_pods(8).await?;
    stage.write_calls(0..50).await?;
    let old = stage.open(0..50, OLD)?;
    let before = Picks::ask(&old)?;
    none("split over the first two pipes and both gateways", &before.split())?;
    println!("calls of each pod: {:?}", before.spread());
    ensure!(before.spread().len() >= 6, "the keys are spread over too few pods: {:?}", before.spread());

    let ip = stage.add_pod(8).await?;
    next_second().await?;
    stage.known(ip, 50 * usize::from(PIPES)).await?;
    let young = stage.open(0..50, YOUNG)?;
    let after = Picks::ask(old.iter().chain(&young))?;
    none("split after a pod was added", &after.split())?;
    none("moved by a pod that was added", &after.moves(&before))?;

    // The new pod gets its share of later calls.
    stage.write_calls(50..100).await?;
    let later = Picks::ask(&stage.open(50..100, 0..PIPES)?)?;
    none("split among later calls", &later.split())?;
    println!("later calls of each pod: {:?}", later.spread());
    ensure!(later.spread().len() >= 7, "{:?}", later.spread());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_deleted_at_once_moves_its_own_calls_alone_and_whole() -> Result<()> {
    let stage = Stage::with_pods(8).await?;
    stage.write_calls(0..50).await?;
    let old = stage.open(0..50, OLD)?;
    let before = Picks::ask(&old)?;
    none("split over the first two pipes and both gateways", &before.split())?;
    let victim = before.busiest();
    let own = before.calls_of(&victim);
    println!("calls of each pod: {:?}, {victim} goes with {own:?}", before.spread());
    let worker =
        stage.workers.iter().find(|worker| worker.name == victim).ok_or(anyhow::anyhow!("{victim}"))?;
    worker.remove().await?;
    stage.known(worker.ip(), 0).await?;

    // Its echoes still answer, so a datagram that is sent there is detected.
    let young = stage.open(0..50, YOUNG)?;
    let after = Picks::ask(old.iter().chain(&young))?;
    none("split after a pod was deleted", &after.split())?;
    none("calls on the deleted pod", &after.calls_of(&victim))?;
    println!("moved: {:?}", after.moved(&before));
    ensure!(after.moved(&before) == own, "others moved than its own: {:?}", after.moved(&before));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminating_pod_keeps_its_calls_whole_and_takes_no_new_one() -> Result<()> {
    let stage = Stage::with_pods(8).await?;
    stage.write_calls(0..50).await?;
    let old = stage.open(0..50, OLD)?;
    let before = Picks::ask(&old)?;
    none("split over the first two pipes and both gateways", &before.split())?;
    let victim = before.busiest();
    println!("calls of each pod: {:?}, {victim} terminates", before.spread());
    let worker =
        stage.workers.iter().find(|worker| worker.name == victim).ok_or(anyhow::anyhow!("{victim}"))?;
    worker.terminate().await?;
    // What a kubelet writes when the containers' readiness probes fail during termination.
    worker.set_ready(false).await?;
    // New calls are written until both gateways have removed the terminating pod.
    stage.write_calls(50..100).await?;
    let young = stage.open(0..50, YOUNG)?;
    let after = Picks::ask(old.iter().chain(&young))?;
    none("split while a pod terminates", &after.split())?;
    none("moved by a pod that terminates", &after.moves(&before))?;
    stage.known(worker.ip(), 50 * usize::from(PIPES)).await?;
    let later = Picks::ask(&stage.open(50..100, 0..PIPES)?)?;
    none("split among the new calls", &later.split())?;
    none("new calls on the terminating pod", &later.calls_of(&victim))?;
    println!("new calls of each pod: {:?}", later.spread());

    worker.remove().await?;
    stage.known(worker.ip(), 0).await?;
    let gone = Picks::ask(old.iter().chain(&young))?;
    none("split after it is gone", &gone.split())?;
    ensure!(gone.moved(&before) == before.calls_of(&victim), "others moved: {:?}", gone.moved(&before));
    Ok(())
}
