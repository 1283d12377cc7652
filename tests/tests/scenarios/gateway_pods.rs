//! A gateway in a pod, and the pod that replaces it: the new Envoy hot-restarts from the old one, and the agent starts
//! none itself. There is no kubelet: each keeper is started in its pod's cgroup, like a container's first process.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::api::DeleteParams;
use kube::{Api, ResourceExt as _};
use nix::sys::signal::Signal;
use portreeve_api::own::node_report::{NodeReport, Phase, ProxyReport};
use portreeve_tests::cgroup::Container;
use portreeve_tests::envoy::Admin;
use portreeve_tests::exporter::{admin, scrape, shows};
use portreeve_tests::hand_over::{AROUND, Stage};
use portreeve_tests::process::Process;
use portreeve_tests::town::{BOUND, Town};
use portreeve_tests::{under_test, wait};

/// How many trials may be void because the kernel dropped datagrams.
const REPEATS: usize = 3;
const NAMESPACE: &str = "portreeve";
const ACCOUNT: &str = "portreeve-gateway";

/// A pod with a keeper.
struct Gateway {
    name: String,
    dir: PathBuf,
    keeper: Process,
    _container: Container,
}

/// The beginning of a pod's definition.
fn pod(name: &str, account: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: {name}\n  namespace: {NAMESPACE}\n  \
         annotations: {{portreeve.dev/node-proxy: gateway}}\n\
         spec: {{nodeName: n1, hostNetwork: true, serviceAccountName: {account}, terminationGracePeriodSeconds: 30, \
         containers: [{{name: gateway, image: i}}]}}\n"
    )
}

async fn start(town: &Town, name: &str, account: &str) -> Result<Gateway> {
    town.apply(&pod(name, account)).await?;
    let pods = Api::<Pod>::namespaced(town.client.clone(), NAMESPACE);
    let uid = pods.get(name).await?.uid().context("a stored pod without uid")?;
    let container =
        town.cgroups.as_ref().context("this test needs cgroups that it may write")?.container(&uid)?;
    let dir = town.dir().join(name);
    let mut command = container.command(&town.nodes[0].netns, &under_test::binary()?);
    command.args(["agent", "gateway", "--proxy", "gateway"]).arg("--dir").arg(&dir);
    command.arg("--agent-socket").arg(town.nodes[0].run_dir.join("agent.sock"));
    command.arg("--envoy").arg(town.envoy());
    let keeper = Process::spawn(name, &command)?;
    Ok(Gateway { name: name.into(), dir, keeper, _container: container })
}

async fn town() -> Result<Town> {
    let mut town = Town::without_portreeve(1).await?;
    town.agent_args.extend(["--gateways".into(), format!("{NAMESPACE}/{ACCOUNT}")]);
    town.agent_args.push(format!("--admin={}", SocketAddr::new(town.nodes[0].address(), 0)));
    town.agent_args.push("--envoy-metrics=server.live".into());
    town.start_hub()?;
    town.start_agent(0)?;
    Ok(town)
}

/// Waits until the node's report shows this hot-restart epoch of the gateway.
async fn reported(town: &Town, epoch: u64) -> Result<ProxyReport> {
    let reports = Api::<NodeReport>::all(town.client.clone());
    wait::seen(reports, wait::named("n1"), ("the report", BOUND), |report| {
        let mut proxies = report.status.iter().flat_map(|status| &status.proxies);
        let found = proxies.find(|proxy| proxy.name == "gateway")?;
        (found.epoch == i32::try_from(epoch).ok()).then(|| found.clone())
    })
    .await
}

// === impl Gateway ===

impl Gateway {
    fn admin(&self) -> Admin {
        Admin::new(self.dir.join("admin.sock"))
    }

    /// Returns the output of its container's readiness probe.
    fn is_ready(&self) -> bool {
        let probe = under_test::command("agent")
            .and_then(|mut command| Ok(command.arg("ready").arg("--dir").arg(&self.dir).output()?));
        probe.is_ok_and(|output| output.status.success())
    }

