//! Parts of the control plane fail and come back, alone or together: two hubs, hubs without an API server, and agents
//! killed at any step of a proxy's life. Also the hub's conditions of objects.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::Api;
use portreeve_api::a::virtual_service::VirtualService;
use portreeve_tests::town::{BOUND, Town, listeners, serving_at};
use portreeve_tests::udp::{Echo, Flow};
use portreeve_tests::virtual_service::{Host, Service, said};
use portreeve_tests::wait;

/// The lease time of a dead leader, and the time until another hub checks it.
const TAKE_OVER: Duration = Duration::from_secs(15);
/// How long nothing may happen.
const QUIET: Duration = Duration::from_secs(3);
/// The NodeProxy of the town's gateways.
const GATEWAY: &str = "
apiVersion: portreeve.dev/v1alpha1
kind: NodeProxy
metadata: {name: gateway}
spec: {nodeSelector: {role: gateway}, labels: {app: envoy-ingress}}
";

/// A VirtualService on the gateways with one listener of the same name, to the pods' port 10000.
fn service(name: &str, port: u16) -> String {
    Service::new(name, "app: envoy-ingress").udp(name, port, &[Host::Pods("app: worker")], 10_000).yaml()
}

async fn holder(town: &Town) -> Result<String> {
    let leases = Api::<Lease>::namespaced(town.client.clone(), "portreeve");
    wait::seen(leases, wait::named("portreeve-hub"), ("a leader", BOUND), |lease| {
        lease.spec.as_ref()?.holder_identity.clone()
    })
    .await
}

async fn stored(town: &Town, name: &str) -> Result<VirtualService> {
    Ok(Api::<VirtualService>::namespaced(town.client.clone(), "default").get(name).await?)
}

/// Waits until an object's condition is for its current generation.
async fn condition(town: &Town, name: &str, kind: &str) -> Result<Condition> {
    let api = Api::<VirtualService>::namespaced(town.client.clone(), "default");
    wait::seen(api, wait::named(name), (&format!("{kind} of {name}"), BOUND), |object| {
        let generation = object.metadata.generation;
        let mut conditions = object.status.iter().flat_map(|status| &status.conditions);
        conditions.find(|c| c.type_ == kind && c.observed_generation == generation).cloned()
    })
    .await
}

