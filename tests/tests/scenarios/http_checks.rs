//! HTTP health checks (`health_check.http`): of pods by the agents of their nodes, of loopback endpoints by their own
//! Envoy.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use kube::Api;
use portreeve_api::a::virtual_service::VirtualService;
use portreeve_tests::call::Pipe;
use portreeve_tests::http_port::HttpPort;
use portreeve_tests::town::{BOUND, Town, Worker, listeners};
use portreeve_tests::udp::Echo;
use portreeve_tests::wait;

/// Health port and traffic port of the endpoints.
const HEALTH: u16 = 8080;
const PORT: u16 = 6000;
/// The path, and the request line.
const PATH: &str = "/health?deep=yes";
const REQUEST: &str = "GET /health?deep=yes HTTP/1.1";

/// A pod that answers on UDP, and reports its health over HTTP.
struct Endpoint {
    worker: Worker,
    health: HttpPort,
    _echo: Echo,
}

// === impl Endpoint ===

impl Endpoint {
    /// Creates pod 1 of node `i`.
    async fn start(town: &Town, i: u8) -> Result<Self> {
        let worker = town.worker(i, 1, "app: worker", false).await?;
        let at = |port| SocketAddr::new(worker.ip(), port);
        let health = HttpPort::open(&worker.netns, at(HEALTH))?;
        let echo = Echo::start(&worker.netns, &worker.name, at(PORT))?;
        Ok(Self { worker, health, _echo: echo })
    }
}

/// A call whose endpoints are checked five times a second.
fn call(app: &str, host: &str) -> String {
    format!(
        "apiVersion: servicemesh.l7mp.io/v1\nkind: VirtualService\nmetadata: {{name: call, namespace: default}}\n\
         spec:\n  selector: {{app: {app}}}\n  listeners:\n  - name: call\n    udp:\n      port: 5000\n      \
         cluster:\n        name: call\n        service_discovery: eds\n        hash_key: call\n        \
         health_check: {{interval: 200, protocol: TCP, http: {{path: '{PATH}'}}}}\n        endpoints:\n        \
         - {{name: e, host: {{{host}}}, port: {PORT}, health_check_port: {HEALTH}}}\n"
    )
}

/// Sends datagrams until the expected pod answers.
fn answered(pipe: &Pipe, wanted: impl Fn(&str) -> bool) -> Result<String> {
    let begun = Instant::now();
    loop {
        let by = pipe.ask()?;
        if wanted(&by) {
            return Ok(by);
        }
        ensure!(begun.elapsed() < BOUND, "after {BOUND:?} {by} still answers");
    }
}

/// Waits until the condition `Healthy` begins with this text.
async fn healthy(town: &Town, words: &str) -> Result<()> {
    let api = Api::<VirtualService>::namespaced(town.client.clone(), "default");
    let what = format!("Healthy={words}");
    let said = wait::seen(api, wait::named("call"), (&what, BOUND), |object| {
        let mut conditions = object.status.iter().flat_map(|status| &status.conditions);
        let said = conditions.find(|c| c.type_ == "Healthy").map(|c| format!("{}: {}", c.reason, c.message));
        said.filter(|text| text.starts_with(words))
    });
    println!("{}", said.await.context("the condition is another")?);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn pod_that_answers_its_check_with_an_error_gives_its_sessions_away_until_it_is_well() -> Result<()> {
    let town = Town::start(2).await?;
    town.gateways().await?;
    let endpoints = [Endpoint::start(&town, 1).await?, Endpoint::start(&town, 2).await?];
    town.apply(&call("envoy-ingress", "selector: {app: worker}")).await?;
    listeners(&town.nodes[0].gateway(), &["call"], BOUND).await?;
    healthy(&town, "Healthy: 2 of 2 endpoints healthy").await?;
    let pipe = Pipe::open(town.bed.root(), SocketAddr::new(town.nodes[0].address(), 5000))?;
    let home = answered(&pipe, |_| true)?;
    let endpoint = endpoints.iter().find(|one| one.worker.name == home).context("a stranger answers")?;
    let node = endpoint.worker.name.chars().nth(1).context("no node")?;
    let agent = town.nodes.iter().find(|one| one.name.ends_with(node)).and_then(|node| node.agent.as_ref());
    let agent = agent.context("no agent")?;
    for status in [503, 404] {
        endpoint.health.answer(status);
        let began = Instant::now();
        answered(&pipe, |by| by != home)?;
        println!("{status}: the session has moved after {:.1?}", began.elapsed());
        healthy(&town, "Degraded: 1 of 2 endpoints healthy").await?;
        let words = format!("{PATH} answers {status}");
        ensure!(agent.log().contains(&words), "{words:?} is not in the log of its node's agent");
        endpoint.health.answer(200);
        answered(&pipe, |by| by == home)?;
        healthy(&town, "Healthy: 2 of 2 endpoints healthy").await?;
    }
    // A redirect counts as healthy.
    endpoint.health.answer(302);
    let began = Instant::now();
    while began.elapsed().as_secs() < 2 {
        ensure!(pipe.ask()? == home, "302 counts as a failure");
    }
    for endpoint in &endpoints {
        let asked = endpoint.health.asked();
        ensure!(asked.iter().eq([REQUEST]), "{} was asked {asked:?}", endpoint.worker.name);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn loopback_endpoint_is_asked_by_its_own_envoy() -> Result<()> {
    let town = Town::start(1).await?;
    let worker = town.worker(1, 1, "app: sidecar", true).await?;
    worker.admin.wait_ready(BOUND).await?;
    let at = |port| SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
    let _echo = Echo::start(&worker.netns, "app", at(PORT))?;
    let health = HttpPort::open(&worker.netns, at(HEALTH))?;
    town.apply(&call("sidecar", "address: 127.0.0.1")).await?;
    listeners(&worker.admin, &["call"], BOUND).await?;
    let becomes = |count| {
        let admin = &worker.admin;
        wait::until("another verdict of Envoy's", BOUND, move || async move {
            admin
                .stat("cluster.A/default/call/call/call.membership_healthy")
                .await
                .is_ok_and(|now| now == count)
        })
    };
    becomes(1).await?;
    ensure!(Pipe::open(town.bed.root(), SocketAddr::new(worker.ip(), 5000))?.ask()? == "app");
    for status in [500, 404] {
        health.answer(status);
        becomes(0).await?;
        health.answer(204);
        becomes(1).await?;
    }
    let asked = health.asked();
    ensure!(asked.iter().eq([REQUEST]), "Envoy asked {asked:?}");
    Ok(())
}
