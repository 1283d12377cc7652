//! Half-open connections to the API server, without any error: hub and agent notice them in time.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use portreeve_tests::exporter::{admin, scrape, shows};
use portreeve_tests::half_open::{cut, drop_established};
use portreeve_tests::netns::Netns;
use portreeve_tests::process::Process;
use portreeve_tests::town::{BOUND, Town, listeners, serving_at};
use portreeve_tests::virtual_service::{Host, Service};
use portreeve_tests::{under_test, wait};

/// A connection without acknowledgements is given up after 45 s; the rest is a margin for a busy machine.
const NOTICED: Duration = Duration::from_secs(55);
/// A leader may lead for 7 s after its last renewal. Another hub takes the lease over after 10 s without a renewal.
const GIVEN_UP: Duration = Duration::from_secs(9);
const LEADER: &str = "portreeve_hub_leader";

/// A hub in its own network, which leads, and another hub next to the API server, which feeds the agent.
struct Scene {
    town: Town,
    hub: Process,
    netns: Netns,
    metrics: SocketAddr,
}

// === impl Scene ===

impl Scene {
    async fn new() -> Result<Self> {
        let mut town = Town::without_portreeve(1).await?;
        let netns = town.bed.pod(9, 1)?;
        let mut command = under_test::command_in(&netns, "hub")?;
        let any = SocketAddr::new(netns.v4(), 0).to_string();
        command.args(["--listen", &any, "--admin", &any, "--grace", "2", "--identity", "far"]);
        command.arg("--kubeconfig").arg(town.control.kubeconfig("hub")?);
        command.args(&town.trust.hub_args).env("NO_COLOR", "1");
        let mut hub = Process::spawn("far", &command)?;
        serving_at(&mut hub)?;
        let metrics = admin(&mut hub)?;
        shows(&netns, metrics, &[(LEADER, 1.0)]).await?;
        town.start_hub()?;
        town.start_agent(0)?;
        town.apply(&service(0)).await?;
        let agent = town.nodes[0].agent.as_mut().context("no agent")?;
        agent.wait_log("fed by", BOUND)?;
        let scene = Self { town, hub, netns, metrics };
        scene.sees(1.0).await?;
        Ok(scene)
    }

    fn leads(&self) -> Result<bool> {
        Ok(scrape(&self.netns, self.metrics)?.get(LEADER) == Some(&1.0))
    }

    /// Waits until the hub in its own network has seen this number of VirtualServices.
    async fn sees(&self, count: f64) -> Result<()> {
        let objects = "portreeve_hub_objects{kind=\"virtualservice\"}";
        shows(&self.netns, self.metrics, &[(objects, count)]).await
    }

    /// Returns whether each of its watches has failed.
    fn watches_failed(&self) -> Result<bool> {
        let told = scrape(&self.netns, self.metrics)?;
        let mut failures =
            told.iter().filter(|(name, _)| name.starts_with("portreeve_hub_watch_failures_total")).peekable();
        Ok(failures.peek().is_some() && failures.all(|(_, count)| *count >= 1.0))
    }

    fn agents_watch_failed(&self) -> bool {
        let agent = self.town.nodes[0].agent.as_ref();
        agent.is_some_and(|agent| agent.log().contains("watch failed"))
    }
}

/// A VirtualService for a sidecar on the first node.
fn service(number: u16) -> String {
    let name = format!("s{number}");
    Service::new(&name, "app: side").udp(&name, 5000 + number, &[Host::At("10.77.0.1")], 6000).yaml()
}

/// Breaks the hub's established connections, but not new ones, and all connections of the agent's node.
async fn watches_notice_and_the_lease_is_kept(scene: &Scene) -> Result<()> {
    let node = scene.town.nodes[0].netns.clone();
    ensure!(!scene.watches_failed()? && !scene.agents_watch_failed(), "a watch failed before");
    let dropped = drop_established(&scene.netns, scene.town.control.address())?;
    cut(&scene.town.bed, &node)?;
    // Since the fault: the hub's last watch, and the agent's.
    let (begun, mut times) = (Instant::now(), [None; 2]);
    scene.town.apply(&service(1)).await?;
    wait::wait_until("the failure of each watch", NOTICED, || {
        let failed = [scene.watches_failed().unwrap_or_default(), scene.agents_watch_failed()];
        for (time, _) in times.iter_mut().zip(failed).filter(|(time, failed)| *failed && time.is_none()) {
            *time = Some(begun.elapsed());
        }
        times.iter().all(Option::is_some)
    })?;
    println!("{dropped} connections of the hub were dropped; all watches had failed after {times:.1?}");
    // The lease was renewed meanwhile over newer connections.
    ensure!(scene.leads()? && !scene.hub.log().contains("leads=false"), "the lead was given up needlessly");
    scene.sees(2.0).await?;
    println!("the hub had what it missed after {:.1?}", begun.elapsed());

    scene.town.bed.mend(&node)?;
    let mended = Instant::now();
    // The agent gets its pods from its own watch.
    let side = scene.town.worker(1, 1, "app: side", true).await?;
    listeners(&side.admin, &["s0", "s1"], BOUND).await?;
    println!("the agent served a pod that came since {:.1?} after its way was mended", mended.elapsed());
    Ok(())
}

/// Breaks all connections of the leading hub.
async fn leader_gives_up_before_another_leads(scene: &Scene) -> Result<()> {
    cut(&scene.town.bed, &scene.netns)?;
    let begun = Instant::now();
    let other = scene.town.hub.as_ref().context("no other hub")?;
    wait::until("a leader that gives up", GIVEN_UP, || async { !scene.leads().unwrap_or(true) }).await?;
    let given_up = begun.elapsed();
    ensure!(!other.log().contains("leads=true"), "two hubs lead");
    wait::until("another leader", BOUND, || async { other.log().contains("leads=true") }).await?;
    println!("given up after {given_up:.1?}, taken over after {:.1?}", begun.elapsed());
    scene.town.apply(&service(2)).await?;
    scene.town.bed.mend(&scene.netns)?;
    scene.sees(3.0).await?;
    ensure!(!scene.leads()?, "the hub that was away leads beside another");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn half_open_connections_to_the_api_server_are_noticed_by_lease_watches_and_agent() -> Result<()> {
    let scene = Scene::new().await?;
    watches_notice_and_the_lease_is_kept(&scene).await?;
    leader_gives_up_before_another_leads(&scene).await
}
