//! A port has one owner: the older object until it goes, or a stranger until it goes.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use portreeve_tests::envoy::Admin;
use portreeve_tests::town::{BOUND, Town, listeners};
use portreeve_tests::udp::{Echo, Flow, Running};
use portreeve_tests::virtual_service::{Host, Service, said};
use portreeve_tests::{path, wait};

/// The port of every app.
const APP: u16 = 6000;
/// A second NodeProxy on every node.
const SECOND: &str = "
apiVersion: portreeve.dev/v1alpha1
kind: NodeProxy
metadata: {name: second}
spec:
  nodeSelector: {role: gateway}
  labels: {app: second}
";

/// A town of one node with a gateway, and two echoes on that node: `old` and `young`.
struct Scene {
    town: Town,
    _apps: Vec<Echo>,
}

// === impl Scene ===

impl Scene {
    async fn start() -> Result<Self> {
        let town = Town::start(1).await?;
        town.gateways().await?;
        let mut apps = Vec::new();
        for (j, name) in [(1, "old"), (2, "young")] {
            let worker = town.worker(1, j, &format!("app: {name}"), false).await?;
            apps.push(Echo::start(&worker.netns, name, SocketAddr::new(worker.ip(), APP))?);
        }
        Ok(Self { town, _apps: apps })
    }

    fn at(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.town.nodes[0].address(), port)
    }

    /// Waits until a port leads only to this echo.
    fn leads(&self, port: u16, app: &str) -> Result<()> {
        let report = path::opens(self.town.bed.root(), self.at(port), app, BOUND)?;
        println!("port {port}: {report}");
        Ok(())
    }

    /// Starts four sessions with continuous traffic.
    fn busy(&self, port: u16) -> Result<Running> {
        Flow::to(self.at(port))
            .sockets(4)
            .rate(80)
            .lasting(Duration::from_secs(300))
            .start(self.town.bed.root())
    }

    /// Creates an object, and waits so that all later ones are younger: creation times have whole seconds.
    async fn create_older(&self, service: &Service) -> Result<()> {
        self.town.apply(&service.yaml()).await?;
        let seconds = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let created = seconds();
        wait::until("another second", BOUND, || async { seconds() > created }).await
    }

    fn agents_log(&self) -> Result<String> {
        Ok(self.town.nodes[0].agent.as_ref().context("the agent runs")?.log())
    }
}

/// Returns an object with the contested port 5001 and another port, for the proxies with these labels and the echo that
/// ends its name.
fn contender(name: &str, selector: &str, own: u16) -> Service {
    let app = format!("app: {}", name.rsplit('-').next().unwrap_or_default());
    let hosts = [Host::Pods(&app)];
    Service::new(name, selector).udp(&format!("{name}-shared"), 5001, &hosts, APP).udp(
        &format!("{name}-own"),
        own,
        &hosts,
        APP,
    )
}

/// Starts Envoy without the right to open ports below 1024.
fn confined(envoy: &Path, directory: &Path) -> Result<PathBuf> {
    let program = directory.join("confined-envoy");
    let without = "setpriv --bounding-set -net_bind_service";
    fs::write(&program, format!("#!/bin/sh\nexec {without} '{}' \"$@\"\n", envoy.display()))?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
    Ok(program)
}

/// Returns whether a proxy has the contested port for this object.
async fn shares(proxy: &Admin, name: &str) -> Result<bool> {
    let found = proxy.listeners().await?;
    Ok(found.iter().any(|(listener, _)| listener.ends_with(&format!("/{name}-shared"))))
}

/// Waits until a proxy has closed the sockets of the listeners that it lost. Each worker closes its own.
async fn closed(proxy: &Admin) -> Result<()> {
    wait::until("closed sockets", BOUND, || async {
        proxy.stat("listener_manager.total_listeners_draining").await.is_ok_and(|draining| draining == 0)
    })
    .await
}

/// Stops a flow, and checks that nothing was lost and every session kept its upstream socket.
fn untouched(what: &str, flow: Running) -> Result<()> {
    let report = flow.stop()?;
    println!("{what}: {report}");
    report.lossless()?;
    for line in &report.lines {
        ensure!(line.upstreams().len() == 1, "{what}: a session moved over {:?}", line.upstreams());
    }
    Ok(())
}

