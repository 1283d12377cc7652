//! Two clusters with mutual TLS between their pods, in which API servers, hubs and agents are killed at random moments.

use std::net::SocketAddr;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use portreeve_tests::certs::{Authority, Leaf};
use portreeve_tests::greeter::greeting;
use portreeve_tests::netns::Netns;
use portreeve_tests::node_names::{EGRESS, answers, application, egress, ingress, loopback, member};
use portreeve_tests::town::{Town, Worker};
use portreeve_tests::{kustomize, wait};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::json;

use crate::two_clusters::{knows, start};

/// The number of kills, unless PORTREEVE_KILLS sets another.
const KILLS: usize = 10;
/// Pause between two connections of the client.
const PAUSE: Duration = Duration::from_millis(20);

/// The parts that are killed.
#[derive(Clone, Copy, Debug)]
enum Part {
    ApiServer,
    Hub,
    Agent,
    /// The API server of the other cluster, whose pods are sources and endpoints here.
    Source,
    OtherHub,
}

const PARTS: [Part; 5] = [Part::ApiServer, Part::Hub, Part::Agent, Part::Source, Part::OtherHub];

/// A client that connects again and again, until it is dropped or ended.
pub struct Caller {
    stop: mpsc::Sender<()>,
    thread: std::thread::JoinHandle<Calls>,
}

/// The results of all connections.
#[derive(Debug, Default)]
pub struct Calls {
    /// Those that were served.
    pub served: usize,
    /// What went wrong with each other one.
    pub failed: Vec<String>,
}

// === impl Caller ===

impl Caller {
    /// Connects to an address, over and over.
    pub fn start(netns: &Netns, to: SocketAddr) -> Self {
        let (stop, stopped) = mpsc::channel();
        let netns = netns.clone();
        let thread = std::thread::spawn(move || {
            let mut calls = Calls::default();
            while stopped.recv_timeout(PAUSE) == Err(RecvTimeoutError::Timeout) {
                match greeting(&netns, to) {
                    Ok(Some(_)) => calls.served += 1,
                    Ok(None) => calls.failed.push("refused".to_owned()),
                    Err(error) => calls.failed.push(format!("{error:#}")),
                }
            }
            calls
        });
        Self { stop, thread }
    }

    /// Ends the client.
    pub fn end(self) -> Result<Calls> {
        drop(self.stop);
        self.thread.join().map_err(|_| anyhow::anyhow!("the client panicked"))
    }
}

/// Stores a certificate of the authority in a town, and lets its hub read it.
async fn store(town: &Town, authority: &Authority, name: &str) -> Result<()> {
    let signed = authority.issue(&Leaf::new(name, &[name]))?;
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
        "metadata": {"name": name, "namespace": "default"},
        "stringData": {"tls.crt": signed.certificate, "tls.key": signed.key, "ca.crt": authority.pem()},
    });
    town.apply(&secret.to_string()).await?;
    let binding = kustomize::deploy().join("components/secrets/binding.yaml");
    town.apply(&std::fs::read_to_string(binding)?).await
}

/// The listeners of both sides, with TLS.
fn objects() -> [String; 2] {
    let bob = ingress("bob", "alice").replace("rbac:", "tls: {secret: bob, validation: bob}, rbac:");
    let alice = egress("alice", "bob").replace("target:", "tls: {secret: alice, sans: [bob]}, target:");
    [bob, alice]
}

fn kill(part: Part, west: &mut Town, east: &mut Town) {
    match part {
        Part::ApiServer => west.control.kill(),
        Part::Hub => west.hub = None,
        Part::Agent => west.nodes[0].agent = None,
        Part::Source => east.control.kill(),
        Part::OtherHub => east.hub = None,
    }
}

async fn revive(part: Part, west: &mut Town, east: &mut Town) -> Result<()> {
    match part {
        Part::ApiServer => west.control.revive().await,
        Part::Hub => west.start_hub(),
        Part::Agent => west.start_agent(0),
        Part::Source => east.control.revive().await,
        Part::OtherHub => east.start_hub(),
    }
}

/// Returns how often listeners of these pods' Envoys were removed and modified.
async fn changes(workers: &[&Worker]) -> Result<Vec<[u64; 2]>> {
    let mut all = Vec::new();
    for worker in workers {
        let stats = worker.admin.stats().await?;
        let count = |name: &str| stats.get(&format!("listener_manager.{name}")).copied().unwrap_or_default();
        all.push([count("listener_removed"), count("listener_modified")]);
    }
    Ok(all)
}

#[tokio::test(flavor = "multi_thread")]
async fn no_listener_certificate_or_connection_is_lost_whatever_is_killed_when() -> Result<()> {
    let kills = std::env::var("PORTREEVE_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(KILLS);
    let seed: u64 = rand::rng().random();
    println!("{kills} kills, seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let mut west = Town::without_portreeve(1).await?;
    let mut east = west.beside(11..=11).await?;
    knows(&mut west, &east)?;
    knows(&mut east, &west)?;
    let authority = Authority::new("authority")?;
    let [bobs, alices] = objects();
    for (town, objects) in [(&west, &[&bobs, &alices][..]), (&east, &[&bobs])] {
        for name in ["alice", "bob"] {
            store(town, &authority, name).await?;
        }
        for object in objects {
            town.apply(object).await?;
        }
    }
    start(&mut west)?;
    start(&mut east)?;
    let near = member(&west, (1, 1), "bob").await?;
    let far = member(&east, (11, 1), "bob").await?;
    let alice = member(&west, (1, 2), "alice").await?;
    let _applications = (application(&near)?, application(&far)?);
    for bob in [&near, &far] {
        answers(&alice, loopback(EGRESS), &bob.name)?;
    }
    let workers = [&alice, &near, &far];
    let before = changes(&workers).await?;
    let caller = Caller::start(&alice.netns, loopback(EGRESS));
    for kill_number in 0..kills {
        // First an agent that has just sent what is not on its disk yet.
        let (part, within) = match kill_number {
            0 => (Part::Agent, 20),
            _ => (PARTS[random.random_range(0..PARTS.len())], 400),
        };
        tokio::time::sleep(Duration::from_millis(random.random_range(0..within))).await;
        kill(part, &mut west, &mut east);
        tokio::time::sleep(Duration::from_millis(random.random_range(0..800))).await;
        revive(part, &mut west, &mut east).await.with_context(|| format!("{part:?}, seed {seed}"))?;
    }
    let calls = caller.end()?;
    println!("{} connections were served, {} were not", calls.served, calls.failed.len());
    ensure!(calls.failed.is_empty(), "seed {seed}: {calls:?}");
    // A new pod is served by what was revived.
    let last = member(&west, (1, 3), "bob").await?;
    let _last = application(&last)?;
    answers(&alice, loopback(EGRESS), &last.name)?;
    ensure!(changes(&workers).await? == before, "listeners were changed, seed {seed}");
    wait::until("the far pod", Duration::from_secs(10), || async {
        answers(&alice, loopback(EGRESS), &far.name).is_ok()
    })
    .await
}
