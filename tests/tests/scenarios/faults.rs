//! Faults of nodes and connections: a stopped agent, a vanished node, an address that is given to another pod, a silent
//! hub. Working traffic continues, and everything is up to date when it comes back.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use portreeve_tests::envoy::Admin;
use portreeve_tests::health_port::HealthPort;
use portreeve_tests::netns::Netns;
use portreeve_tests::pipe::{Pipe, virtual_service};
use portreeve_tests::process::Process;
use portreeve_tests::town::{BOUND, Town, Worker, listeners, serving_at};
use portreeve_tests::udp::{Echo, Flow, Running};
use portreeve_tests::virtual_service::said;
use portreeve_tests::{under_test, wait};

/// The pods' port, and their health port.
const PORT: u16 = 5000;
const HEALTH: u16 = 1233;
/// Labels of the proxies of the gateways' VirtualServices.
const GATEWAYS: &str = "app: envoy-ingress";
/// Longer than any lease and any keepalive.
const LONG: Duration = Duration::from_secs(5);
/// An agent should leave a silent hub within 3 s; the rest is a margin for a busy machine.
const NOTICED: Duration = Duration::from_secs(6);

/// A pod that answers, with its health port open.
struct Endpoint {
    worker: Worker,
    health: Option<HealthPort>,
    echo: Echo,
}

// === impl Endpoint ===

impl Endpoint {
    /// Creates pod `j` of node `i`.
    async fn start(town: &Town, i: u8, j: u8) -> Result<Self> {
        let worker = town.worker(i, j, "app: worker", false).await?;
        let echo = Echo::start(&worker.netns, &worker.name, SocketAddr::new(worker.ip(), PORT))?;
        let health = HealthPort::open(&worker.netns, SocketAddr::new(worker.ip(), HEALTH))?;
        Ok(Self { worker, health: Some(health), echo })
    }

    /// Returns the endpoint's state in a proxy: healthy or not; `None` if the proxy doesn't have it.
    async fn seen_by(&self, proxy: &Admin) -> Option<bool> {
        let (text, place) =
            (proxy.clusters().await.ok()?, format!("::{}:{PORT}::health_flags::", self.worker.ip()));
        let line = text.lines().find(|line| line.contains(&place))?;
        Some(line.ends_with("::healthy"))
    }

    /// Waits until a proxy has this state.
    async fn becomes(&self, seen: Option<bool>, proxy: &Admin) -> Result<Duration> {
        let begun = Instant::now();
        let what = format!("{} seen as {seen:?}", self.worker.name);
        wait::until(&what, BOUND, || async { self.seen_by(proxy).await == seen }).await?;
        Ok(begun.elapsed())
    }
}

/// Starts 200 datagrams a second over four sockets.
fn flow(from: &Netns, target: SocketAddr) -> Result<Running> {
    Flow::to(target).sockets(4).rate(200).lasting(Duration::from_secs(600)).start(from)
}

/// Waits until new sessions lose nothing. Returns the pods that answer.
async fn answers(from: &Netns, target: SocketAddr) -> Result<Vec<String>> {
    wait::eventually(&format!("answers through {target}"), BOUND, || async {
        let flow = Flow::to(target).sockets(4).rate(200).lasting(Duration::from_millis(200));
        let report = flow.start(from).and_then(Running::finish).ok()?;
        report.lossless().is_ok().then(|| report.answered_by().into_keys().collect())
    })
    .await
}

/// Checks that nothing was lost through the proxy in a namespace, and each session stayed the same.
fn undisturbed(title: &str, flow: Running, proxy: &Netns) -> Result<()> {
    let (report, dropped) = (flow.stop()?, proxy.udp_drops()?);
    println!("{title}: {report}, {dropped} dropped by the kernel");
    report.undisturbed(dropped).with_context(|| title.to_owned())
}

/// Waits for the duration of a fault, and checks that the flow continues.
async fn last(echo: &Echo, time: Duration) -> Result<()> {
    let (begun, seen) = (Instant::now(), || echo.seen().received);
    let wanted = seen() + 100 * time.as_secs();
    wait::until("datagrams during the fault", BOUND, || async { begun.elapsed() > time && seen() > wanted })
        .await
}

