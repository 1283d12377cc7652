//! Endpoints with DNS names, resolved by the agent: they follow the records, and survive a silent server.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result, ensure};
use portreeve_tests::dns::{Dns, Mood};
use portreeve_tests::town::{BOUND, Town, Worker, listeners};
use portreeve_tests::udp::Echo;
use portreeve_tests::virtual_service::{Host, Service};
use portreeve_tests::{path, wait};

/// The labels of the gateways.
const GATEWAY: &str = "app: envoy-ingress";
/// The port of every app.
const APP: u16 = 6000;
/// The agent's log texts for a failed look-up, and for a missing name.
const FAILED: &str = "can't resolve";
const ABSENT: &str = "no such host name";

/// A town of one node with a gateway, whose agent uses the test's own DNS server; and two pods with echoes.
struct Scene {
    town: Town,
    dns: Dns,
    workers: Vec<Worker>,
    _apps: Vec<Echo>,
}

// === impl Scene ===

impl Scene {
    async fn start() -> Result<Self> {
        let mut town = Town::without_portreeve(1).await?;
        let dns = Dns::start(town.bed.root())?;
        town.agent_args = vec!["--dns-server".into(), dns.address().to_string()];
        town.start_hub()?;
        town.start_agent(0)?;
        town.gateways().await?;
        let (mut workers, mut apps) = (Vec::new(), Vec::new());
        for j in 1..=2 {
            let worker = town.worker(1, j, "app: worker", false).await?;
            apps.push(Echo::start(&worker.netns, &worker.name, SocketAddr::new(worker.ip(), APP))?);
            workers.push(worker);
        }
        Ok(Self { town, dns, workers, _apps: apps })
    }

    fn ip(&self, worker: usize) -> IpAddr {
        self.workers[worker].ip()
    }

    /// Waits until only this worker answers datagrams to a port of the gateway.
    fn leads(&self, port: u16, worker: usize) -> Result<()> {
        let target = SocketAddr::new(self.town.nodes[0].address(), port);
        let report = path::opens(self.town.bed.root(), target, &self.workers[worker].name, BOUND)?;
        println!("port {port}: {report}");
        Ok(())
    }

    fn agents_log(&self) -> Result<String> {
        Ok(self.town.nodes[0].agent.as_ref().context("the agent runs")?.log())
    }

    /// Waits until the agent has logged this for a name this many more times.
    fn says(&self, text: &str, host: &str, times: usize) -> Result<()> {
        let of_host = format!("host=\"{host}\"");
        let count = |log: &str| {
            log.lines()
                .filter(|l| l.contains(text) && l.contains(&of_host) && l.contains("namespace=\"default\""))
                .count()
        };
        let before = count(&self.agents_log()?);
        let what = format!("{text:?} of {host} in the agent's log");
        wait::wait_until(&what, BOUND, || self.agents_log().is_ok_and(|log| count(&log) >= before + times))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn endpoints_follow_the_name_and_outlive_a_server_that_fails() -> Result<()> {
    let scene = Scene::start().await?;
    let (dns, name) = (&scene.dns, "voice.example");
    dns.set(name, &[scene.ip(0)]);
    let service = Service::new("s", GATEWAY).udp("l", 5001, &[Host::At("Voice.example")], APP);
    scene.town.apply(&service.yaml()).await?;
    scene.leads(5001, 0)?;
    dns.set(name, &[scene.ip(1)]);
    scene.leads(5001, 1)?;
    for mood in [Mood::Failing, Mood::FailingV4, Mood::Silent] {
        dns.be(mood);
        scene.says(FAILED, name, 2)?;
        scene.leads(5001, 1)?;
        println!("{mood:?}: asked {} times, the last address stayed", dns.asked(name));
    }
    dns.be(Mood::Fine);
    dns.set(name, &[scene.ip(0)]);
    scene.leads(5001, 0)?;
    dns.forget(name);
    scene.says(ABSENT, name, 1)?;
    let target = SocketAddr::new(scene.town.nodes[0].address(), 5001);
    let report = path::closes(scene.town.bed.root(), target, BOUND)?;
    println!("without the name: {report}");
    dns.set(name, &[scene.ip(1)]);
    scene.leads(5001, 1)?;
    let modified = scene.town.nodes[0].gateway().stat("listener_manager.listener_modified").await?;
    ensure!(modified == 0, "{modified} listeners were changed");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn short_name_is_looked_for_in_the_namespace_of_its_object() -> Result<()> {
    let scene = Scene::start().await?;
    scene.dns.set("voice.other.svc.cluster.local", &[scene.ip(0)]);
    scene.dns.set("voice.default.svc.cluster.local", &[scene.ip(1), "fd77::99:99".parse()?]);
    let service = Service::new("s", GATEWAY)
        .udp("own", 5001, &[Host::At("voice")], APP)
        .udp("other", 5002, &[Host::At("voice.other")], APP)
        .udp("full", 5003, &[Host::At("voice.other.svc.cluster.local.")], APP);
    scene.town.apply(&service.yaml()).await?;
    scene.leads(5001, 1)?;
    scene.leads(5002, 0)?;
    scene.leads(5003, 0)
}

#[tokio::test(flavor = "multi_thread")]
async fn name_that_never_resolves_harms_no_other_endpoint() -> Result<()> {
    for mood in [Mood::Fine, Mood::Silent] {
        let scene = Scene::start().await?;
        scene.dns.be(mood);
        let nowhere = Host::At("nowhere.example");
        let address = scene.ip(1).to_string();
        let service = Service::new("s", GATEWAY)
            .udp("joined", 5001, &[nowhere, Host::At(&address)], APP)
            .udp("alone", 5002, &[nowhere], APP)
            .udp("without", 5003, &[Host::At(&address)], APP);
        scene.town.apply(&service.yaml()).await?;
        scene.leads(5001, 1)?;
        scene.leads(5003, 1)?;
        listeners(&scene.town.nodes[0].gateway(), &["joined", "alone", "without"], BOUND).await?;
        let target = SocketAddr::new(scene.town.nodes[0].address(), 5002);
        path::closes(scene.town.bed.root(), target, BOUND)?;
        scene.says(if mood == Mood::Fine { ABSENT } else { FAILED }, "nowhere.example", 1)?;
        println!("{mood:?}: asked {} times", scene.dns.asked("nowhere.example"));
    }
    Ok(())
}
