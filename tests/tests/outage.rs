//! The kill loop: hub, agent and API server die and come back in turn under traffic, with an edit during each outage
//! (for the API server, right after it). Nothing is lost, and Envoy changes only the edited resources.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use portreeve_tests::envoy::Admin;
use portreeve_tests::pipe::{Pipe, virtual_service};
use portreeve_tests::town::{BOUND, Town, Worker, listeners};
use portreeve_tests::udp::{Echo, Flow, Report, Running};
use portreeve_tests::wait;
use serde_json::Value;

/// Number of outages of each process.
const ROUNDS: usize = 10;
/// How often a trial may be repeated because the test's own sockets dropped datagrams.
const REPEATS: usize = 2;
/// Port of the endpoints of the steady pipes.
const STEADY_PORT: u16 = 5000;
/// Ports of the endpoints of the edited pipes, in turn.
const EDITED_PORTS: [u16; 2] = [5001, 5002];
/// Datagrams per second over the steady pipes of both gateways.
const RATE: u32 = 1000;
/// Number of datagrams during each outage before the victim comes back.
const PASSING: u64 = 500;
/// Labels of the proxies of the VirtualServices.
const SELECTOR: &str = "app: envoy-ingress";
/// Envoy's counters of configuration changes, including rejected ones.
const COUNTERS: [&str; 9] = [
    "listener_manager.listener_added",
    LISTENER_MODIFIED,
    "listener_manager.listener_removed",
    "listener_manager.listener_in_place_updated",
    "listener_manager.lds.update_rejected",
    "cluster_manager.cluster_added",
    CLUSTER_MODIFIED,
    "cluster_manager.cluster_removed",
    "cluster_manager.cds.update_rejected",
];
const LISTENER_MODIFIED: &str = "listener_manager.listener_modified";
const CLUSTER_MODIFIED: &str = "cluster_manager.cluster_modified";

/// The [`COUNTERS`] of one Envoy.
type Counts = BTreeMap<&'static str, u64>;

/// The victim of an outage.
#[derive(Debug, Clone, Copy)]
enum Victim {
    Hub,
    /// The agent of the first node.
    Agent,
    ApiServer,
}

/// The edit of a pipe.
#[derive(Debug, Clone, Copy)]
enum Edit {
    /// The idle timeout, which changes the listener.
    Idle,
    /// The pods' port, which changes endpoints, but neither listener nor cluster.
    Forward,
    /// The listener's port.
    Listen,
    /// The hash key is set or removed, which changes both listener and cluster.
    Key,
}

const EDITS: [Edit; 4] = [Edit::Idle, Edit::Forward, Edit::Listen, Edit::Key];

/// A VirtualService that is edited: the pipe `kept` has traffic and stays unchanged, `edited` changes.
struct Service {
    name: &'static str,
    kept: Pipe,
    edited: Pipe,
}

/// A flow through one pipe of one gateway.
struct Traffic {
    title: String,
    started: Instant,
    running: Running,
}

/// A trial in which, over all flows, only the datagrams that the test's own sockets dropped may be lost.
struct Void {
    from: Instant,
    to: Instant,
    dropped: u64,
    /// Number of datagrams lost so far.
    lost: u64,
}

/// The state of the loop.
struct Loop {
    town: Town,
    workers: Vec<Worker>,
    echoes: Vec<Echo>,
    services: Vec<Service>,
    /// The expected counters of each gateway.
    expected: Vec<Counts>,
    /// Number of trials that were repeated because the test's own sockets dropped datagrams.
    void: Vec<Void>,
    /// Longest time from the victim's return to the edit's effect, by victim.
    slowest: BTreeMap<String, Duration>,
    edits: usize,
}

/// Number of flows to an edited listener, of which one must lose nothing.
const FLOWS: usize = 3;

// === impl Edit ===

