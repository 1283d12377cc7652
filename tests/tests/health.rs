//! Real gateways with endpoints whose health port is closed, silent or open again. Times are printed. The asserted
//! limits are wider than the product's where a busy machine may exceed those.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use kube::Api;
use portreeve_api::a::virtual_service::VirtualService;
use portreeve_tests::call::{PIPES, Pipe, Side};
use portreeve_tests::health_port::HealthPort;
use portreeve_tests::town::{BOUND, Town, Worker, listeners};
use portreeve_tests::udp::{Echo, Flow};
use portreeve_tests::virtual_service::said;
use portreeve_tests::wait;

/// The endpoints' health port.
const HEALTH: u16 = 1233;
/// The first port of the endpoints.
const FORWARD: u16 = 10_000;
/// Milliseconds between two checks in [`service`].
const INTERVAL: u64 = 200;
/// Timeout of a health check.
const TIMEOUT: Duration = Duration::from_millis(100);
/// How much later one of two gateways notices a flap.
const APART: Duration = Duration::from_millis(300);
/// Long, because the machine may be busy.
const MOVED: Duration = Duration::from_secs(10);

/// A pod that answers on UDP, and on TCP while its health port is open.
struct Endpoint {
    worker: Worker,
    health: Option<HealthPort>,
    _echoes: Vec<Echo>,
}

// === impl Endpoint ===

impl Endpoint {
    /// Creates pod `j` of node `i`.
    async fn start(town: &Town, i: u8, j: u8) -> Result<Self> {
        let worker = town.worker(i, j, "app: worker", false).await?;
        let echo = |port| Echo::start(&worker.netns, &worker.name, SocketAddr::new(worker.ip(), port));
        let echoes: Result<_> = (FORWARD..FORWARD + PIPES).map(echo).collect();
        let mut endpoint = Self { health: None, _echoes: echoes?, worker };
        endpoint.open()?;
        Ok(endpoint)
    }

    fn open(&mut self) -> Result<()> {
        let address = SocketAddr::new(self.worker.ip(), HEALTH);
        self.health = Some(HealthPort::open(&self.worker.netns, address)?);
        Ok(())
    }

    fn close(&mut self) {
        self.health = None;
    }
}

/// A VirtualService with one pipe for all gateways, whose sessions all use one pod, checked every [`INTERVAL`].
fn service(name: &str, port: u16) -> String {
    format!(
        "apiVersion: servicemesh.l7mp.io/v1\nkind: VirtualService\nmetadata: {{name: {name}, namespace: default}}\n\
         spec:\n  selector: {{app: envoy-ingress}}\n  listeners:\n  - name: {name}\n    udp:\n      port: {port}\n      \
         cluster:\n        name: {name}\n        service_discovery: eds\n        hash_key: {name}\n        \
         health_check: {{interval: {INTERVAL}, protocol: TCP}}\n        endpoints:\n        - name: e\n          \
         host: {{selector: {{app: worker}}}}\n          port: {FORWARD}\n          health_check_port: {HEALTH}\n"
    )
}

/// Sends datagrams until a `wanted` pod answers. Returns the pod and the time that it took.
fn answered(pipe: &Pipe, wanted: impl Fn(&str) -> bool) -> Result<(String, Duration)> {
    let began = Instant::now();
    loop {
        let by = pipe.ask()?;
        if wanted(&by) {
            return Ok((by, began.elapsed()));
        }
        ensure!(began.elapsed() < MOVED, "after {MOVED:?} {by} still answers");
    }
}

/// Waits until every pipe of these calls uses the expected pod. A verdict reaches their clusters and a proxy's workers
/// one after the other.
fn settled(calls: &[Vec<Pipe>], homes: &[String]) -> Result<()> {
    for (pipes, home) in calls.iter().zip(homes) {
        pipes.iter().try_for_each(|pipe| answered(pipe, |by| by == home).map(drop))?;
    }
    Ok(())
}

/// Opens a gateway's pipe through [`service`] at `port`, and waits for an answer.
async fn pipe(town: &Town, name: &str, port: u16) -> Result<Pipe> {
    town.apply(&service(name, port)).await?;
    listeners(&town.nodes[0].gateway(), &[name], BOUND).await?;
    Pipe::open(town.bed.root(), SocketAddr::new(town.nodes[0].address(), port))
}

