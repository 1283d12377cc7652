//! The hub is away for longer than --max-stale: how a node treats endpoints without a health check.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use kube::Api;
use portreeve_api::own::node_report::NodeReport;
use portreeve_tests::health_port::HealthPort;
use portreeve_tests::netns::Netns;
use portreeve_tests::pipe::{Pipe, virtual_service};
use portreeve_tests::town::{BOUND, Town, Worker, listeners};
use portreeve_tests::udp::{Echo, Flow, Report, Running};
use portreeve_tests::wait;

/// In seconds.
const MAX_STALE: u64 = 3;
/// The pods' port, and their health port.
const PORT: u16 = 5000;
const HEALTH: u16 = 1233;
/// The gateway's listeners: to one pod of another node, the same with a hash key, the same with a health check, and to
/// one pod of each node.
const FAR: u16 = 4000;
const CALL: u16 = 4001;
const CHECKED: u16 = 4002;
const MIXED: u16 = 4003;

/// A node with its gateway, and pods on it and on another node.
struct Stage {
    town: Town,
    _workers: Vec<Worker>,
    _echoes: Vec<Echo>,
    _health: HealthPort,
}

// === impl Stage ===

impl Stage {
    async fn new() -> Result<Self> {
        let mut town = Town::without_portreeve(1).await?;
        town.agent_args = ["--max-stale".to_owned(), MAX_STALE.to_string()].into();
        town.start_hub()?;
        town.start_agent(0)?;
        town.gateways().await?;
        let (mut workers, mut echoes) = (Vec::new(), Vec::new());
        // There is no agent on node 2, so its pods have no verdicts.
        for (i, j, labels) in [(2, 1, "app: far"), (2, 2, "app: mixed"), (1, 1, "app: mixed")] {
            let worker = town.worker(i, j, labels, false).await?;
            echoes.push(Echo::start(&worker.netns, &worker.name, SocketAddr::new(worker.ip(), PORT))?);
            workers.push(worker);
        }
        let far = &workers[0];
        let health = HealthPort::open(&far.netns, SocketAddr::new(far.ip(), HEALTH))?;
        town.apply(&objects()).await?;
        listeners(&town.nodes[0].gateway(), &["far", "call", "checked", "mixed"], BOUND).await?;
        let stage = Self { town, _workers: workers, _echoes: echoes, _health: health };
        for port in [FAR, CALL, CHECKED, MIXED] {
            stage.answers(port).await?;
        }
        Ok(stage)
    }

    fn flow(&self, from: &Netns, port: u16, lasting: Duration) -> Result<Running> {
        let target = SocketAddr::new(self.town.nodes[0].address(), port);
        Flow::to(target).sockets(4).rate(200).lasting(lasting).start(from)
    }

    /// Opens four new sessions. Returns their reports.
    fn newcomers(&self, port: u16) -> Result<Report> {
        self.flow(self.town.bed.root(), port, Duration::from_millis(200))?.finish()
    }

    /// Waits until new sessions lose nothing.
    async fn answers(&self, port: u16) -> Result<()> {
        wait::until(&format!("answers through port {port}"), BOUND, || async {
            self.newcomers(port).is_ok_and(|report| report.lossless().is_ok())
        })
        .await
    }

    /// Waits until the node's report has this content.
    async fn reported(&self, reason: &str) -> Result<String> {
        let reports = Api::<NodeReport>::all(self.town.client.clone());
        let what = format!("{reason} in the node's report");
        wait::seen(reports, wait::named("n1"), (&what, BOUND), |report| {
            let mut conditions = report.status.iter().flat_map(|status| &status.conditions);
            let found = conditions.find(|c| c.type_ == "Programmed")?;
            (found.reason == reason).then(|| found.message.clone())
        })
        .await
    }

    fn log(&mut self, text: &str) -> Result<()> {
        self.town.nodes[0].agent.as_mut().context("no agent")?.wait_log(text, BOUND)
    }
}

fn objects() -> String {
    let pipes = [
        Pipe::new("far", FAR, PORT).to_pods("app: far"),
        Pipe::new("call", CALL, PORT).to_pods("app: far").keyed("call"),
        Pipe::new("checked", CHECKED, PORT).to_pods("app: far").checked(HEALTH),
        Pipe::new("mixed", MIXED, PORT).to_pods("app: mixed"),
    ];
    virtual_service("all", "app: envoy-ingress", &pipes)
}

/// Checks that nothing was lost, and each session stayed the same.
fn undisturbed(title: &str, flow: Running, proxy: &Netns) -> Result<Report> {
    let (report, dropped) = (flow.stop()?, proxy.udp_drops()?);
    println!("{title}: {report}, {dropped} dropped by the kernel");
    report.undisturbed(dropped).with_context(|| title.to_owned())?;
    Ok(report)
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_hub_for_too_long_unchecked_pods_of_other_nodes_keep_sessions_and_take_none() -> Result<()>
{
    let mut stage = Stage::new().await?;
    let long = Duration::from_secs(600);
    let far = stage.flow(stage.town.bed.root(), FAR, long)?;
    // Senders with other addresses use other pods.
    let clients = (1..=4).map(|j| stage.town.bed.pod(9, j)).collect::<Result<Vec<_>>>()?;
    let mixed = clients.iter().map(|c| stage.flow(c, MIXED, long)).collect::<Result<Vec<_>>>()?;
    // The flows have their sessions before the outage.
    stage.answers(FAR).await?;

    stage.town.hub.take().context("no hub")?.kill();
    let killed = Instant::now();
    stage.log("no hub has answered for too long")?;
    let took = killed.elapsed();
    println!("told after {took:.2?}: {}", stage.reported("Stale").await?);
    ensure!(took > Duration::from_secs(MAX_STALE - 1), "told too early: {took:?}");
    let refused = wait::eventually("no answer to anybody new", BOUND, || async {
        stage.newcomers(FAR).ok().filter(|report| report.received() == 0)
    });
    println!("new sessions to what is not checked: {}", refused.await?);
    for (port, by) in [(CALL, "w2-1"), (CHECKED, "w2-1"), (MIXED, "w1-1")] {
        let report = stage.newcomers(port)?;
        println!("new sessions through port {port}: {report}");
        report.lossless()?;
        ensure!(report.answered_by().keys().eq([by]), "port {port}: {:?}", report.answered_by());
    }

    stage.town.start_hub()?;
    stage.log("a hub answers again")?;
    stage.answers(FAR).await?;
    println!("and back: {}", stage.reported("Programmed").await?);
    undisturbed("far", far, &stage.town.nodes[0].netns)?;
    let mut by = Vec::new();
    for flow in mixed {
        by.extend(undisturbed("mixed", flow, &stage.town.nodes[0].netns)?.answered_by().into_keys());
    }
    ensure!(by.iter().any(|name| name == "w2-2"), "no session was with the pod that became stale: {by:?}");
    Ok(())
}