impl Edit {
    /// Makes the edit, and returns how often it modifies a listener and a cluster.
    fn apply(self, pipe: &mut Pipe) -> (u64, u64) {
        match self {
            Self::Idle => {
                pipe.idle_ms = Some(if pipe.idle_ms == Some(61_000) { 62_000 } else { 61_000 });
                (1, 0)
            }
            Self::Forward => {
                pipe.forward =
                    if pipe.forward == EDITED_PORTS[0] { EDITED_PORTS[1] } else { EDITED_PORTS[0] };
                (0, 0)
            }
            Self::Listen => {
                pipe.listen ^= 1;
                (1, 0)
            }
            Self::Key => {
                pipe.key = if pipe.key.is_none() { Some("call".to_owned()) } else { None };
                (1, 1)
            }
        }
    }
}

// === impl Service ===

impl Service {
    /// Creates the service with number `i`, on its own ports.
    fn new(name: &'static str, i: u16) -> Self {
        let kept = Pipe::new(&format!("{name}-kept"), 4100 + i, STEADY_PORT);
        Self { name, kept, edited: Pipe::new(&format!("{name}-edited"), 4200 + 2 * i, EDITED_PORTS[0]) }
    }

    fn yaml(&self) -> String {
        virtual_service(self.name, SELECTOR, &[self.kept.clone(), self.edited.clone()])
    }
}

// === impl Loop ===

impl Loop {
    /// Creates a town with two gateways, three workers and four VirtualServices, and waits until everything serves.
    async fn new() -> Result<Self> {
        let town = Town::start(2).await?;
        town.gateways().await?;
        let (mut workers, mut echoes) = (Vec::new(), Vec::new());
        for (i, j) in [(1, 1), (2, 1), (2, 2)] {
            let worker = town.worker(i, j, "app: worker", false).await?;
            for port in [STEADY_PORT].into_iter().chain(EDITED_PORTS) {
                let name = format!("{}:{port}", worker.name);
                echoes.push(Echo::start(&worker.netns, &name, SocketAddr::new(worker.ip(), port))?);
            }
            workers.push(worker);
        }
        let services = vec![Service::new("a", 0), Service::new("b", 1)];
        let mut made = Self {
            town,
            workers,
            echoes,
            services,
            expected: Vec::new(),
            void: Vec::new(),
            slowest: BTreeMap::new(),
            edits: 0,
        };
        made.open().await?;
        Ok(made)
    }

    /// Applies the VirtualServices, and reads the counters once everything serves.
    async fn open(&mut self) -> Result<()> {
        let mut text = virtual_service("steady", SELECTOR, &[steady_keyed()]);
        text += &format!("---\n{}", virtual_service("steady-spread", SELECTOR, &[steady_spread()]));
        for service in &self.services {
            text += &format!("---\n{}", service.yaml());
        }
        self.town.apply(&text).await?;
        let names = ["keyed", "spread", "a-kept", "a-edited", "b-kept", "b-edited"];
        for node in &self.town.nodes {
            listeners(&node.gateway(), &names, BOUND).await?;
            for service in &self.services {
                shows(&node.gateway(), &service.edited).await?;
            }
            self.expected.push(counts(&node.gateway()).await?);
        }
        Ok(())
    }

    /// Starts traffic through every pipe that is never edited, on both gateways.
    fn traffic(&self) -> Result<Vec<Traffic>> {
        let kept = self.services.iter().map(|service| service.kept.clone());
        let pipes: Vec<Pipe> = [steady_keyed(), steady_spread()].into_iter().chain(kept).collect();
        let flows = u32::try_from(pipes.len() * self.town.nodes.len())?;
        let mut started = Vec::new();
        for node in &self.town.nodes {
            for pipe in &pipes {
                let flow =
                    Flow::to(SocketAddr::new(node.address(), pipe.listen)).sockets(10).rate(RATE / flows);
                started.push(Traffic {
                    title: format!("{} of {}", pipe.name, node.name),
                    started: Instant::now(),
                    running: flow.lasting(Duration::from_secs(3600)).start(self.town.bed.root())?,
                });
            }
        }
        Ok(started)
    }

