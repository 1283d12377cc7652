//! How often statuses are written in objects' normal lives, counted by a watch. Times are printed, and nothing depends on
//! them.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use portreeve_api::a::virtual_service::VirtualService;
use portreeve_tests::process::usage;
use portreeve_tests::town::{BOUND, Town};
use portreeve_tests::virtual_service::{Host, Service};
use portreeve_tests::writes::{Write, Writes};
use serde_json::{Value, json};

/// Number of objects that are created and edited at once.
const MANY: u16 = 500;

/// Number of objects that are created and edited one after the other.
const FEW: u16 = 8;

/// Number of concurrent requests of the test. The hub writes as many statuses at once.
const AT_ONCE: usize = 16;

/// Long, because the machine may be busy.
const LONG: Duration = Duration::from_secs(120);

type Services = Api<VirtualService>;

/// The writes of each object.
type Found = BTreeMap<String, Vec<Write>>;

/// Returns an object with a UDP listener for the gateways. `to` is the port of its endpoint.
fn mk_service(name: &str, port: u16, to: u16) -> Result<VirtualService> {
    let service = Service::new(name, "app: envoy-ingress").udp("l", port, &[Host::At("10.9.9.9")], to);
    Ok(VirtualService::parse(serde_yaml::from_str(&service.yaml())?)?.0)
}

/// Returns names with a listener port for each.
fn named(count: u16) -> BTreeMap<String, u16> {
    (0..count).map(|number| (format!("call-{number:03}"), 5000 + number)).collect()
}

async fn create(services: &Services, name: &str, port: u16) -> Result<()> {
    services.create(&PostParams::default(), &mk_service(name, port, 6000)?).await?;
    Ok(())
}

async fn edit(services: &Services, name: &str, port: u16) -> Result<()> {
    let patch = Patch::Merge(json!({"spec": mk_service(name, port, 6001)?.spec}));
    services.patch(name, &PatchParams::default(), &patch).await?;
    Ok(())
}

/// Does this to all objects, several at once. Returns the time that it takes.
async fn at_once<'a, F: Future<Output = Result<()>>>(
    all: &'a BTreeMap<String, u16>,
    work: impl Fn(&'a str, u16) -> F,
) -> Result<Duration> {
    let begun = Instant::now();
    let works = stream::iter(all).map(|(name, port)| work(name, *port));
    works.buffer_unordered(AT_ONCE).try_collect::<()>().await?;
    Ok(begun.elapsed())
}

/// Writes a status of the same size to each object, and returns the time that it takes.
async fn write_directly(services: &Services, found: &Found) -> Result<Duration> {
    let begun = Instant::now();
    let patched = stream::iter(found).map(|(name, all)| async move {
        let mut status = all.last().map_or(Value::Null, |last| last.status.clone());
        status["conditions"][0]["message"] = "Another message.".into();
        let patch = Patch::Merge(json!({"status": status}));
        services.patch_status(name, &PatchParams::default(), &patch).await?;
        anyhow::Ok(())
    });
    patched.buffer_unordered(AT_ONCE).try_collect::<()>().await?;
    Ok(begun.elapsed())
}

/// Prints the processor time of hub, agent and API server so far.
fn tell_usage(town: &mut Town, when: &str) -> Result<()> {
    let hub = town.hub.as_ref().context("a hub")?.usage()?.cpu;
    let agent = usage(town.nodes[0].agent.as_ref().context("an agent")?.pid())?.cpu;
    let server = town.control.apiserver().context("an API server")?.usage()?.cpu;
    println!("processor time {when}: hub {hub:?}, agent {agent:?}, API server {server:?}");
    Ok(())
}

/// Prints when the objects were programmed in their last generation, and how many writes that took.
fn tell(what: &str, found: &Found, (begun, requests): (Instant, Duration), generation: i64) {
    let current = || found.values().map(|all| all.iter().filter(|one| one.generation == generation));
    let last = current().filter_map(Iterator::last);
    let mut ends: Vec<(Duration, Duration)> = last.map(|one| (one.at - begun, one.age)).collect();
    ends.sort();
    let (half, end) = (ends[ends.len() / 2], ends[ends.len() - 1]);
    let single = current().filter(|all| all.clone().count() == 1).count();
    let number: usize = current().map(Iterator::count).sum();
    println!(
        "{} objects {what} in {requests:?}: half Programmed after {:?} ({:?} after its own change), the last after {:?} \
         ({:?}); {number} writes, {single} objects had one",
        found.len(),
        half.0,
        half.1,
        end.0,
        end.1
    );
}

