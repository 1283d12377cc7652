//! Random edits that permute ports, names, transports and workers over the listeners of several objects: each edit
//! takes effect.

use std::collections::BTreeMap;
use std::io::Read;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use anyhow::{Result, ensure};
use portreeve_tests::netns::Netns;
use portreeve_tests::town::{BOUND, Town, Worker};
use portreeve_tests::udp::{Echo, Flow};
use portreeve_tests::virtual_service::{Host, Service};
use portreeve_tests::{path, wait};
use tokio::io::AsyncWriteExt;
use tokio::task::JoinSet;

const STEPS: usize = 25;
const SEED: u64 = 0x9e37_79b9_7f4a_7c15;
const APP: u16 = 6000;
const WORKERS: [&str; 3] = ["w0", "w1", "w2"];
const OBJECTS: [&str; 3] = ["o0", "o1", "o2"];
const FIRST_PORT: u16 = 17_000;
/// Maximum time between two answers of a port that is swapped. Measured: 5 to 10 ms, without a lost datagram.
const MAX_GAP: Duration = Duration::from_millis(500);
/// Number of concurrent listeners, and the pools of their names and ports.
const LISTENERS: usize = 5;
const PLACES: usize = 6;

/// A wanted listener.
#[derive(Clone, Debug)]
struct Asked {
    object: &'static str,
    name: String,
    port: u16,
    udp: bool,
    worker: &'static str,
}

/// Random numbers from a seed (xorshift64*).
struct Dice(u64);

// === impl Dice ===

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let high = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(high).unwrap_or_default() % bound
    }

    /// Returns the numbers below `count` in random order.
    fn permutation(&mut self, count: usize) -> Vec<usize> {
        let mut all: Vec<usize> = (0..count).collect();
        for last in (1..count).rev() {
            all.swap(last, self.below(last + 1));
        }
        all
    }

    /// Returns listeners so that each object has at least one.
    fn edit(&mut self) -> Vec<Asked> {
        let (names, ports) = (self.permutation(PLACES), self.permutation(PLACES));
        let objects = self.permutation(OBJECTS.len());
        let listener = |slot: usize| Asked {
            object: OBJECTS[objects.get(slot).copied().unwrap_or_else(|| self.below(OBJECTS.len()))],
            name: format!("l{}", names[slot]),
            port: FIRST_PORT + ports[slot] as u16,
            udp: self.below(4) > 0,
            worker: WORKERS[self.below(WORKERS.len())],
        };
        (0..LISTENERS).map(listener).collect()
    }
}

fn manifests(edit: &[Asked]) -> String {
    let mut services: BTreeMap<&str, Service> = BTreeMap::new();
    for one in edit {
        let service =
            services.remove(one.object).unwrap_or_else(|| Service::new(one.object, "app: envoy-ingress"));
        let labels = format!("app: {}", one.worker);
        let hosts = [Host::Pods(&labels)];
        let service = match one.udp {
            true => service.udp(&one.name, one.port, &hosts, APP),
            false => service.tcp(&one.name, one.port, &hosts, APP),
        };
        services.insert(one.object, service);
    }
    services.values().map(Service::yaml).collect()
}

/// The echoes of a worker, which answer with its name: one on UDP, one on TCP.
fn apps(worker: &Worker, name: &'static str, tcp: &mut JoinSet<()>) -> Result<Echo> {
    let address = SocketAddr::new(worker.ip(), APP);
    let listener = worker.netns.enter(|| TcpListener::bind(address))??;
    listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    tcp.spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            // A client that closes its connection early connects again.
            let _ = client.write_all(name.as_bytes()).await;
        }
    });
    Echo::start(&worker.netns, name, address)
}

/// Waits until a TCP port leads to this worker.
fn leads(from: &Netns, target: SocketAddr, worker: &str) -> Result<()> {
    let answer = || -> Option<String> {
        let mut stream = from.enter(|| TcpStream::connect_timeout(&target, BOUND)).ok()?.ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(1))).ok()?;
        let mut name = String::new();
        stream.read_to_string(&mut name).ok()?;
        Some(name)
    };
    wait::wait_until(&format!("{worker} at TCP {target}"), BOUND, || answer().as_deref() == Some(worker))
}

