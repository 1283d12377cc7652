//! Two agents of one node at the same time, as in an update with a surge: only one of them works at any time, and
//! traffic isn't affected by which.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use portreeve_tests::exporter::admin;
use portreeve_tests::hand_over::Stage;
use portreeve_tests::health_port::HealthPort;
use portreeve_tests::http;
use portreeve_tests::pipe::{Pipe, virtual_service};
use portreeve_tests::process::Process;
use portreeve_tests::town::{BOUND, Town, Worker, listeners};
use portreeve_tests::{under_test, wait};

/// How many trials may be void because the kernel dropped datagrams.
const REPEATS: usize = 3;
/// The canary's health port, which is probed five times a second.
const HEALTH: u16 = 1233;

/// One process of the node's agent.
struct Agent {
    process: Process,
    probes: PathBuf,
}

/// A node with traffic through its gateway, and a pod that is probed.
struct Scene {
    stage: Stage,
    canary: Worker,
    health: HealthPort,
    /// Number of listeners added since the start.
    asked: Vec<String>,
    /// Number of agents so far.
    agents: usize,
}

// === impl Agent ===

impl Agent {
    /// Checks liveness or readiness. Returns the reason for a failure.
    fn says(&self, more: &[&str]) -> Result<()> {
        let mut command = under_test::command("agent")?;
        let done = command.arg("probe").arg("--socket").arg(&self.probes).args(more).output()?;
        ensure!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        Ok(())
    }

    async fn ready(&self) -> Result<()> {
        wait::until("a ready agent", BOUND, || async { self.says(&[]).is_ok() }).await
    }

    /// Waits until it has ended its work for another agent.
    async fn makes_room(&self) -> Result<()> {
        let unready = "its turn: another agent has this node";
        wait::until("an agent that makes room", BOUND, || async {
            self.says(&[]).is_err_and(|error| error.to_string().contains(unready))
        })
        .await?;
        self.says(&["--live"])
    }
}

// === impl Scene ===

impl Scene {
    async fn new() -> Result<Self> {
        let mut town = Town::without_portreeve(1).await?;
        town.start_hub()?;
        let stage = Stage::new(town).await?;
        let canary = stage.town.worker(1, 9, "app: canary", false).await?;
        let health = HealthPort::open(&canary.netns, SocketAddr::new(canary.ip(), HEALTH))?;
        Ok(Self { stage, canary, health, asked: vec!["keyed".into(), "spread".into()], agents: 0 })
    }

    /// Starts another agent.
    fn start(&mut self, admin: SocketAddr) -> Result<Agent> {
        self.agents += 1;
        let town = &mut self.stage.town;
        let probes = town.dir().join(format!("probe-{}", self.agents));
        town.agent_args = vec![format!("--admin={admin}"), format!("--probe-socket={}", probes.display())];
        town.start_agent(0)?;
        let process = town.nodes[0].agent.take().context("the agent that was started")?;
        Ok(Agent { process, probes })
    }

    /// Checks that a change reaches the gateway, and that only one agent probes.
    async fn has_one_agent(&mut self) -> Result<()> {
        let number = u16::try_from(self.asked.len())?;
        let name = format!("more-{number}");
        let pipe = Pipe::new(&name, 4100 + number, 5000).to_pods("app: canary").checked(HEALTH);
        self.stage.town.apply(&virtual_service(&name, "app: envoy-ingress", &[pipe])).await?;
        self.asked.push(name);
        let wanted: Vec<&str> = self.asked.iter().map(String::as_str).collect();
        listeners(&self.stage.town.nodes[0].gateway(), &wanted, BOUND).await?;
        let (begun, before) = (Instant::now(), self.health.accepted());
        tokio::time::sleep(Duration::from_secs(2)).await;
        let probes = self.health.accepted() - before;
        let due = begun.elapsed().as_secs_f64() * 5.0;
        println!("{}: {probes} probes, {due:.1} were due", self.canary.name);
        ensure!(probes > 0 && (probes as f64) < due + 3.0, "{probes} probes, {due:.1} were due");
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn node_has_one_agent_at_a_time_whichever_of_two_ends_hangs_or_dies() -> Result<()> {
    let mut scene = Scene::new().await?;
    let any = SocketAddr::new(scene.stage.town.nodes[0].address(), 0);
    let mut first = scene.start(any)?;
    let metrics = admin(&mut first.process)?;
    scene.stage.town.gateways().await?;
    scene.has_one_agent().await?;
    first.ready().await?;
    for _ in 0..REPEATS {
        let traffic = scene.stage.traffic()?;

        // The newer agent takes over, dies, and leaves the node to the older one again.
        let begun = Instant::now();
        let mut second = scene.start(metrics)?;
        second.process.wait_log("the agent that was here has ended its work", BOUND)?;
        first.makes_room().await?;
        second.process.wait_log("proxy connected", BOUND)?;
        println!("the second has the node's proxies after {:.1?}", begun.elapsed());
        second.ready().await?;
        scene.has_one_agent().await?;
        ensure!(http::get(scene.stage.town.bed.root(), metrics, "/readyz")?.0 == 200, "its metrics");
        let begun = Instant::now();
        second.process.kill();
        first.process.wait_log("this one has the node again", BOUND)?;
        first.ready().await?;
        println!("the first is ready again after {:.1?}", begun.elapsed());
        scene.has_one_agent().await?;

        // A hanging agent is waited for at most a second, and gets the request when it continues.
        first.process.stop()?;
        let mut third = scene.start(metrics)?;
        third.process.wait_log("does not answer; beginning beside it", BOUND)?;
        third.ready().await?;
        first.process.cont()?;
        first.makes_room().await?;
        scene.has_one_agent().await?;
        third.process.wait_log("serving metrics", BOUND)?;

        // The older agent is told to end, as in an update.
        first.process.terminate()?;
        ensure!(first.process.wait_exit(BOUND)?.success(), "{}", first.process.log());
        scene.has_one_agent().await?;
        let fate = scene.stage.end(traffic)?;
        if fate.drops == 0 {
            return fate.is_good(0);
        }
        println!("void: {} dropped by the kernel", fate.drops);
        first = third;
    }
    anyhow::bail!("the kernel dropped datagrams each time")
}

#[tokio::test(flavor = "multi_thread")]
async fn agent_that_can_t_begin_has_nobody_end() -> Result<()> {
    let mut scene = Scene::new().await?;
    let any = SocketAddr::new(scene.stage.town.nodes[0].address(), 0);
    let first = scene.start(any)?;
    scene.stage.town.gateways().await?;
    first.ready().await?;
    scene.stage.town.nodes[0].kubeconfig = scene.stage.town.dir().join("nowhere");
    let mut second = scene.start(any)?;
    ensure!(!second.process.wait_exit(BOUND)?.success(), "{}", second.process.log());
    first.says(&[])?;
    ensure!(!first.process.log().contains("newer agent"), "{}", first.process.log());
    scene.has_one_agent().await
}
