//! Random edits that permute ports, names, transports and workers over the listeners of several objects: each ends as asked.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use anyhow::{Result, ensure};
use portreeve_tests::town::{BOUND, Town};
use portreeve_tests::udp::Echo;
use portreeve_tests::virtual_service::{Host, Service};
use portreeve_tests::{path, wait};

const STEPS: usize = 25;
const SEED: u64 = 0x9e37_79b9_7f4a_7c15;
const APP: u16 = 6000;
const WORKERS: [&str; 3] = ["w0", "w1", "w2"];
const OBJECTS: [&str; 3] = ["o0", "o1", "o2"];
const FIRST_PORT: u16 = 17_000;
/// Listeners at a time, and names and ports that they are given.
const LISTENERS: usize = 5;
const PLACES: usize = 6;

/// One listener as it is asked for.
#[derive(Clone, Debug)]
struct Asked {
    object: &'static str,
    name: String,
    port: u16,
    udp: bool,
    worker: &'static str,
}

/// Numbers from a seed (xorshift64*).
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

    /// The numbers below `count` in any order.
    fn permutation(&mut self, count: usize) -> Vec<usize> {
        let mut all: Vec<usize> = (0..count).collect();
        for last in (1..count).rev() {
            all.swap(last, self.below(last + 1));
        }
        all
    }

    /// Listeners of which each object has one at least.
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

/// Waits until the gateway has exactly these listeners at these ports, and each UDP port leads to its worker alone.
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
    for one in edit.iter().filter(|one| one.udp) {
        let target = SocketAddr::new(town.nodes[0].address(), one.port);
        path::opens(town.bed.root(), target, one.worker, BOUND)?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn any_permutation_of_listeners_ends_as_asked() -> Result<()> {
    let town = Town::start(1).await?;
    town.gateways().await?;
    let mut apps = Vec::new();
    for (number, name) in (1..).zip(WORKERS) {
        let worker = town.worker(1, number, &format!("app: {name}"), false).await?;
        apps.push(Echo::start(&worker.netns, name, SocketAddr::new(worker.ip(), APP))?);
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
