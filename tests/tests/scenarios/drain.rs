//! Removal: how long a sidecar keeps a removed listener, and which sessions terminating pods still get.

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use portreeve_tests::call::Pipe;
use portreeve_tests::netns::Netns;
use portreeve_tests::town::{BOUND, Town, Worker, listeners};
use portreeve_tests::udp::Echo;
use portreeve_tests::virtual_service::{Host, Service};
use portreeve_tests::wait;

/// The shipped drain time plus a margin for a busy machine. Envoy's own default is 600 s.
const GONE: Duration = Duration::from_secs(10);
/// The listeners' port as written in `/proc/net/udp`.
const PORT: (u16, &str) = (5077, ":13D5 ");

/// Returns the UDP sockets at the port in a process's network.
fn sockets(pid: u32) -> Result<usize> {
    let table = fs::read_to_string(format!("/proc/{pid}/net/udp"))?;
    Ok(table.lines().filter(|line| line.contains(PORT.1)).count())
}

#[tokio::test(flavor = "multi_thread")]
async fn sockets_of_removed_udp_listeners_do_not_stay() -> Result<()> {
    let town = Town::start(1).await?;
    town.gateways().await?;
    let worker = town.worker(1, 1, "app: side", true).await?;
    let pid = worker.envoy.as_ref().context("an Envoy")?.pid();
    for round in 0..3 {
        let name = format!("call-{round}");
        let service = Service::new(&name, "app: side").udp(&name, PORT.0, &[Host::At("10.77.0.1")], 10_000);
        town.apply(&service.yaml()).await?;
        listeners(&worker.admin, &[&name], BOUND).await?;
        ensure!(sockets(pid)? > 0, "no socket at port {}", PORT.0);
        town.delete(&service.yaml()).await?;
        listeners(&worker.admin, &[], BOUND).await?;
        let removed = Instant::now();
        wait::until("no socket at the port", GONE, || async { sockets(pid).is_ok_and(|left| left == 0) })
            .await?;
        println!("the sockets were gone {:.2?} after the listener", removed.elapsed());
    }
    Ok(())
}

/// The pods' port in the service without a hash key.
const SPREAD: u16 = 6000;
/// Number of senders. Each has its own address, by which its pod is chosen.
const SENDERS: u8 = 8;

/// A gateway with a service without a hash key, and its senders.
struct Spread {
    town: Town,
    senders: Vec<Netns>,
    target: SocketAddr,
}

// === impl Spread ===

impl Spread {
    async fn new() -> Result<Self> {
        let town = Town::start(1).await?;
        town.gateways().await?;
        let spread =
            Service::new("spread", "app: envoy-ingress").udp("l", 5000, &[Host::Pods("app: worker")], SPREAD);
        town.apply(&spread.yaml()).await?;
        listeners(&town.nodes[0].gateway(), &["l"], BOUND).await?;
        let senders = (1..=SENDERS).map(|j| town.bed.pod(9, j)).collect::<Result<_>>()?;
        let target = SocketAddr::new(town.nodes[0].address(), 5000);
        Ok(Self { town, senders, target })
    }

    /// Opens a new session for each sender, and returns the pods that answer.
    fn sessions(&self) -> Result<Vec<(Pipe, String)>> {
        let open = |sender: &Netns| {
            let pipe = Pipe::open(sender, self.target)?;
            let by = pipe.ask()?;
            Ok((pipe, by))
        };
        self.senders.iter().map(open).collect()
    }

    /// Waits until exactly these pods answer new sessions. An Envoy's workers apply a change after its main thread
    /// shows it.
    async fn newcomers_go_to(&self, pods: &[&str]) -> Result<Vec<(Pipe, String)>> {
        let wanted = BTreeSet::from_iter(pods.iter().copied());
        wait::eventually(&format!("new sessions at {pods:?}"), BOUND, || async {
            let sessions = self.sessions().ok()?;
            let by: BTreeSet<&str> = sessions.iter().map(|(_, by)| by.as_str()).collect();
            (by == wanted).then_some(sessions)
        })
        .await
    }

    /// Waits until the gateway counts a pod as degraded.
    async fn degraded(&self, worker: &Worker) -> Result<()> {
        let place = format!("::{}:{SPREAD}::health_flags::", worker.ip());
        let gateway = self.town.nodes[0].gateway();
        wait::until(&format!("{} degraded", worker.name), BOUND, || async {
            let text = gateway.clusters().await.unwrap_or_default();
            text.lines().any(|line| line.contains(&place) && line.ends_with("::/degraded_eds_health"))
        })
        .await
    }
}

/// Checks that every session still has its pod, and is answered.
fn stay(sessions: &[(Pipe, String)]) -> Result<()> {
    sessions.iter().try_for_each(|(pipe, by)| {
        let now = pipe.ask()?;
        ensure!(now == *by, "a session has moved from {by} to {now}");
        Ok(())
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn terminating_pods_without_a_key_take_new_sessions_only_while_there_is_no_other() -> Result<()> {
    let spread = Spread::new().await?;
    let (workers, mut echoes) = spread.town.answering_workers(1, 2, SPREAD).await?;
    let early = spread.newcomers_go_to(&["w1-1", "w1-2"]).await?;

    workers[0].terminate().await?;
    spread.degraded(&workers[0]).await?;
    let other = spread.newcomers_go_to(&["w1-2"]).await?;
    stay(&early)?;

    // No other pod is left, so both keep serving.
    workers[1].terminate().await?;
    let last = spread.newcomers_go_to(&["w1-1", "w1-2"]).await?;
    [&early, &other, &last].into_iter().try_for_each(|sessions| stay(sessions))?;

    let fresh = spread.town.worker(1, 3, "app: worker", false).await?;
    echoes.push(Echo::start(&fresh.netns, &fresh.name, SocketAddr::new(fresh.ip(), SPREAD))?);
    for worker in &workers {
        spread.degraded(worker).await?;
    }
    let new = spread.newcomers_go_to(&["w1-3"]).await?;
    [&early, &other, &last, &new].into_iter().try_for_each(|sessions| stay(sessions))?;

    workers.iter().try_for_each(|worker| {
        let by = &worker.name;
        ensure!(early.iter().any(|(_, home)| home == by), "no early session was with {by}");
        Ok(())
    })
}