/// Waits for a period without any packet, which must begin soon.
fn silent(echo: &Echo, time: Duration) -> Result<()> {
    let (mut seen, mut since) = (echo.seen(), Instant::now());
    wait::wait_until("silence", time + NOTICED, || {
        let now = echo.seen();
        if now != seen {
            (seen, since) = (now, Instant::now());
        }
        since.elapsed() > time
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn stopped_agent_costs_no_datagram_and_no_endpoint_and_is_current_when_it_goes_on() -> Result<()> {
    let mut town = Town::start(2).await?;
    town.gateways().await?;
    let mut endpoint = Endpoint::start(&town, 2, 1).await?;
    let pipe = Pipe::new("call", 4000, PORT).checked(HEALTH);
    town.apply(&virtual_service("call", GATEWAYS, &[pipe])).await?;
    let [near, own] = [0, 1].map(|i: usize| town.nodes[i].gateway());
    let mut flows = Vec::new();
    for node in &town.nodes {
        listeners(&node.gateway(), &["call"], BOUND).await?;
        let target = SocketAddr::new(node.address(), 4000);
        answers(town.bed.root(), target).await?;
        flows.push(flow(town.bed.root(), target)?);
    }

    town.nodes[1].agent.as_mut().context("no agent")?.stop()?;
    let later = virtual_service("later", GATEWAYS, &[Pipe::new("later", 4001, PORT)]);
    town.apply(&later).await?;
    listeners(&near, &["call", "later"], BOUND).await?;
    println!("{}", said(&town.client, "later", ("Programmed", "False"), BOUND).await?);
    last(&endpoint.echo, LONG).await?;
    listeners(&own, &["call"], BOUND).await?;
    for gateway in [&near, &own] {
        ensure!(endpoint.seen_by(gateway).await == Some(true), "the stopped agent's endpoint is out of use");
    }

    town.nodes[1].agent.as_mut().context("no agent")?.cont()?;
    let back = Instant::now();
    listeners(&own, &["call", "later"], BOUND).await?;
    println!("the edit is in force {:.2?} after the agent goes on", back.elapsed());
    println!("{}", said(&town.client, "later", ("Programmed", "True"), BOUND).await?);
    for (node, flow) in town.nodes.iter().zip(flows) {
        undisturbed(&format!("the gateway of {}", node.name), flow, &node.netns)?;
    }
    endpoint.health = None;
    for gateway in [&near, &own] {
        println!("a closed port shows after {:.2?}", endpoint.becomes(Some(false), gateway).await?);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn endpoints_of_a_node_that_vanished_are_found_out_by_their_users_and_leave() -> Result<()> {
    let mut town = Town::start(2).await?;
    town.gateways().await?;
    let (stays, vanishes) = (Endpoint::start(&town, 1, 1).await?, Endpoint::start(&town, 2, 1).await?);
    let pipe = Pipe::new("spread", 4000, PORT).checked(HEALTH);
    town.apply(&virtual_service("spread", GATEWAYS, &[pipe])).await?;
    let gateway = town.nodes[0].gateway();
    listeners(&gateway, &["spread"], BOUND).await?;
    for endpoint in [&stays, &vanishes] {
        endpoint.becomes(Some(true), &gateway).await?;
    }

    // Like a node without power: its agent is silent, and its addresses neither answer nor refuse.
    town.nodes[1].agent = None;
    for netns in [&town.nodes[1].netns, &vanishes.worker.netns] {
        town.bed.cut(netns)?;
    }
    let took = vanishes.becomes(Some(false), &gateway).await?;
    println!("its endpoint is out of use after {took:.2?}");
    ensure!(stays.seen_by(&gateway).await == Some(true), "the other node's endpoint is out of use");
    let target = SocketAddr::new(town.nodes[0].address(), 4000);
    for sender in 1..=4 {
        let by = answers(&town.bed.pod(9, sender)?, target).await?;
        ensure!(by == ["w1-1"], "answered by {by:?}");
    }
    // Finally, the API server learns that its pods are gone.
    vanishes.worker.remove().await?;
    vanishes.becomes(None, &gateway).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn address_that_becomes_another_pods_is_nobody_elses_once_the_api_says_so() -> Result<()> {
    let town = Town::start(1).await?;
    town.gateways().await?;
    let old = town.worker(1, 1, "app: old", false).await?;
    let address = SocketAddr::new(old.ip(), PORT);
    let mut echo = Echo::start(&old.netns, "old", address)?;
    let keyed = Pipe::new("old-call", 4001, PORT).to_pods("app: old").keyed("call");
    let pipes = [
        Pipe::new("old", 4000, PORT).to_pods("app: old"),
        keyed,
        Pipe::new("new", 4002, PORT).to_pods("app: new"),
    ];
    town.apply(&virtual_service("both", GATEWAYS, &pipes)).await?;
    let (gateway, root) = (town.nodes[0].gateway(), town.bed.root());
    listeners(&gateway, &["old", "old-call", "new"], BOUND).await?;
    let at = |port| SocketAddr::new(town.nodes[0].address(), port);
    for port in [4000, 4001] {
        ensure!(answers(root, at(port)).await? == ["old"], "nobody else is there yet");
    }
    let sessions = [flow(root, at(4000))?, flow(root, at(4001))?];
    last(&echo, Duration::from_secs(1)).await?;

    // The pod ends and its address is given to another pod before the API server learns of its end.
    echo.stop();
    let echo = Echo::start(&old.netns, "new", address)?;
    let mut new = town.worker(1, 2, "app: new", false).await?;
    new.ips = vec![old.ip()];
    new.set_ready(true).await?;
    ensure!(answers(root, at(4002)).await? == ["new"], "the new pod's service leads elsewhere");
    old.remove().await?;
    let said = Instant::now();
    wait::until("a gateway that has heard of it", BOUND, || async {
        gateway.clusters().await.is_ok_and(|text| {
            let mut lines =
                text.lines().filter(|line| line.contains("old") && line.contains("::health_flags::"));
            lines.next().is_none()
        })
    })
    .await?;
    println!("the gateway has heard of it after {:.2?}", said.elapsed());
    // Envoy's workers apply the change a moment after its main thread shows it.
    silent(&echo, Duration::from_secs(2))?;
    println!("and nothing has come since {:.2?}", said.elapsed() - Duration::from_secs(2));
    for port in [4000, 4001] {
        let newcomers = Flow::to(at(port)).sockets(4).rate(200).lasting(Duration::from_millis(500));
        let report = newcomers.start(root)?.finish()?;
        ensure!(report.received() == 0 && report.sent() > 0, "port {port}: {report}");
    }
    for session in sessions {
        println!("the old service's sessions: {}", session.stop()?);
    }
    ensure!(answers(root, at(4002)).await? == ["new"], "the new pod's own service is disturbed");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn pod_that_ends_while_the_hub_is_away_leaves_its_own_node_s_proxies() -> Result<()> {
    let mut town = Town::start(1).await?;
    town.gateways().await?;
    let (ends, stays) = (Endpoint::start(&town, 1, 1).await?, Endpoint::start(&town, 1, 2).await?);
    town.apply(&virtual_service("call", GATEWAYS, &[Pipe::new("call", 4000, PORT)])).await?;
    let gateway = town.nodes[0].gateway();
    listeners(&gateway, &["call"], BOUND).await?;
    for endpoint in [&ends, &stays] {
        endpoint.becomes(Some(true), &gateway).await?;
    }
    let state = town.state_dir(0);
    wait::until("a kept Plan that was accepted", BOUND, || async {
        let files = std::fs::read_dir(&state).into_iter().flatten().flatten();
        let names: Vec<_> = files.map(|file| file.file_name().to_string_lossy().into_owned()).collect();
        let has = |kind| names.iter().any(|name| name.starts_with(kind) && !name.contains('.'));
        has("plan-") && has("accepted-")
    })
    .await?;
    town.hub.take().context("no hub")?.kill();
    ends.worker.remove().await?;
    println!("it has left after {:.2?}", ends.becomes(None, &gateway).await?);
    // A restarted agent has the pod in its store, but not in its list of pods.
    town.nodes[0].agent = None;
    town.start_agent(0)?;
    town.nodes[0].agent.as_mut().context("no agent")?.wait_log("proxy connected", BOUND)?;
    let started = Instant::now();
    wait::until("a second", BOUND, || async { started.elapsed() > Duration::from_secs(1) }).await?;
    ends.becomes(None, &gateway).await?;
    ensure!(stays.seen_by(&gateway).await == Some(true), "the other pod has left as well");
    town.start_hub()?;
    let later = Endpoint::start(&town, 1, 3).await?;
    later.becomes(Some(true), &gateway).await?;
    ensure!(ends.seen_by(&gateway).await.is_none(), "the hub has brought it back");
    Ok(())
}

/// A hub in its own namespace, which can be disconnected.
fn hub_in(town: &Town, netns: &Netns) -> Result<(Process, SocketAddr)> {
    let mut command = under_test::command_in(netns, "hub")?;
    let any = SocketAddr::new(netns.v4(), 0);
    command.args(["--listen", &any.to_string(), "--grace", "2", "--identity", netns.name()]);
    command.arg("--kubeconfig").arg(town.control.kubeconfig("hub")?);
    command.args(&town.trust.hub_args).env("NO_COLOR", "1");
    let mut hub = Process::spawn(netns.name(), &command)?;
    let address = serving_at(&mut hub)?;
    Ok((hub, address))
}

/// Returns whether an agent's last feed is from this hub.
fn is_fed_by(agent: &Process, hub: SocketAddr) -> bool {
    let log = agent.log();
    let line = log.lines().rev().find(|line| line.contains("fed by"));
    line.is_some_and(|line| line.contains(&format!("https://{hub}")))
}

/// Creates a pod on the node whose Envoy forwards to an endpoint; both are independent of the node's own network.
async fn side(town: &Town) -> Result<(Worker, Endpoint, SocketAddr)> {
    let (side, endpoint) = (town.worker(1, 2, "app: side", true).await?, Endpoint::start(town, 1, 1).await?);
    town.apply(&virtual_service("side", "app: side", &[Pipe::new("side", 4100, PORT)])).await?;
    listeners(&side.admin, &["side"], BOUND).await?;
    let target = SocketAddr::new(side.ip(), 4100);
    answers(town.bed.root(), target).await?;
    Ok((side, endpoint, target))
}

#[tokio::test(flavor = "multi_thread")]
async fn hub_from_which_nothing_comes_any_more_is_left_for_the_other() -> Result<()> {
    let mut town = Town::without_portreeve(1).await?;
    let netns = [town.bed.pod(9, 1)?, town.bed.pod(9, 2)?];
    let hubs = [hub_in(&town, &netns[0])?, hub_in(&town, &netns[1])?];
    town.agent_args = vec!["--hub".into(), format!("https://{}", hubs[1].1)];
    town.start_agent_at(0, hubs[0].1)?;
    let (side, endpoint, target) = side(&town).await?;
    let flow = flow(town.bed.root(), target)?;
    let agent = town.nodes[0].agent.as_mut().context("no agent")?;
    let feeder = usize::from(is_fed_by(agent, hubs[1].1));
    ensure!(is_fed_by(agent, hubs[feeder].1), "no hub feeds the agent:\n{}", agent.log());

    town.bed.cut(&netns[feeder])?;
    let cut = Instant::now();
    wait::until("the other hub's feed", BOUND, || async { is_fed_by(agent, hubs[1 - feeder].1) }).await?;
    let took = cut.elapsed();
    println!("fed by the other after {took:.2?}");
    ensure!(took < NOTICED, "{took:?}");
    town.apply(&virtual_service("later", "app: side", &[Pipe::new("later", 4101, PORT)])).await?;
    listeners(&side.admin, &["side", "later"], BOUND).await?;
    town.bed.mend(&netns[feeder])?;
    last(&endpoint.echo, Duration::from_secs(1)).await?;
    undisturbed("through the sidecar", flow, &side.netns)
}

#[tokio::test(flavor = "multi_thread")]
async fn node_that_is_cut_off_notices_and_goes_on_with_what_it_has() -> Result<()> {
    let mut town = Town::start(1).await?;
    let (side, endpoint, target) = side(&town).await?;
    let flow = flow(town.bed.root(), target)?;
    let netns = town.nodes[0].netns.clone();
    town.bed.cut(&netns)?;
    let cut = Instant::now();
    let agent = town.nodes[0].agent.as_mut().context("no agent")?;
    agent.wait_log("no reports to this hub", BOUND)?;
    let reports = cut.elapsed();
    agent.wait_log("connected=false", BOUND)?;
    println!("noticed by the reports after {reports:.2?}, by the feed after {:.2?}", cut.elapsed());
    ensure!(cut.elapsed() < NOTICED, "{:?}", cut.elapsed());
    town.apply(&virtual_service("later", "app: side", &[Pipe::new("later", 4101, PORT)])).await?;
    last(&endpoint.echo, LONG).await?;
    listeners(&side.admin, &["side"], BOUND).await?;

    town.bed.mend(&netns)?;
    let mended = Instant::now();
    listeners(&side.admin, &["side", "later"], BOUND).await?;
    println!("current {:.2?} after the way is mended", mended.elapsed());
    undisturbed("through the sidecar", flow, &side.netns)
}
