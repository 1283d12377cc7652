//! Hundreds of calls are created and deleted by several concurrent writers in the way of the API's own users: created
//! without a finalizer, with `l7mp.io/delete` added right before the deletion. Afterwards nothing is left of them.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures::future::try_join_all;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use portreeve_api::a::virtual_service::VirtualService;
use portreeve_tests::call::{PIPES, Side};
use portreeve_tests::envoy::Admin;
use portreeve_tests::process::{Process, Usage};
use portreeve_tests::town::{BOUND, Town, Worker, listeners};
use portreeve_tests::wait;
use serde_json::json;

/// Total number of calls.
const CALLS: u16 = 500;
/// Number of writers.
const WRITERS: u16 = 8;
/// Minimum number of calls created, and deleted, per second. Measured: 23 and 10 on two busy cores.
const RATE: f64 = 3.0;
/// The finalizer that old clients add right before they delete an object.
const FINALIZER: &str = "l7mp.io/delete";
/// Timeout for events that depend on a thousand objects.
const LONG: Duration = Duration::from_secs(90);
/// Maximum resident memory of hub and agent, in KiB. The programs under test are not optimized.
const MEMORY: u64 = 200 << 10;

type Services = Api<VirtualService>;

/// Both sides of a call: at the gateway and at the worker's sidecar.
fn sides(call: &str, number: u16) -> [Side<'_>; 2] {
    let (outer, inner) = (20_000 + number * PIPES, 30_000 + number * PIPES);
    let ingress = Side {
        name: "ingress",
        call,
        app: "envoy-ingress",
        host: "selector: {app: worker}",
        listen: outer,
        forward: inner,
        health_port: Some(1233),
    };
    let sidecar = Side {
        name: "worker",
        app: "worker",
        host: "address: 127.0.0.1",
        listen: inner,
        forward: 10_000,
        ..ingress
    };
    [ingress, sidecar]
}

/// One writer's step with one call.
async fn create(services: &Services, number: u16) -> Result<()> {
    let call = format!("c{number}");
    for side in sides(&call, number) {
        services.create(&PostParams::default(), &side.object()?).await?;
    }
    Ok(())
}

async fn delete(services: &Services, number: u16) -> Result<()> {
    let call = format!("c{number}");
    for side in sides(&call, number) {
        delete_by_protocol(services, &format!("{}-{}", side.name, side.call)).await?;
    }
    Ok(())
}

async fn delete_by_protocol(services: &Services, name: &str) -> Result<()> {
    let patch = Patch::Merge(json!({"metadata": {"finalizers": [FINALIZER]}}));
    services.patch(name, &PatchParams::default(), &patch).await?;
    services.delete(name, &DeleteParams::default()).await?;
    Ok(())
}

/// Runs all writers concurrently. Each handles its own calls one after the other.
async fn write<F: Future<Output = Result<()>>>(work: impl Fn(u16) -> F) -> Result<Duration> {
    let begun = Instant::now();
    let work = &work;
    let writer = |first: u16| async move {
        for number in (first..CALLS).step_by(usize::from(WRITERS)) {
            work(number).await.with_context(|| format!("call {number}"))?;
        }
        anyhow::Ok(())
    };
    try_join_all((0..WRITERS).map(writer)).await?;
    Ok(begun.elapsed())
}

/// Waits until a proxy has this number of listeners, and prints the time since `since`.
async fn count(admin: &Admin, wanted: usize, since: Instant) -> Result<Duration> {
    wait::until(&format!("{wanted} listeners"), LONG, || async {
        admin.listeners().await.is_ok_and(|found| found.len() == wanted)
    })
    .await?;
    Ok(since.elapsed())
}

async fn left(services: &Services) -> Result<Vec<String>> {
    Ok(services.list(&ListParams::default()).await?.into_iter().map(|object| object.name_any()).collect())
}

/// Checks that a proxy has only the resources of its bootstrap.
async fn nothing_left(admin: &Admin) -> Result<()> {
    let listeners = admin.listeners().await?;
    ensure!(listeners.is_empty(), "{listeners:?}");
    let clusters = admin.clusters().await?;
    let others: Vec<&str> = clusters.lines().filter(|line| !line.starts_with("xds::")).collect();
    ensure!(others.is_empty(), "{others:?}");
    let dump = admin.config_dump().await?;
    let named = named_in(&dump, "");
    ensure!(
        named.is_empty(),
        "the configuration still names calls: {} times, {:?}",
        named.len(),
        &named[..1]
    );
    Ok(())
}