    /// Makes one outage with its edit, and repeats it if the test's own sockets dropped datagrams.
    async fn trial(&mut self, victim: Victim) -> Result<()> {
        for _ in 0..=REPEATS {
            let (dropped, start) = (self.drops()?, Instant::now());
            self.attempt(victim).await.with_context(|| format!("{victim:?}, edit {}", self.edits))?;
            let dropped = self.drops()?.saturating_sub(dropped);
            if dropped == 0 {
                return Ok(());
            }
            println!("void: {dropped} datagrams dropped at the test's own sockets");
            self.void.push(Void { from: start, to: Instant::now(), dropped, lost: 0 });
        }
        anyhow::bail!("the test's own sockets dropped datagrams in {} trials in a row", REPEATS + 1)
    }

    async fn attempt(&mut self, victim: Victim) -> Result<()> {
        let (edit, at) = (EDITS[(self.edits / 2) % EDITS.len()], self.edits % self.services.len());
        self.edits += 1;
        let (listeners, clusters) = edit.apply(&mut self.services[at].edited);
        for counts in &mut self.expected {
            *counts.entry(LISTENER_MODIFIED).or_default() += listeners;
            *counts.entry(CLUSTER_MODIFIED).or_default() += clusters;
        }
        let yaml = self.services[at].yaml();
        let start = Instant::now();
        self.kill(victim).await?;
        let noticed = start.elapsed();
        if !matches!(victim, Victim::ApiServer) {
            self.town.apply(&yaml).await?;
        }
        self.pass().await?;
        self.restart(victim).await?;
        let back = Instant::now();
        if matches!(victim, Victim::ApiServer) {
            // Right after its start, the API server may not serve all kinds yet.
            wait::until("the edit's acceptance", BOUND, || async { self.town.apply(&yaml).await.is_ok() })
                .await?;
        }
        self.verify(at).await?;
        let (took, outage) = (back.elapsed(), back - start);
        let slowest = self.slowest.entry(format!("{victim:?}")).or_default();
        *slowest = took.max(*slowest);
        println!(
            "{victim:?} away {outage:.1?} (noticed after {noticed:.1?}), {edit:?} of {} in force {took:.1?} after",
            self.services[at].name
        );
        Ok(())
    }

    /// Kills the victim, and waits until its dependents have noticed.
    async fn kill(&mut self, victim: Victim) -> Result<()> {
        match victim {
            Victim::Hub => {
                let before = self.disconnects();
                self.town.hub.take().context("no hub to kill")?.kill();
                wait::until("agents without a hub", BOUND, || async {
                    self.disconnects().iter().zip(&before).all(|(now, before)| now > before)
                })
                .await
            }
            Victim::Agent => {
                self.town.nodes[0].agent.take().context("no agent to kill")?.kill();
                let gateway = self.town.nodes[0].gateway();
                let state = "control_plane.connected_state";
                wait::until("a gateway without agent", BOUND, || async {
                    gateway.stats().await.is_ok_and(|stats| stats.get(state) == Some(&0))
                })
                .await
            }
            Victim::ApiServer => {
                let before = self.failed_watches();
                self.town.control.kill();
                wait::until("a hub whose watches fail", BOUND, || async { self.failed_watches() > before })
                    .await
            }
        }
    }

    async fn restart(&mut self, victim: Victim) -> Result<()> {
        match victim {
            Victim::Hub => self.town.start_hub(),
            Victim::Agent => self.town.start_agent(0),
            Victim::ApiServer => self.town.control.revive().await,
        }
    }

    /// Waits until some more datagrams arrived, during any outage.
    async fn pass(&self) -> Result<()> {
        let received = || self.echoes.iter().map(|echo| echo.seen().received).sum::<u64>();
        let wanted = received() + PASSING;
        wait::until("datagrams during the outage", BOUND, || async { received() >= wanted }).await
    }

    /// Returns how often each agent lost its hub.
    fn disconnects(&self) -> Vec<usize> {
        let agents = self.town.nodes.iter().filter_map(|node| node.agent.as_ref());
        agents.map(|agent| agent.log().matches("connected=false").count()).collect()
    }

    /// Returns how often the hub's watches failed.
    fn failed_watches(&self) -> usize {
        self.town.hub.as_ref().map_or(0, |hub| hub.log().matches("watch failed").count())
    }