/// Two objects on these two proxies want one port. The younger has it while the older doesn't want it; then the older
/// has it until it is deleted. Sorting by name would give the opposite result.
async fn contest(scene: &Scene, older: (&str, &Admin), younger: (&str, &Admin)) -> Result<()> {
    scene.create_older(&contender("z-old", "app: nowhere", 5002)).await?;
    let b = contender("a-young", younger.0, 5003);
    scene.town.apply(&b.yaml()).await?;
    scene.leads(5003, "young")?;
    scene.leads(5001, "young")?;
    let own = scene.busy(5003)?;
    let a = contender("z-old", older.0, 5002);
    scene.town.apply(&a.yaml()).await?;
    scene.leads(5002, "old")?;
    scene.leads(5001, "old")?;
    ensure!(shares(older.1, "z-old").await? && !shares(younger.1, "a-young").await?, "both have the port");
    closed(younger.1).await?;
    // Changes of the loser don't affect the winner.
    let contested = scene.busy(5001)?;
    let b = b.udp("a-young-extra", 5004, &[Host::Pods("app: young")], APP);
    scene.town.apply(&b.yaml()).await?;
    scene.leads(5004, "young")?;
    untouched("the winner", contested)?;
    scene.town.delete(&a.yaml()).await?;
    scene.leads(5001, "young")?;
    ensure!(shares(younger.1, "a-young").await? && !shares(older.1, "z-old").await?);
    untouched("the loser's own port", own)
}

#[tokio::test(flavor = "multi_thread")]
async fn port_of_two_objects_on_one_proxy_is_the_olders_until_it_goes() -> Result<()> {
    let scene = Scene::start().await?;
    let gateway = scene.town.nodes[0].gateway();
    contest(&scene, ("app: envoy-ingress", &gateway), ("app: envoy-ingress", &gateway)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn port_of_two_proxies_of_one_node_is_the_older_objects_until_it_goes() -> Result<()> {
    let scene = Scene::start().await?;
    scene.town.apply(SECOND).await?;
    let second = Admin::new(scene.town.nodes[0].run_dir.join("keepers/second/admin.sock"));
    second.wait_ready(BOUND).await?;
    let gateway = scene.town.nodes[0].gateway();
    // The object's age decides, not the proxy's: the older object is on the younger proxy.
    contest(&scene, ("app: second", &second), ("app: envoy-ingress", &gateway)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn port_of_a_gateway_and_of_a_pod_on_the_host_network_is_the_older_objects_until_it_goes() -> Result<()>
{
    let scene = Scene::start().await?;
    let worker = scene.town.host_worker(1, "app: host").await?;
    worker.admin.wait_ready(BOUND).await?;
    let gateway = scene.town.nodes[0].gateway();
    contest(&scene, ("app: envoy-ingress", &gateway), ("app: host", &worker.admin)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn port_that_a_stranger_holds_is_taken_as_soon_as_it_is_free() -> Result<()> {
    let scene = Scene::start().await?;
    let stranger = scene.town.nodes[0].netns.enter(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 5001)))??;
    scene.town.apply(&contender("taken-old", "app: envoy-ingress", 5002).yaml()).await?;
    scene.leads(5002, "old")?;
    let own = scene.busy(5002)?;
    let name = "A/default/taken-old/taken-old-shared";
    let refusals = |log: &str| log.lines().filter(|l| l.contains("refused") && l.contains(name)).count();
    wait::wait_until("the object in the agent's log", BOUND, || {
        scene.agents_log().is_ok_and(|log| refusals(&log) > 0)
    })?;
    // Envoy retries it, which doesn't affect the others.
    let gateway = scene.town.nodes[0].gateway();
    let rejected =
        || async { gateway.stat("listener_manager.lds.update_rejected").await.unwrap_or_default() };
    wait::until("more attempts", BOUND, || async { rejected().await >= 3 }).await?;
    drop(stranger);
    scene.leads(5001, "old")?;
    untouched("the object's other listener", own)?;
    listeners(&gateway, &["taken-old-own", "taken-old-shared"], BOUND).await?;
    let log = scene.agents_log()?;
    println!("refused {} times, said {} times", rejected().await, refusals(&log));
    log.lines().filter(|line| line.contains("refused")).take(1).for_each(|line| println!("{line}"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn port_that_takes_a_right_which_the_proxy_lacks_is_told_with_what_to_do() -> Result<()> {
    let mut town = Town::without_portreeve(1).await?;
    let envoy = confined(town.envoy(), town.dir())?;
    town.set_envoy(envoy);
    town.start_hub()?;
    town.start_agent(0)?;
    town.gateways().await?;
    let worker = town.worker(1, 1, "app: old", false).await?;
    let _app = Echo::start(&worker.netns, "old", SocketAddr::new(worker.ip(), APP))?;
    let hosts = [Host::Pods("app: old")];
    let service = |port| Service::new("s", "app: envoy-ingress").udp("low", port, &hosts, APP);
    town.apply(&service(53).yaml()).await?;
    let (failed, carried) = (("Programmed", "False"), ("Programmed", "True"));
    let told = "': Permission denied; ports under 1024 need CAP_NET_BIND_SERVICE";
    wait::until("the reason", BOUND, || async {
        said(&town.client, "s", failed, BOUND).await.is_ok_and(|text| text.contains(told))
    })
    .await?;
    println!("{}", said(&town.client, "s", failed, BOUND).await?);
    // It doesn't affect an unprivileged port.
    town.apply(&service(5001).yaml()).await?;
    said(&town.client, "s", carried, BOUND).await?;
    path::opens(town.bed.root(), SocketAddr::new(town.nodes[0].address(), 5001), "old", BOUND)?;
    Ok(())
}