/// Checks that an object isn't written for a while.
async fn untouched(town: &Town, name: &str) -> Result<()> {
    let before = stored(town, name).await?.metadata.resource_version;
    let api = Api::<VirtualService>::namespaced(town.client.clone(), "default");
    let rewritten = wait::seen(api, wait::named(name), ("a rewrite", QUIET), |now| {
        (now.metadata.resource_version != before).then_some(())
    });
    ensure!(rewritten.await.is_err(), "{name} was written again without need");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hubs_serve_one_of_them_writes_and_the_other_takes_over() -> Result<()> {
    let mut town = Town::without_portreeve(2).await?;
    town.start_hub()?;
    let mut other = town.spawn_hub("other", None)?;
    let elsewhere = serving_at(&mut other)?;
    town.agent_args = vec!["--hub".into(), format!("https://{elsewhere}")];
    town.start_agent(0)?;
    town.start_agent(1)?;
    town.gateways().await?;
    let _worker = town.worker(1, 1, "app: worker", false).await?;
    town.apply(&service("before", 5000)).await?;
    for node in &town.nodes {
        listeners(&node.gateway(), &["before"], BOUND).await?;
    }
    println!("{}", said(&town.client, "before", ("Accepted", "True"), BOUND).await?);
    condition(&town, "before", "ResolvedRefs").await?;
    println!("{}", said(&town.client, "before", ("Programmed", "True"), BOUND).await?);
    let leader = holder(&town).await?;
    let mut first = town.hub.take().context("a hub was started")?;
    let logs = [first.log(), other.log()];
    let leading = logs.iter().filter(|log| log.contains("leads=true")).count();
    ensure!(leading == 1, "{leading} hubs lead:\n{}", logs.join("\n"));
    untouched(&town, "before").await?;
    let then = stored(&town, "before").await?.metadata.resource_version;

    match leader.as_str() {
        "other" => other.kill(),
        _ => first.kill(),
    }
    let killed = Instant::now();
    town.apply(&service("after", 5001)).await?;
    for node in &town.nodes {
        listeners(&node.gateway(), &["after", "before"], BOUND).await?;
    }
    println!("the other hub serves {:.2?} after the leader's death", killed.elapsed());
    said(&town.client, "after", ("Accepted", "True"), BOUND).await?;
    let took = killed.elapsed();
    println!("{leader} died, its successor wrote {took:.1?} later");
    ensure!(took <= TAKE_OVER, "{took:?}");
    ensure!(holder(&town).await? != leader, "the dead still leads");
    untouched(&town, "before").await?;
    ensure!(
        stored(&town, "before").await?.metadata.resource_version == then,
        "the successor wrote the same again"
    );
    Ok(())
}

/// An object with no listener that can be opened.
const NOWHERE: &str = "apiVersion: servicemesh.l7mp.io/v1\nkind: VirtualService\nmetadata: {name: nowhere}\n\
                       spec: {selector: {app: envoy-ingress}, listeners: [{name: nowhere, tcp: {port: 5002}}]}\n";

#[tokio::test(flavor = "multi_thread")]
async fn conditions_say_what_is_thought_of_which_generation_and_are_written_once() -> Result<()> {
    let mut town = Town::without_portreeve(1).await?;
    town.start_hub()?;
    let _worker = town.worker(1, 1, "app: worker", false).await?;
    let good = service("good", 5000);
    let short = service("short", 5001)
        .replace(
            "        endpoints:\n",
            "        health_check: {interval: 200, protocol: TCP}\n        endpoints:\n",
        )
        .replace("port: 10000}", "port: 10000, health_check_port: 1233}");
    let absent = Service::new("absent", "app: envoy-ingress")
        .udp("absent", 5003, &[Host::Pods("app: nobody")], 1)
        .yaml();
    let far = Service::new("far", "app: envoy-ingress").udp("far", 5004, &[Host::Pods("app: far")], 1).yaml();
    town.apply("apiVersion: v1\nkind: Namespace\nmetadata: {name: elsewhere}\n").await?;
    town.apply(
        "apiVersion: v1\nkind: Pod\nmetadata: {name: distant, namespace: elsewhere, labels: {app: far}}\n\
         spec: {nodeName: n1, containers: [{name: c, image: i}]}\n",
    )
    .await?;
    town.apply(
        &[&good, &short, NOWHERE, &absent, &far].map(|text| text.trim_start_matches("---\n")).join("---\n"),
    )
    .await?;
    let expected = [
        ("good", "Accepted", "True", "Accepted", ""),
        ("good", "ResolvedRefs", "True", "ResolvedRefs", ""),
        ("short", "Accepted", "True", "ShortInterval", "listener short: health_check.interval 200 ms"),
        (
            "nowhere",
            "Accepted",
            "False",
            "Invalid",
            "spec.listeners: none can be opened: listener nowhere: tcp",
        ),
        ("absent", "Accepted", "True", "Accepted", ""),
        ("absent", "ResolvedRefs", "False", "NoEndpoints", "app=nobody"),
        ("far", "ResolvedRefs", "False", "OutsideNamespace", "elsewhere/distant"),
        ("far", "ResolvedRefs", "False", "OutsideNamespace", "--selector-scope=cluster"),
    ];
    for (name, kind, status, reason, message) in expected {
        let found = condition(&town, name, kind).await?;
        println!("{name} {kind}={} {}: {}", found.status, found.reason, found.message);
        let said = (found.status.as_str(), found.reason.as_str());
        ensure!(said == (status, reason) && found.message.contains(message), "{name} {kind}: {found:?}");
    }
    for name in ["good", "short", "nowhere", "absent", "far"] {
        untouched(&town, name).await?;
    }
    // A new generation is observed, and a selection that finds pods counts as resolved.
    let since = condition(&town, "good", "Accepted").await?.last_transition_time;
    town.apply(&good.replace("port: 5000", "port: 5009")).await?;
    let renewed = condition(&town, "good", "Accepted").await?;
    ensure!(renewed.observed_generation == Some(2) && renewed.last_transition_time == since, "{renewed:?}");
    let _late = town.worker(1, 2, "app: nobody", false).await?;
    println!("{}", said(&town.client, "absent", ("ResolvedRefs", "True"), BOUND).await?);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_past_the_schema_is_rejected_by_its_field_and_its_last_good_version_stays() -> Result<()> {
    let mut town = Town::start(1).await?;
    town.gateways().await?;
    let worker = town.worker(1, 1, "app: worker", false).await?;
    let _echo = Echo::start(&worker.netns, "w", SocketAddr::new(worker.ip(), 10_000))?;
    let gateway = town.nodes[0].gateway();
    town.apply(&service("call", 5000)).await?;
    listeners(&gateway, &["call"], BOUND).await?;
    // As an older CRD may have accepted it.
    let crd = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/crds/virtualservices.servicemesh.l7mp.io.yaml");
    let tight = std::fs::read_to_string(crd)?;
    let loose: Vec<&str> = tight.lines().filter(|line| !line.contains("maximum: 65535")).collect();
    town.apply(&loose.join("\n")).await?;
    let bad = service("call", 5000).replace("port: 5000", "port: 70000");
    // The server needs a moment to use the new CRD.
    wait::until("a looser schema", BOUND, || async { town.apply(&bad).await.is_ok() }).await?;
    let found = condition(&town, "call", "Accepted").await?;
    println!("{}: {}", found.reason, found.message);
    ensure!((found.status.as_str(), found.reason.as_str()) == ("False", "Invalid"), "{found:?}");
    for part in ["spec.listeners[0].udp.port", "the previous version stays in force"] {
        ensure!(found.message.contains(part), "{found:?}");
    }
    town.apply(&service("other", 5001)).await?;
    listeners(&gateway, &["call", "other"], BOUND).await?;

    // A hub that never saw the valid version, and an agent that reconnects to it, remove nothing either.
    let target = SocketAddr::new(town.nodes[0].address(), 5000);
    let flow = Flow::to(target).sockets(4).rate(200).lasting(BOUND).start(town.bed.root())?;
    for _ in 0..2 {
        town.hub = None;
        town.nodes[0].agent = None;
        town.start_hub()?;
        town.start_agent(0)?;
        town.nodes[0].agent.as_mut().context("an agent")?.wait_log("fed by", BOUND)?;
        let late = service("late", 5002);
        town.apply(&late).await?;
        listeners(&gateway, &["call", "other", "late"], BOUND).await?;
        town.delete(&late).await?;
        listeners(&gateway, &["call", "other"], BOUND).await?;
    }
    let message = said(&town.client, "call", ("Programmed", "False"), BOUND).await?;
    ensure!(message.contains("keeps it") && message.contains("spec.listeners[0].udp.port"), "{message}");
    let report = flow.stop()?;
    println!("over two restarts of hub and agent with an invalid object: {report}");
    report.lossless()?;

    // An object that is valid again is served, and a deleted one is removed.
    town.apply(&service("call", 5003)).await?;
    println!("{}", said(&town.client, "call", ("Programmed", "True"), BOUND).await?);
    town.apply(&bad).await?;
    town.hub = None;
    town.start_hub()?;
    town.delete(&bad).await?;
    listeners(&gateway, &["other"], BOUND).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_that_starts_without_the_api_server_serves_nobody_and_takes_nothing_away() -> Result<()> {
    let mut town = Town::start(1).await?;
    town.gateways().await?;
    let worker = town.worker(1, 1, "app: worker", false).await?;
    let _echo = Echo::start(&worker.netns, "w", SocketAddr::new(worker.ip(), 10_000))?;
    town.apply(&service("steady", 5000)).await?;
    let gateway = town.nodes[0].gateway();
    listeners(&gateway, &["steady"], BOUND).await?;
    wait::until("the endpoint", BOUND, || async {
        gateway.clusters().await.is_ok_and(|text| text.contains(&format!("::{}:10000::", worker.ip())))
    })
    .await?;
    let target = SocketAddr::new(town.nodes[0].address(), 5000);
    let flow = Flow::to(target).sockets(4).rate(200).lasting(BOUND).start(town.bed.root())?;

    town.control.kill();
    town.hub = None;
    town.start_hub()?;
    let connected = wait::until("an agent that is served", QUIET, || async {
        town.hub.as_ref().is_some_and(|hub| hub.log().contains("agent connected"))
    });
    ensure!(connected.await.is_err(), "a hub that knows nothing served an agent");
    listeners(&gateway, &["steady"], BOUND).await?;

    town.control.revive().await?;
    town.apply(&service("later", 5001)).await?;
    listeners(&gateway, &["later", "steady"], BOUND).await?;
    let report = flow.stop()?;
    println!("over a hub's restart without the API server: {report}");
    report.lossless()?;
    for line in &report.lines {
        ensure!(line.upstreams().len() == 1, "sessions were made anew: {:?}", line.upstreams());
    }
    Ok(())
}

/// Returns the living Envoys.
fn envoys(town: &Town) -> BTreeSet<u32> {
    town.descendants_with("--base-id").into_iter().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_killed_at_any_step_of_a_proxy_s_life_leaves_exactly_what_is_wanted() -> Result<()> {
    let mut town = Town::start(1).await?;
    let _worker = town.worker(1, 1, "app: worker", false).await?;
    town.apply(&service("call", 5000)).await?;
    // The time differs in each round, from before the keeper starts until after Envoy is ready.
    for (round, moment) in [0, 15, 40, 70, 110, 160, 220, 300, 400, 600].into_iter().enumerate() {
        match round % 2 {
            0 => town.apply(GATEWAY).await?,
            _ => town.delete(GATEWAY).await?,
        }
        // The time of the kill is the test's parameter; no event is awaited.
        tokio::time::sleep(Duration::from_millis(moment)).await;
        town.nodes[0].agent = None;
        town.start_agent(0)?;
    }
    // The last round deleted the objects.
    wait::until("no Envoy and no keeper", BOUND, || async {
        envoys(&town).is_empty() && town.descendants_with(" keep ").is_empty()
    })
    .await
    .with_context(|| format!("left: {:?} {:?}", envoys(&town), town.descendants_with(" keep ")))?;
    let keepers = town.nodes[0].run_dir.join("keepers");
    wait::until("no keeper's directory", BOUND, || async {
        std::fs::read_dir(&keepers).is_ok_and(|entries| entries.count() == 0)
    })
    .await?;

    for moment in [0, 30, 90, 200, 400] {
        town.apply(GATEWAY).await?;
        tokio::time::sleep(Duration::from_millis(moment)).await;
        town.nodes[0].agent = None;
        town.start_agent(0)?;
    }
    listeners(&town.nodes[0].gateway(), &["call"], BOUND).await?;
    let before = envoys(&town);
    ensure!(before.len() == 1, "{before:?}");
    for port in 5001..5004 {
        town.nodes[0].agent = None;
        town.start_agent(0)?;
        town.apply(&service("call", port)).await?;
        wait::until(&format!("port {port}"), BOUND, || async {
            let found = town.nodes[0].gateway().listeners().await.unwrap_or_default();
            found.len() == 1 && found[0].1.ends_with(&format!(":{port}"))
        })
        .await?;
    }
    println!("15 kills in between, 3 after: the Envoys are {before:?}");
    ensure!(envoys(&town) == before, "another Envoy: {:?}", envoys(&town));
    Ok(())
}