    /// Checks that both gateways show the edit, answer accordingly, and have counted no other change.
    async fn verify(&self, at: usize) -> Result<()> {
        let pipe = &self.services[at].edited;
        for (node, expected) in self.town.nodes.iter().zip(&self.expected) {
            let gateway = node.gateway();
            shows(&gateway, pipe).await.with_context(|| format!("{} of {}", pipe.name, node.name))?;
            let counted = counts(&gateway).await?;
            ensure!(counted == *expected, "{}: counted {counted:?}, edited {expected:?}", node.name);
            let report = self.settled(SocketAddr::new(node.address(), pipe.listen)).await;
            let report = report.with_context(|| format!("{} of {}", pipe.name, node.name))?;
            let port = format!(":{}", pipe.forward);
            let by = report.answered_by();
            ensure!(by.keys().all(|echo| echo.ends_with(&port)), "{} leads to {by:?}", pipe.name);
        }
        Ok(())
    }

    /// Starts flows to an edited listener until one loses nothing. Envoy's workers apply an edit a moment after its
    /// main thread shows it, and then end their existing sessions, including the datagram in flight.
    async fn settled(&self, target: SocketAddr) -> Result<Report> {
        for again in (0..FLOWS).rev() {
            let flow = Flow::to(target).sockets(4).rate(200).lasting(Duration::from_millis(100));
            let report = flow.start(self.town.bed.root())?.finish()?;
            match report.lossless() {
                Ok(()) => return Ok(report),
                Err(lost) if again == 0 => return Err(lost),
                Err(lost) => println!("{target}: {lost}"),
            }
        }
        anyhow::bail!("no flow was sent to {target}")
    }

    /// Returns the number of datagrams that the kernel dropped at the test's sockets.
    fn drops(&self) -> Result<u64> {
        let mut dropped = self.town.bed.root().udp_sockets()?.iter().map(|socket| socket.drops).sum();
        for worker in &self.workers {
            dropped += worker.netns.udp_sockets()?.iter().map(|socket| socket.drops).sum::<u64>();
        }
        Ok(dropped)
    }

    /// Returns what is wrong with a flow: losses outside void trials, and renewed sessions. Losses in void trials are
    /// recorded there.
    fn faults(&mut self, title: &str, started: Instant, report: &Report) -> Vec<String> {
        let (mut lost, mut faults) = (0, Vec::new());
        for datagram in report.lines.iter().flat_map(|line| line.lost()) {
            let at = started + datagram.sent;
            match self.void.iter_mut().find(|void| (void.from..=void.to).contains(&at)) {
                Some(void) => void.lost += 1,
                None => lost += 1,
            }
        }
        if lost > 0 {
            faults.push(format!("{title}: {lost} lost: {report}"));
        }
        for line in &report.lines {
            let upstreams = line.upstreams();
            if upstreams.len() != 1 {
                faults.push(format!("{title}: the session of {} came from {upstreams:?}", line.source));
            }
        }
        faults
    }
}

fn steady_keyed() -> Pipe {
    Pipe::new("keyed", 4000, STEADY_PORT).keyed("steady")
}

fn steady_spread() -> Pipe {
    Pipe::new("spread", 4001, STEADY_PORT)
}

async fn counts(admin: &Admin) -> Result<Counts> {
    let stats = admin.stats().await?;
    Ok(COUNTERS.into_iter().map(|name| (name, stats.get(name).copied().unwrap_or_default())).collect())
}

/// Waits until the proxy's active configuration is that of the pipe, and no resource is warming.
async fn shows(admin: &Admin, pipe: &Pipe) -> Result<()> {
    wait::until(&format!("{pipe:?}"), BOUND, || async move {
        let Ok(dump) = admin.config_dump().await else { return false };
        let Ok(stats) = admin.stats().await else { return false };
        let warming = ["listener_manager.total_listeners_warming", "cluster_manager.warming_clusters"];
        let warm = warming.iter().all(|name| stats.get(*name) == Some(&0));
        warm && listener_is(&dump, pipe) == Some(true) && endpoints_are(&dump, pipe) == Some(true)
    })
    .await
}