/// Returns the paths in a dump that contain calls.
fn named_in(dump: &serde_json::Value, place: &str) -> Vec<String> {
    use serde_json::Value;
    match dump {
        Value::String(text) if text.contains("A/default/") => vec![format!("{place}={text}")],
        Value::Array(items) => items.iter().flat_map(|item| named_in(item, &format!("{place}[]"))).collect(),
        Value::Object(fields) => {
            fields.iter().flat_map(|(name, field)| named_in(field, &format!("{place}.{name}"))).collect()
        }
        _ => Vec::new(),
    }
}

fn usage(name: &str, process: Option<&mut Process>) -> Result<Usage> {
    let process = process.with_context(|| format!("no {name}"))?;
    ensure!(process.is_running(), "the {name} ended");
    let usage = process.usage()?;
    let (now, peak, cpu) = (usage.resident >> 10, usage.peak >> 10, usage.cpu);
    println!("{name}: {now} MiB resident, {peak} MiB at most, {cpu:.1?} of CPU");
    ensure!(usage.peak < MEMORY, "the {name} took {} KiB", usage.peak);
    Ok(usage)
}

/// Checks that the writers were fast enough: the programs had several changes a second to handle.
fn several_a_second(what: &str, took: Duration) -> Result<()> {
    let rate = f64::from(CALLS) / took.as_secs_f64();
    ensure!(rate > RATE, "only {rate:.1} calls were {what} in a second");
    Ok(())
}

async fn come_and_go(services: &Services, gateway: &Admin, worker: &Worker) -> Result<()> {
    let wanted = usize::from(CALLS * PIPES);
    let took = write(|number| create(services, number)).await?;
    let last = Instant::now();
    println!("{CALLS} calls created in {took:.1?}");
    several_a_second("created", took)?;
    let (outer, inner) = tokio::try_join!(count(gateway, wanted, last), count(&worker.admin, wanted, last))?;
    println!("last create to all {wanted} listeners: gateway {outer:.2?}, sidecar {inner:.2?}");

    let took = write(|number| delete(services, number)).await?;
    let last = Instant::now();
    println!("{CALLS} calls deleted in {took:.1?}");
    several_a_second("deleted", took)?;
    let (outer, inner) = tokio::try_join!(count(gateway, 0, last), count(&worker.admin, 0, last))?;
    println!("last delete to no listener: gateway {outer:.2?}, sidecar {inner:.2?}");
    wait::until("an empty API", LONG, || async { left(services).await.is_ok_and(|left| left.is_empty()) })
        .await?;
    println!("last delete to an empty API: {:.2?}", last.elapsed());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_deleted_by_the_old_protocol_leave_nothing_behind() -> Result<()> {
    let mut town = Town::start(1).await?;
    town.gateways().await?;
    let worker = town.worker(1, 1, "app: worker", true).await?;
    worker.admin.wait_ready(BOUND).await?;
    let services = Services::namespaced(town.client.clone(), "default");
    let gateway = town.nodes[0].gateway();
    come_and_go(&services, &gateway, &worker).await?;
    // Clusters are removed after their listeners.
    for admin in [&gateway, &worker.admin] {
        let gone = || async { nothing_left(admin).await.is_ok() };
        wait::until("a proxy without calls", BOUND, gone).await.or(nothing_left(admin).await)?;
    }
    usage("hub", town.hub.as_mut())?;
    usage("agent", town.nodes[0].agent.as_mut())?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_carries_the_finalizer_from_its_creation_is_served_until_it_is_deleted() -> Result<()>
{
    let town = Town::start(1).await?;
    town.gateways().await?;
    let services = Services::namespaced(town.client.clone(), "default");
    let [side, _] = sides("c1", 1);
    let mut object = side.object()?;
    object.metadata.finalizers = Some(vec![FINALIZER.into(), "example.org/other".into()]);
    services.create(&PostParams::default(), &object).await?;
    let names = side.listeners();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    listeners(&town.nodes[0].gateway(), &names, BOUND).await?;

    services.delete("ingress-c1", &DeleteParams::default()).await?;
    listeners(&town.nodes[0].gateway(), &[], BOUND).await?;
    let theirs = || async {
        let found = services.get("ingress-c1").await;
        found.is_ok_and(|object| object.finalizers() == ["example.org/other"])
    };
    wait::until("the finalizer of others alone", BOUND, theirs).await?;
    let patch = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    services.patch("ingress-c1", &PatchParams::default(), &patch).await?;
    wait::until("an empty API", BOUND, || async { left(&services).await.is_ok_and(|left| left.is_empty()) })
        .await
}