fn of<'a>(endpoints: &'a mut [Endpoint], name: &str) -> Result<&'a mut Endpoint> {
    endpoints.iter_mut().find(|e| e.worker.name == name).with_context(|| format!("no endpoint {name}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn closed_port_of_the_same_node_moves_its_sessions_within_interval_and_timeout() -> Result<()> {
    let town = Town::start(1).await?;
    town.gateways().await?;
    let mut endpoints = vec![Endpoint::start(&town, 1, 1).await?, Endpoint::start(&town, 1, 2).await?];
    let pipe = pipe(&town, "call", 5000).await?;
    let (home, _) = answered(&pipe, |_| true)?;
    let bound = Duration::from_millis(INTERVAL) + TIMEOUT + Duration::from_millis(50);
    let (mut gone, mut back) = (Vec::new(), Vec::new());
    for trial in 0..20 {
        // A different phase in each round.
        let (until, began) = (Duration::from_millis(trial * 37 % INTERVAL), Instant::now());
        while began.elapsed() < until {
            pipe.ask()?;
        }
        let endpoint = of(&mut endpoints, &home)?;
        endpoint.close();
        gone.push(answered(&pipe, |by| by != home)?.1);
        endpoint.open()?;
        back.push(answered(&pipe, |by| by == home)?.1);
    }
    gone.sort();
    back.sort();
    println!(
        "port closed -> moved: median {:.1?}, max {:.1?}, product's bound {bound:?}",
        gone[10], gone[19]
    );
    println!("port open again -> back: median {:.1?}, max {:.1?}", back[10], back[19]);
    ensure!(gone[10] <= bound, "half of the trials are over the product's bound {bound:?}: {gone:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_port_is_unhealthy_by_timeout_and_one_that_keeps_its_connections_is_not() -> Result<()> {
    let town = Town::start(1).await?;
    town.gateways().await?;
    let mut endpoints = vec![Endpoint::start(&town, 1, 1).await?, Endpoint::start(&town, 1, 2).await?];
    let pipe = pipe(&town, "call", 5000).await?;
    let (home, _) = answered(&pipe, |_| true)?;
    let endpoint = of(&mut endpoints, &home)?;
    let netns = endpoint.worker.netns.clone();

    // No packet passes, not even a refusal: datagrams are lost until the probe times out.
    town.bed.cut(&netns)?;
    let agent = town.nodes[0].agent.as_ref().context("no agent")?;
    let told = || agent.log().contains("has not answered within 100 ms");
    wait::until("a time-out in the agent's log", MOVED, || async { told() }).await?;
    let gateway = town.nodes[0].gateway();
    let healthy = || async { gateway.stat("cluster.A/default/call/call/call.membership_healthy").await.ok() };
    wait::until("the verdict at the gateway", MOVED, || async { healthy().await == Some(1) }).await?;
    let fresh = Pipe::open(town.bed.root(), SocketAddr::new(town.nodes[0].address(), 5000))?;
    answered(&fresh, |by| by != home)?;
    town.bed.mend(&netns)?;
    answered(&fresh, |by| by == home)?;

    endpoint.close();
    answered(&fresh, |by| by != home)?;
    let listener = netns.enter(|| TcpListener::bind(SocketAddr::new(endpoint.worker.ip(), HEALTH)))??;
    let kept = Arc::new(AtomicUsize::new(0));
    let count = kept.clone();
    // The thread ends with the test's process. The probes' connections are kept open.
    let _hoard = netns.spawn(move || {
        let mut all = Vec::new();
        loop {
            all.push(listener.accept()?);
            count.store(all.len(), Ordering::Relaxed);
        }
        #[allow(unreachable_code, reason = "names the type")]
        Ok(())
    })?;
    answered(&fresh, |by| by == home)?;
    let files = || std::fs::read_dir(format!("/proc/{}/fd", agent.pid())).map(Iterator::count).unwrap_or(0);
    let before = files();
    let since = kept.load(Ordering::Relaxed);
    wait::until("20 probes", MOVED, || async { kept.load(Ordering::Relaxed) >= since + 20 }).await?;
    ensure!(fresh.ask()? == home, "it has moved from a healthy endpoint");
    println!("open files of the agent: {before}, and after 20 kept connections {}", files());
    ensure!(files() <= before + 3, "the agent keeps what the endpoint keeps");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn without_owner_and_hub_endpoints_stay_in_use_and_are_probed_directly() -> Result<()> {
    let mut town = Town::start(2).await?;
    town.gateways().await?;
    let mut endpoints = vec![Endpoint::start(&town, 2, 1).await?, Endpoint::start(&town, 2, 2).await?];
    let pipe = pipe(&town, "call", 5000).await?;
    let (home, _) = answered(&pipe, |_| true)?;

    // Longer than any lease.
    let flow = Flow::to(SocketAddr::new(town.nodes[0].address(), 5000)).sockets(4).rate(200);
    let running = flow.lasting(Duration::from_secs(4)).start(town.bed.root())?;
    town.nodes[1].agent.as_mut().context("no agent")?.kill();
    let report = running.finish()?;
    println!("the owner's agent killed: {report}");
    report.lossless()?;
    ensure!(report.answered_by().len() == 1 && report.answered_by().contains_key(&home), "{report}");

    town.hub.as_mut().context("no hub")?.kill();
    of(&mut endpoints, &home)?.close();
    let (_, moved) = answered(&pipe, |by| by != home)?;
    println!("hub killed and port closed at once -> moved: {moved:.1?}");
    of(&mut endpoints, &home)?.open()?;
    let (_, back) = answered(&pipe, |by| by == home)?;
    of(&mut endpoints, &home)?.close();
    let (_, moved) = answered(&pipe, |by| by != home)?;
    println!("without hub: open -> back {back:.1?}, closed -> moved {moved:.1?}");
    Ok(())
}

/// Opens pipes of calls `0..calls` through the first gateway, in the order of the calls.
fn open(town: &Town, calls: std::ops::Range<u16>, pipes: std::ops::Range<u16>) -> Result<Vec<Vec<Pipe>>> {
    open_at(town, 0, calls, pipes)
}

/// Opens pipes of calls `0..calls` through the gateway of node `index` (from 0).
fn open_at(
    town: &Town,
    index: usize,
    calls: std::ops::Range<u16>,
    pipes: std::ops::Range<u16>,
) -> Result<Vec<Vec<Pipe>>> {
    let at = |call: u16, pipe| SocketAddr::new(town.nodes[index].address(), 20_000 + call * PIPES + pipe);
    let of_call = |call| pipes.clone().map(|pipe| Pipe::open(town.bed.root(), at(call, pipe))).collect();
    calls.map(of_call).collect()
}

async fn write_calls(town: &Town, calls: std::ops::Range<u16>) -> Result<()> {
    let mut wanted = Vec::new();
    for number in 0..calls.end {
        let call = format!("c{number}");
        let side = Side {
            name: "ingress",
            call: &call,
            app: "envoy-ingress",
            host: "selector: {app: worker}",
            listen: 20_000 + number * PIPES,
            forward: FORWARD,
            health_port: Some(HEALTH),
        };
        wanted.extend(side.listeners());
        if calls.contains(&number) {
            town.apply(&side.yaml()).await?;
        }
    }
    let wanted: Vec<&str> = wanted.iter().map(String::as_str).collect();
    for node in &town.nodes {
        listeners(&node.gateway(), &wanted, BOUND).await?;
    }
    for number in calls {
        said(&town.client, &format!("ingress-c{number}"), ("Programmed", "True"), BOUND).await?;
    }
    Ok(())
}

/// Waits until all endpoints of these calls are known to be healthy. Until then, gateways probe them themselves.
async fn checked(town: &Town, calls: std::ops::Range<u16>) -> Result<()> {
    for number in calls {
        let name = format!("ingress-c{number}");
        let api = Api::<VirtualService>::namespaced(town.client.clone(), "default");
        wait::seen(api, wait::named(&name), (&format!("healthy endpoints of {name}"), BOUND), |object| {
            let mut conditions = object.status.iter().flat_map(|status| &status.conditions);
            conditions.any(|c| c.type_ == "Healthy" && c.reason == "Healthy").then_some(())
        })
        .await?;
    }
    Ok(())
}

/// Returns the pod of each call, or an error if a call is split.
fn pods(calls: &[Vec<Pipe>]) -> Result<Vec<String>> {
    let pod = |pipes: &Vec<Pipe>| {
        let found: BTreeSet<String> = pipes.iter().map(Pipe::ask).collect::<Result<_>>()?;
        ensure!(found.len() == 1, "split over {found:?}");
        found.into_iter().next().context("a call without pipes")
    };
    calls.iter().map(pod).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn neither_a_flap_of_a_second_nor_a_termination_splits_a_call() -> Result<()> {
    let town = Town::start(1).await?;
    town.gateways().await?;
    let mut endpoints = Vec::new();
    for j in 1..=4 {
        endpoints.push(Endpoint::start(&town, 1, j).await?);
    }
    write_calls(&town, 0..12).await?;
    checked(&town, 0..12).await?;
    let early = open(&town, 0..12, 0..2)?;
    let homes = pods(&early)?;
    println!("pods of the calls: {homes:?}");
    let victim = homes[0].clone();

    // The late pipes are opened while the pod is down: they use the second choice, and return together with the early
    // ones.
    of(&mut endpoints, &victim)?.close();
    early.iter().flatten().try_for_each(|pipe| answered(pipe, |by| by != victim).map(drop))?;
    let late = open(&town, 0..12, 2..PIPES)?;
    let away = pods(&late)?;
    let lone = |i: &usize| homes[*i] != victim && away[*i] != homes[*i];
    ensure!(!(0..12).any(|i| lone(&i)), "calls of healthy pods have moved: {homes:?} -> {away:?}");
    ensure!(!away.contains(&victim), "{away:?}");
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(1) {
        early.iter().flatten().try_for_each(|pipe| pipe.ask().map(drop))?;
    }
    of(&mut endpoints, &victim)?.open()?;
    settled(&early, &homes)?;
    settled(&late, &homes)?;
    ensure!(pods(&early)? == homes && pods(&late)? == homes, "a flap has split calls");

    // Two pipes of a call open before the pod terminates; its other two pipes still use this pod, but later calls
    // don't.
    let worker = &of(&mut endpoints, &victim)?.worker;
    worker.terminate().await?;
    worker.set_ready(false).await?;
    wait::until("the next second", BOUND, || async { began.elapsed() > Duration::from_secs(3) }).await?;
    write_calls(&town, 12..24).await?;
    let later = open(&town, 0..12, 2..PIPES)?;
    ensure!(pods(&later)? == homes && pods(&early)? == homes, "a termination has split calls");
    let new = pods(&open(&town, 12..24, 0..PIPES)?)?;
    println!("pods of the new calls: {new:?}");
    ensure!(!new.contains(&victim), "a new call on the terminating pod {victim}: {new:?}");
    Ok(())
}

/// Stops the agent of node `index` for as long as its gateway should notice later.
async fn delayed(town: &mut Town, index: usize, change: impl FnOnce()) -> Result<()> {
    let agent = town.nodes[index].agent.as_mut().context("no agent")?;
    agent.stop()?;
    change();
    // The delay is part of the scenario; no event is awaited.
    tokio::time::sleep(APART).await;
    agent.cont()
}

#[tokio::test(flavor = "multi_thread")]
async fn gateways_that_hear_of_a_flap_apart_agree_on_every_call_again() -> Result<()> {
    let mut town = Town::start(2).await?;
    town.gateways().await?;
    let mut endpoints = Vec::new();
    for j in 1..=2 {
        endpoints.push(Endpoint::start(&town, 1, j).await?);
        endpoints.push(Endpoint::start(&town, 2, j).await?);
    }
    write_calls(&town, 0..12).await?;
    checked(&town, 0..12).await?;
    let (first, second) = (open_at(&town, 0, 0..12, 0..2)?, open_at(&town, 1, 0..12, 2..PIPES)?);
    let homes = pods(&first)?;
    ensure!(pods(&second)? == homes, "the gateways differ from the start");
    let victim = homes[0].clone();
    // The gateway on the other node notices later, because the pod's own agent must see the port.
    let owner = usize::from(victim.starts_with("w2"));
    let at = |gateway: usize| [&first, &second][gateway];
    delayed(&mut town, 1 - owner, || {
        endpoints.iter_mut().filter(|e| e.worker.name == victim).for_each(Endpoint::close)
    })
    .await?;
    for gateway in [0, 1] {
        let pipes = at(gateway).iter().flatten();
        pipes.map(|pipe| answered(pipe, |by| by != victim)).collect::<Result<Vec<_>>>()?;
    }
    let away = pods(&first)?;
    ensure!(pods(&second)? == away, "the gateways moved calls to different pods");
    ensure!(
        away.iter().zip(&homes).all(|(now, home)| now == home || *home == victim),
        "{homes:?} -> {away:?}"
    );
    of(&mut endpoints, &victim)?.open()?;
    delayed(&mut town, 1 - owner, || {}).await?;
    for gateway in [0, 1] {
        settled(at(gateway), &homes)?;
    }
    ensure!(pods(&first)? == homes && pods(&second)? == homes, "a flap heard of apart has split calls");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn loopback_endpoint_is_checked_by_its_own_proxy() -> Result<()> {
    let town = Town::start(1).await?;
    let worker = town.worker(1, 1, "app: sidecar", true).await?;
    worker.admin.wait_ready(BOUND).await?;
    let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let _echo = Echo::start(&worker.netns, "app", SocketAddr::new(loopback, FORWARD))?;
    let text = service("side", 5000).replace("app: envoy-ingress", "app: sidecar");
    town.apply(&text.replace("selector: {app: worker}", "address: 127.0.0.1")).await?;
    listeners(&worker.admin, &["side"], BOUND).await?;
    let target = SocketAddr::new(worker.ip(), 5000);
    let healthy =
        || async { worker.admin.stat("cluster.A/default/side/side/side.membership_healthy").await.ok() };
    ensure!(healthy().await == Some(0), "nothing listens at its health port");
    let port = HealthPort::open(&worker.netns, SocketAddr::new(loopback, HEALTH))?;
    wait::until("a healthy endpoint", MOVED, || async { healthy().await == Some(1) }).await?;
    ensure!(Pipe::open(town.bed.root(), target)?.ask()? == "app", "another answer");
    drop(port);
    wait::until("an unhealthy endpoint", MOVED, || async { healthy().await == Some(0) }).await?;
    Ok(())
}
