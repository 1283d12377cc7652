//! Status is correct while proxies are updating, when they reject resources, and when they are unreachable.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use jiff::Timestamp;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::Api;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use portreeve_api::a::virtual_service::VirtualService;
use portreeve_api::own::node_proxy::NodeProxy;
use portreeve_api::own::node_report::{NodeReport, Phase, ProxyReport};
use portreeve_tests::call::Pipe;
use portreeve_tests::town::{BOUND, Town};
use portreeve_tests::udp::Echo;
use portreeve_tests::virtual_service::{Host, Service};
use portreeve_tests::wait;
use portreeve_xds::{Name, Version};

/// Number of edits while Envoy is stopped.
const RACES: u16 = 100;
/// Number of objects that are edited concurrently.
const OBJECTS: u16 = 5;

const ENDPOINT: [Host<'static>; 1] = [Host::At("10.9.9.9")];

/// A VirtualService with one UDP listener for the gateways.
fn service(name: &str, port: u16) -> Service {
    Service::new(name, "app: envoy-ingress").udp("l", port, &ENDPOINT, 6000)
}

/// Applies it, and returns its generation.
async fn apply(town: &Town, yaml: &str, name: &str) -> Result<i64> {
    town.apply(yaml).await?;
    let api = Api::<VirtualService>::namespaced(town.client.clone(), "default");
    api.get(name).await?.metadata.generation.context("a generation")
}

async fn programmed(town: &Town, name: &str) -> Option<Condition> {
    let api = Api::<VirtualService>::namespaced(town.client.clone(), "default");
    let conditions = api.get(name).await.ok()?.status?.conditions;
    conditions.into_iter().find(|one| one.type_ == "Programmed")
}

/// Waits until `Programmed` has this reason for this generation. Returns its message.
async fn says(town: &Town, name: &str, generation: i64, reason: &str) -> Result<String> {
    let what = format!("Programmed={reason} of {name} in generation {generation}");
    let api = Api::<VirtualService>::namespaced(town.client.clone(), "default");
    let found = wait::seen(api, wait::named(name), (&what, BOUND), |object| {
        let mut conditions = object.status.iter().flat_map(|status| &status.conditions);
        let found = conditions.find(|one| one.type_ == "Programmed")?;
        let now = found.observed_generation == Some(generation) && found.reason == reason;
        now.then(|| found.message.clone())
    });
    match found.await {
        Ok(message) => Ok(message),
        Err(error) => Err(error.context(format!("it is {:?}", programmed(town, name).await))),
    }
}

/// Waits until the node's gateway runs according to its report, and returns that report.
async fn gateway(town: &Town, node: &str) -> Result<ProxyReport> {
    let api = Api::<NodeReport>::all(town.client.clone());
    let what = "the running gateway in the node's report";
    wait::seen(api, wait::named(node), (what, BOUND), |report| {
        let mut proxies = report.status.iter().flat_map(|status| &status.proxies);
        let running = |p: &&ProxyReport| p.name == "gateway" && p.phase == Phase::Running && p.pid.is_some();
        proxies.find(running).cloned()
    })
    .await
}

async fn event(town: &Town, name: &str, reason: &str) -> Result<String> {
    let api = Api::<Event>::namespaced(town.client.clone(), "default");
    let what = format!("the event {reason} of {name}");
    wait::seen(api, Default::default(), (&what, BOUND), |event| {
        let of_it = event.regarding.as_ref().is_some_and(|object| object.name.as_deref() == Some(name));
        event.note.clone().filter(|_| of_it && event.reason.as_deref() == Some(reason))
    })
    .await
}

/// One of the raced objects, in its state of a round.
fn raced(object: u16, round: u16) -> (String, String) {
    let name = format!("race-{object}");
    let yaml = service(&name, 5000 + object * 100 + round).yaml();
    (name, yaml)
}

/// Edits all raced objects concurrently, and waits until each has this reason for its new generation.
async fn race(town: &Town, round: u16, edit: fn(&str) -> String, reason: &str) -> Result<Vec<String>> {
    let all = (0..OBJECTS).map(|object| async move {
        let (name, yaml) = raced(object, round);
        let generation = apply(town, &edit(&yaml), &name).await?;
        says(town, &name, generation, reason).await
    });
    futures::future::try_join_all(all).await
}

/// Waits until all raced objects have this reason for their current generation.
async fn all_say(town: &Town, reason: &str) -> Result<()> {
    let all = (0..OBJECTS).map(|object| async move {
        let (name, _) = raced(object, 0);
        let api = Api::<VirtualService>::namespaced(town.client.clone(), "default");
        let generation = api.get(&name).await?.metadata.generation.context("a generation")?;
        says(town, &name, generation, reason).await
    });
    futures::future::try_join_all(all).await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn programmed_is_true_only_after_the_proxys_ack_however_the_edit_races() -> Result<()> {
    let town = Town::start(1).await?;
    town.gateways().await?;
    println!("{:?}", race(&town, 0, str::to_owned, "Programmed").await?);
    let pid = Pid::from_raw(gateway(&town, "n1").await?.pid.context("a pid")?);
    let mut slowest = Duration::ZERO;
    for round in 1..=RACES / OBJECTS {
        kill(pid, Signal::SIGSTOP)?;
        let pending = race(&town, round, str::to_owned, "Pending").await;
        // An edit without effect, made after an unconfirmed edit, is not programmed either.
        let still = race(&town, round, |yaml| yaml.replace("strictdns", "eds"), "Pending").await;
        // The condition stays the same until the proxy answers.
        let stays = all_say(&town, "Pending").await;
        kill(pid, Signal::SIGCONT)?;
        let begun = Instant::now();
        let message = |said: Result<Vec<String>>| said.map(|all| all.first().cloned().unwrap_or_default());
        println!("{}; {}", message(pending)?, message(still)?);
        stays?;
        all_say(&town, "Programmed").await?;
        slowest = slowest.max(begun.elapsed());
    }
    println!("{RACES} races; programmed at most {slowest:?} after the proxy went on");
    // While the proxy is stopped, an edit that it already runs is programmed immediately.
    kill(pid, Signal::SIGSTOP)?;
    let at_once = race(&town, RACES / OBJECTS, str::to_owned, "Programmed").await;
    kill(pid, Signal::SIGCONT)?;
    println!("an edit without effect: {:?}", at_once?);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_keeps_an_object_from_its_proxies_is_named() -> Result<()> {
    let town = Town::start(1).await?;
    town.gateways().await?;
    let stranger = town.nodes[0].netns.enter(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 5001)))??;
    let taken = apply(&town, &service("taken", 5001).yaml(), "taken").await?;
    let message = says(&town, "taken", taken, "Nacked").await?;
    println!("{message}");
    ensure!(message.contains("nodeproxy/gateway") && message.contains("in use"), "{message}");
    println!("event: {}", event(&town, "taken", "Nacked").await?);
    let reports = Api::<NodeReport>::all(town.client.clone());
    let what = "the refusal in the node's report";
    let report = wait::seen(reports, wait::named("n1"), (what, BOUND), |found| {
        let nacked = found.status.as_ref()?.proxies.iter().any(|p| p.nack.is_some());
        nacked.then(|| found.clone())
    });
    let report = report.await?;
    println!("{}", serde_json::to_string_pretty(&report)?);
    ensure!(report.metadata.owner_references.is_some_and(|owners| owners[0].kind == "Node"));
    drop(stranger);
    says(&town, "taken", taken, "Programmed").await?;
    println!("event: {}", event(&town, "taken", "Recovered").await?);
    let young = apply(&town, &service("z-young", 5001).yaml(), "z-young").await?;
    let message = says(&town, "z-young", young, "PortConflict").await?;
    println!("{message}");
    ensure!(message.contains("A/default/taken/l"), "{message}");
    println!("event: {}", event(&town, "z-young", "PortConflict").await?);
    let nobody = Service::new("nobody", "app: nobody").udp("l", 5002, &ENDPOINT, 6000);
    let nobody = apply(&town, &nobody.yaml(), "nobody").await.map(|generation| ("nobody", generation))?;
    println!("{}", says(&town, nobody.0, nobody.1, "NoProxy").await?);
    says(&town, "taken", taken, "Programmed").await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn proxy_without_its_agent_is_unreachable_for_what_is_new_and_keeps_what_it_acked() -> Result<()> {
    let mut town = Town::start(2).await?;
    town.gateways().await?;
    let first = apply(&town, &service("one", 5000).yaml(), "one").await?;
    let message = says(&town, "one", first, "Programmed").await?;
    ensure!(message.contains("wanted 2, acked 2"), "{message}");
    let pid = Pid::from_raw(gateway(&town, "n2").await?.pid.context("a pid")?);
    town.nodes[1].agent.take().context("the agent runs")?.kill();
    kill(pid, Signal::SIGKILL)?;
    let second = apply(&town, &service("one", 5001).yaml(), "one").await?;
    let message = says(&town, "one", second, "Unreachable").await?;
    println!("{message}");
    ensure!(message.contains("n2") && message.contains("acked 1"), "{message}");
    town.start_agent(1)?;
    println!("{}", says(&town, "one", second, "Programmed").await?);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn leader_that_ends_gives_its_lease_up_at_once() -> Result<()> {
    let mut town = Town::start(1).await?;
    town.gateways().await?;
    let mut second = town.spawn_hub("second", None)?;
    let first = apply(&town, &service("one", 5000).yaml(), "one").await?;
    says(&town, "one", first, "Programmed").await?;
    ensure!(!second.log().contains("leads=true"), "the second hub leads already");
    town.hub.as_mut().context("the hub runs")?.terminate()?;
    let begun = Instant::now();
    second.wait_log("leads=true", BOUND)?;
    println!("the second hub leads after {:?}", begun.elapsed());
    ensure!(begun.elapsed() < Duration::from_secs(8), "it waited for the lease to run out");
    Ok(())
}

/// Returns the version of all listeners or clusters that an Envoy runs, from its own dump.
async fn running_version(town: &Town, list: &str, state: Option<&str>) -> Result<String> {
    let dump = town.nodes[0].gateway().config_dump().await?;
    let all = dump["configs"].as_array().context("configs")?.iter().filter_map(|one| one[list].as_array());
    let versions = all.flatten().map(|one| {
        let state = state.map_or(one, |state| &one[state]);
        let name = one["name"].as_str().or_else(|| state["cluster"]["name"].as_str()).context("a name")?;
        Ok((Name::from(name), state["version_info"].as_str().context("a version")?.parse::<Version>()?))
    });
    let versions = versions.collect::<Result<Vec<_>>>()?;
    ensure!(versions.len() == 2, "{list}: {versions:?}");
    Ok(Version::of_set(versions.iter().map(|(name, version)| (name, *version))).to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn report_counts_sessions_and_tells_what_a_gateway_uses_and_which_version_it_runs() -> Result<()> {
    let town = Town::start(1).await?;
    let before = Timestamp::now().as_second();
    town.gateways().await?;
    let worker = town.worker(1, 1, "app: worker", false).await?;
    let _echo = Echo::start(&worker.netns, "w", SocketAddr::new(worker.ip(), 6000))?;
    let one = Service::new("one", "app: envoy-ingress").udp("l", 5000, &[Host::Pods("app: worker")], 6000);
    let generation = apply(&town, &one.yaml(), "one").await?;
    says(&town, "one", generation, "Programmed").await?;
    ensure!(gateway(&town, "n1").await?.udp_sessions.is_none_or(|sessions| sessions == 0));
    let target = SocketAddr::new(town.nodes[0].address(), 5000);
    let pipes = (0..3).map(|_| Pipe::open(town.bed.root(), target)).collect::<Result<Vec<_>>>()?;
    for pipe in &pipes {
        ensure!(pipe.ask()? == "w");
    }
    // An added listener causes a write of the report; changed session counts are included in a later write.
    let two = apply(&town, &service("two", 5001).yaml(), "two").await?;
    says(&town, "two", two, "Programmed").await?;
    let reports = Api::<NodeReport>::all(town.client.clone());
    let what = "the sessions in the node's report";
    let told = wait::seen(reports, wait::named("n1"), (what, BOUND), |report| {
        let mut proxies = report.status.iter().flat_map(|status| &status.proxies);
        proxies.find(|told| told.udp_sessions == Some(3) && told.listeners == Some(2)).cloned()
    });
    let told = told.await?;
    println!("{}", serde_json::to_string_pretty(&told)?);
    let started = told.started.context("a start")?.0.as_second();
    ensure!((before - 1..=Timestamp::now().as_second()).contains(&started) && told.backoff_until.is_none());
    ensure!(told.rss_bytes.is_some_and(|bytes| (10 << 20..2 << 30).contains(&bytes)));
    ensure!(told.cpu_seconds.is_some_and(|seconds| (0..600).contains(&seconds)));
    let listeners = running_version(&town, "dynamic_listeners", Some("active_state")).await?;
    let clusters = running_version(&town, "dynamic_active_clusters", None).await?;
    ensure!(told.acked_versions.get("Listener") == Some(&listeners), "{listeners}");
    ensure!(told.acked_versions.get("Cluster") == Some(&clusters), "{clusters}");
    Ok(())
}

/// Waits until a NodeProxy has this condition. Returns its message and the number of nodes that run it.
async fn proxy_says(town: &Town, name: &str, reason: &str) -> Result<(String, Option<i32>, Option<i32>)> {
    let api = Api::<NodeProxy>::all(town.client.clone());
    let what = format!("Programmed={reason} of the NodeProxy {name}");
    let found = wait::seen(api.clone(), wait::named(name), (&what, BOUND), |object| {
        let (generation, status) = (object.metadata.generation, object.status.as_ref()?);
        let found = status.conditions.iter().find(|one| one.type_ == "Programmed")?;
        let now = found.reason == reason && found.observed_generation == generation;
        now.then(|| (found.message.clone(), status.nodes, status.ready))
    });
    match found.await {
        Ok(found) => Ok(found),
        Err(error) => Err(error.context(format!("it is {:?}", api.get(name).await.map(|one| one.status)))),
    }
}

fn node_proxy(name: &str, spec: &str) -> String {
    format!(
        "apiVersion: portreeve.dev/v1alpha1\nkind: NodeProxy\nmetadata: {{name: {name}}}\nspec: {{{spec}}}\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn node_proxy_says_where_it_runs_and_why_it_does_not() -> Result<()> {
    let mut town = Town::start(2).await?;
    town.gateways().await?;
    let (message, nodes, ready) = proxy_says(&town, "gateway", "Programmed").await?;
    ensure!((message.as_str(), nodes, ready) == ("runs on 2 of 2 nodes", Some(2), Some(2)), "{message}");
    town.apply(&node_proxy("nowhere", "nodeSelector: {role: nothing}")).await?;
    println!("{:?}", proxy_says(&town, "nowhere", "NoNode").await?);
    town.apply(&node_proxy("broken", "nodeSelector: {node: n1}, envoy: {extraArgs: [--no-such-flag]}"))
        .await?;
    let (message, nodes, ready) = proxy_says(&town, "broken", "NotRunning").await?;
    println!("{message}");
    ensure!((nodes, ready) == (Some(1), Some(0)), "{nodes:?} {ready:?}");
    ensure!(message.contains("node n1: Envoy ends by itself") && message.contains("exit"), "{message}");
    println!("event: {}", event(&town, "broken", "NotRunning").await?);
    town.apply(&node_proxy("broken", "nodeSelector: {node: n1}")).await?;
    println!("{}", proxy_says(&town, "broken", "Programmed").await?.0);

    // An unreachable agent changes nothing about confirmed generations, but can't confirm later ones.
    town.nodes[1].agent.take().context("the agent runs")?.kill();
    town.apply(&node_proxy("late", "nodeSelector: {role: gateway}")).await?;
    let (message, _, ready) = proxy_says(&town, "late", "Unreachable").await?;
    ensure!(message.contains("n2") && ready == Some(1), "{message}");
    println!("{message}");
    ensure!(proxy_says(&town, "gateway", "Programmed").await?.2 == Some(2), "the gateway of n2 goes on");
    town.start_agent_without_envoy(1)?;
    let (message, ..) = proxy_says(&town, "late", "NotRunning").await?;
    ensure!(message.contains("node n2: the agent has no Envoy"), "{message}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_left_on_a_terminating_pod_are_told_until_it_is_gone() -> Result<()> {
    let town = Town::start(1).await?;
    town.gateways().await?;
    let worker = town.worker(1, 1, "app: worker", false).await?;
    let _echo = Echo::start(&worker.netns, "w", SocketAddr::new(worker.ip(), 6000))?;
    let one = Service::new("one", "app: envoy-ingress").udp("l", 5000, &[Host::Pods("app: worker")], 6000);
    let generation = apply(&town, &one.yaml(), "one").await?;
    says(&town, "one", generation, "Programmed").await?;
    let target = SocketAddr::new(town.nodes[0].address(), 5000);
    let pipes = [Pipe::open(town.bed.root(), target)?, Pipe::open(town.bed.root(), target)?];
    for pipe in &pipes {
        ensure!(pipe.ask()? == "w");
    }
    worker.terminate().await?;
    let leaving = |wanted: &'static [(&str, i32)]| {
        let api = Api::<NodeReport>::all(town.client.clone());
        wait::seen(api, wait::named("n1"), ("the endpoints that leave", BOUND), move |report| {
            let found = report.status.iter().flat_map(|status| &status.leaving);
            found.map(|one| (one.pod.as_str(), one.sessions)).eq(wanted.iter().copied()).then_some(())
        })
    };
    leaving(&[("default/w1-1", 2)]).await?;
    worker.remove().await?;
    leaving(&[]).await
}