    async fn ready(&self) -> Result<()> {
        let ready = wait::until("a ready gateway", BOUND, || async { self.is_ready() }).await;
        ready.with_context(|| self.keeper.log())
    }

    /// Terminates it, as a kubelet does with a deleted pod.
    async fn end(mut self, town: &Town) -> Result<()> {
        let pods = Api::<Pod>::namespaced(town.client.clone(), NAMESPACE);
        pods.delete(&self.name, &DeleteParams::default()).await?;
        self.keeper.signal(Signal::SIGTERM)?;
        let keeper = &mut self.keeper;
        keeper.wait_exit(BOUND)?;
        pods.delete(&self.name, &DeleteParams::default().grace_period(0)).await?;
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn gateways_pod_is_replaced_under_traffic_and_its_agent_restarted_in_between() -> Result<()> {
    let town = town().await?;
    let mut gateway = start(&town, "gateway-0", ACCOUNT).await?;
    town.gateways_wanted().await?;
    let mut stage = Stage::new(town).await?;
    gateway.ready().await?;
    stage.serves(&gateway.admin()).await?;
    for number in 1..=REPEATS + 1 {
        let epoch = gateway.admin().stat("server.hot_restart_epoch").await?;
        let traffic = stage.traffic()?;
        stage.lasting(AROUND).await?;
        let next = start(&stage.town, &format!("gateway-{number}"), ACCOUNT).await?;
        next.ready().await?;
        let began = Instant::now();
        gateway.end(&stage.town).await?;
        println!("the elder has ended {:.2?} after its end was wanted", began.elapsed());
        // The agent comes back, and has no new orders for the keepers.
        stage.town.nodes[0].agent.take().context("no agent")?.kill();
        stage.town.start_agent(0)?;
        stage.lasting(AROUND).await?;
        let fate = stage.end(traffic)?;
        gateway = next;
        ensure!(gateway.is_ready(), "{}", gateway.keeper.log());
        ensure!(gateway.admin().stat("server.hot_restart_epoch").await? == epoch + 1, "not hot");
        if fate.drops == 0 {
            fate.is_good(1)?;
            return ensure_told(&reported(&stage.town, epoch + 1).await?, &stage.town);
        }
        println!("void: {} dropped by the kernel", fate.drops);
    }
    anyhow::bail!("the kernel dropped datagrams in each trial")
}

fn ensure_told(report: &ProxyReport, town: &Town) -> Result<()> {
    ensure!((report.phase, report.restarts, report.pid) == (Phase::Running, Some(0), None), "{report:?}");
    ensure!(town.descendants_with("keepers/gateway").is_empty(), "the agent has started a keeper itself");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn pod_of_another_account_runs_nothing_and_an_unwanted_proxy_ends_while_its_pod_stays() -> Result<()> {
    let mut town = town().await?;
    town.gateways_wanted().await?;
    let stranger = start(&town, "stranger", "default").await?;
    let gateway = start(&town, "gateway-0", ACCOUNT).await?;
    gateway.ready().await?;
    ensure!(!stranger.is_ready() && !stranger.admin().is_ready().await, "{}", stranger.keeper.log());
    let root = town.bed.root().clone();
    let metrics = admin(town.nodes[0].agent.as_mut().context("no agent")?)?;
    let live = ("envoy_server_live{proxy=\"gateway\"}", 1.0);
    let never_silent = ("portreeve_agent_envoy_scrapes_total{outcome=\"silent\"}", 0.0);
    shows(&root, metrics, &[live, never_silent]).await?;

    town.gateways_unwanted().await?;
    wait::until("no Envoy", BOUND, || async { gateway.admin().listeners().await.is_err() }).await?;
    let told = scrape(&root, metrics)?;
    ensure!(!told.keys().any(|name| name.starts_with("envoy_")), "{told:?}");
    gateway.ready().await?;
    town.gateways_wanted().await?;
    gateway.admin().wait_ready(BOUND).await?;
    gateway.ready().await
}