/// Returns whether the active listener is the pipe's; `None` if there is none.
fn listener_is(dump: &Value, pipe: &Pipe) -> Option<bool> {
    let ours = |state: &&Value| {
        state["name"].as_str().is_some_and(|name| name.ends_with(&format!("/{}", pipe.name)))
    };
    let listeners = entries(dump, "dynamic_listeners");
    let listener = &listeners.into_iter().find(ours)?["active_state"]["listener"];
    let config = &listener["listener_filters"][0]["typed_config"];
    let port = listener["address"]["socket_address"]["port_value"].as_u64()?;
    let idle = format!("{}s", pipe.idle_ms.unwrap_or(60_000) / 1000);
    let keyed = config["use_per_packet_load_balancing"] == true;
    Some(
        port == u64::from(pipe.listen)
            && config["idle_timeout"] == idle.as_str()
            && keyed == pipe.key.is_some(),
    )
}

/// Returns whether all endpoints of the pipe have its port; `None` if there is no assignment, or an empty one.
fn endpoints_are(dump: &Value, pipe: &Pipe) -> Option<bool> {
    let name = format!("/{}-out", pipe.name);
    let assignments =
        entries(dump, "dynamic_endpoint_configs").into_iter().map(|entry| &entry["endpoint_config"]);
    let ours = |a: &&Value| a["cluster_name"].as_str().is_some_and(|found| found.ends_with(&name));
    let localities = assignments.into_iter().find(ours)?["endpoints"].as_array()?;
    let hosts = localities.iter().filter_map(|locality| locality["lb_endpoints"].as_array()).flatten();
    let ports: Vec<_> =
        hosts.map(|host| &host["endpoint"]["address"]["socket_address"]["port_value"]).collect();
    (!ports.is_empty()).then(|| ports.iter().all(|port| **port == u64::from(pipe.forward)))
}

/// Returns the entries of one list over all parts of a dump.
fn entries<'a>(dump: &'a Value, list: &str) -> Vec<&'a Value> {
    let parts = dump["configs"].as_array().into_iter().flatten();
    parts.filter_map(|part| part[list].as_array()).flatten().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn hub_agent_and_api_server_die_in_turn_and_only_edits_touch_a_gateway() -> Result<()> {
    let mut kills = Loop::new().await?;
    let traffic = kills.traffic()?;
    let begun = Instant::now();
    for _ in 0..ROUNDS {
        for victim in [Victim::Hub, Victim::Agent, Victim::ApiServer] {
            kills.trial(victim).await?;
        }
    }
    let (mut faults, mut sent, mut lost, mut own) = (Vec::new(), 0, 0, 0);
    for Traffic { title, started, running } in traffic {
        let report = running.stop()?;
        println!("{title}: {report}");
        faults.extend(kills.faults(&title, started, &report));
        (sent, lost, own) = (sent + report.sent(), lost + report.lost(), own + report.drops);
    }
    let unexplained = |void: &&Void| void.lost > void.dropped;
    faults.extend(kills.void.iter().filter(unexplained).map(|void| {
        format!("a void trial lost {}, the test's own sockets dropped {}", void.lost, void.dropped)
    }));
    println!(
        "{} outages in {:.0?}: {lost} of {sent} datagrams lost ({} dropped at the test's own sockets), edits in force \
         at the latest {:.1?} after the return",
        kills.edits,
        begun.elapsed(),
        own + kills.echoes.iter().map(Echo::drops).sum::<Result<u64>>()?,
        kills.slowest
    );
    for (node, expected) in kills.town.nodes.iter().zip(&kills.expected) {
        let counted = counts(&node.gateway()).await?;
        println!("{}: {counted:?}", node.name);
        ensure!(counted == *expected, "{}: counted {counted:?}, edited {expected:?}", node.name);
    }
    ensure!(faults.is_empty(), "{}", faults.join("\n"));
    let due = begun.elapsed().as_secs_f64() * f64::from(RATE);
    ensure!(sent as f64 > 0.9 * due, "{sent} datagrams were sent, {due:.0} were due");
    Ok(())
}