/// Waits until the gateway has exactly these listeners at these ports, and each port leads to its worker.
async fn ends_as_asked(town: &Town, edit: &[Asked]) -> Result<()> {
    let mut wanted: Vec<(String, u16)> =
        edit.iter().map(|one| (format!("A/default/{}/{}", one.object, one.name), one.port)).collect();
    wanted.sort();
    let (wanted, gateway) = (&wanted, &town.nodes[0].gateway());
    wait::until(&format!("the listeners {wanted:?}"), BOUND, || async move {
        let found = gateway.listeners().await.unwrap_or_default();
        let port = |address: &str| address.rsplit(':').next().and_then(|text| text.parse().ok()).unwrap_or(0);
        let mut found: Vec<(String, u16)> =
            found.iter().map(|(name, address)| (name.clone(), port(address))).collect();
        found.sort();
        found == *wanted
    })
    .await?;
    for one in edit {
        let target = SocketAddr::new(town.nodes[0].address(), one.port);
        match one.udp {
            true => drop(path::opens(town.bed.root(), target, one.worker, BOUND)?),
            false => leads(town.bed.root(), target, one.worker)?,
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn any_permutation_of_listeners_ends_as_asked() -> Result<()> {
    let town = Town::start(1).await?;
    town.gateways().await?;
    let (mut tcp, mut udp) = (JoinSet::new(), Vec::new());
    for (number, name) in (1..).zip(WORKERS) {
        let worker = town.worker(1, number, &format!("app: {name}"), false).await?;
        udp.push(apps(&worker, name, &mut tcp)?);
    }
    println!("seed {SEED:#x}");
    let mut dice = Dice(SEED);
    for step in 0..STEPS {
        let edit = dice.edit();
        println!("step {step}: {edit:?}");
        town.apply(&manifests(&edit)).await?;
        ends_as_asked(&town, &edit).await?;
    }
    let rejected = town.nodes[0].gateway().stat("listener_manager.lds.update_rejected").await?;
    ensure!(rejected == 0, "the gateway rejected {rejected} responses");
    Ok(())
}

/// Two UDP ports swap their workers by swapping their listeners: Envoy must close one of them before it can open the
/// other. The gap of each port is printed.
#[tokio::test(flavor = "multi_thread")]
async fn ports_that_are_swapped_are_closed_for_an_instant() -> Result<()> {
    let town = Town::start(1).await?;
    town.gateways().await?;
    let mut udp = Vec::new();
    for (number, name) in (1..).zip(WORKERS) {
        let worker = town.worker(1, number, &format!("app: {name}"), false).await?;
        udp.push(Echo::start(&worker.netns, name, SocketAddr::new(worker.ip(), APP))?);
    }
    let asked =
        |name: &str, port: u16, worker| Asked { object: "o0", name: name.into(), port, udp: true, worker };
    let [one, two] = [FIRST_PORT, FIRST_PORT + 1];
    let at = |port| SocketAddr::new(town.nodes[0].address(), port);
    let flow = |port| Flow::to(at(port)).sockets(2).rate(500).lasting(BOUND).start(town.bed.root());
    let mut ports = [one, two];
    let first = [asked("a", one, "w0"), asked("b", two, "w1")];
    town.apply(&manifests(&first)).await?;
    ends_as_asked(&town, &first).await?;
    for round in 0..5 {
        ports.swap(0, 1);
        let flows = [flow(one)?, flow(two)?];
        let swapped = [asked("a", ports[0], "w0"), asked("b", ports[1], "w1")];
        town.apply(&manifests(&swapped)).await?;
        ends_as_asked(&town, &swapped).await?;
        for (port, flow) in [one, two].into_iter().zip(flows) {
            let report = flow.stop()?;
            println!("swap {round}, port {port}: closed for {:?}: {report}", report.longest_gap());
            ensure!(report.longest_gap() < MAX_GAP, "port {port} was closed for {:?}", report.longest_gap());
        }
    }
    Ok(())
}