/// Checks that each generation of an object got one status, or two if the first one was Pending.
fn few(found: &Found) -> Result<()> {
    for (name, all) in found {
        for generation in all.chunk_by(|one, next| one.generation == next.generation) {
            let reasons: Vec<_> =
                generation.iter().map(|one| one.says("Programmed").map(|said| said.1)).collect();
            let expected =
                matches!(reasons[..], [Some("Programmed")] | [Some("Pending"), Some("Programmed")]);
            ensure!(expected, "{name}: {reasons:?}: {all:#?}");
        }
    }
    Ok(())
}

/// Checks that no status of new objects told a second too early that proxies have yet to answer.
async fn not_too_early(services: &Services, found: &Found) -> Result<()> {
    for (name, all) in found {
        let Some(first) =
            all.first().filter(|one| one.says("Programmed").is_some_and(|said| said.1 == "Pending"))
        else {
            continue;
        };
        let created = services.get(name).await?.metadata.creation_timestamp.context("a time")?.0;
        let since = first.since("Programmed").context("a time")?.parse::<Timestamp>()?;
        // Both are in whole seconds.
        ensure!(since.as_second() > created.as_second(), "{name}: {created} to {since}: {all:#?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn object_gets_one_status_for_each_generation_and_a_new_hub_writes_none_again() -> Result<()> {
    let mut town = Town::start(1).await?;
    town.gateways().await?;
    let services = Services::namespaced(town.client.clone(), "default");
    let (writes, objects) = (Writes::of(&town.client), named(FEW));
    for (name, port) in &objects {
        create(&services, name, *port).await?;
        writes.programmed(&[name], 1, BOUND).await?;
        edit(&services, name, *port).await?;
        writes.programmed(&[name], 2, BOUND).await?;
    }
    let names: Vec<&String> = objects.keys().collect();
    let found = writes.programmed(&names, 2, BOUND).await?;
    few(&found)?;
    not_too_early(&services, &found).await?;
    let number: usize = found.values().map(Vec::len).sum();
    println!("{FEW} objects with two generations each: {number} writes");
    // A busy machine may be late with some answers.
    ensure!(number < 3 * usize::from(FEW), "{number} writes: {found:#?}");
    town.hub = None;
    town.start_hub()?;
    create(&services, "after", 4000).await?;
    println!("{:?}", writes.programmed(&[&"after".to_owned()], 1, LONG).await?);
    let again: usize = writes.programmed(&names, 2, BOUND).await?.values().map(Vec::len).sum();
    ensure!(again == number, "the new hub wrote {} statuses", again - number);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn hundreds_of_objects_at_once_get_at_most_two_statuses_each() -> Result<()> {
    let mut town = Town::start(1).await?;
    town.gateways().await?;
    let services = Services::namespaced(town.client.clone(), "default");
    let (writes, objects) = (Writes::of(&town.client), named(MANY));
    let names: Vec<&String> = objects.keys().collect();
    // Hub and node are in a steady state.
    create(&services, "first", 4000).await?;
    writes.programmed(&[&"first".to_owned()], 1, BOUND).await?;
    tell_usage(&mut town, "at first")?;
    let begun = Instant::now();
    let requests = at_once(&objects, |name, port| create(&services, name, port)).await?;
    let found = writes.programmed(&names, 1, LONG).await?;
    tell("created", &found, (begun, requests), 1);
    not_too_early(&services, &found).await?;
    tell_usage(&mut town, "after them")?;
    let begun = Instant::now();
    let requests = at_once(&objects, |name, port| edit(&services, name, port)).await?;
    let found = writes.programmed(&names, 2, LONG).await?;
    tell("edited", &found, (begun, requests), 2);
    tell_usage(&mut town, "after the edits")?;
    few(&found)?;
    // Without the hub, which would restore its own statuses.
    town.hub = None;
    let alone = write_directly(&services, &found).await?;
    println!("the API server takes {alone:?} for {MANY} statuses alone, {AT_ONCE} at a time");
    Ok(())
}
