//! Workers of the l7mp mesh that die during a call, or join.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use portreeve_tests::json_socket::Transcoder;
use portreeve_tests::town::Town;
use portreeve_tests::wait;
use serde_json::json;

use crate::mesh::{Pod, User, call, join, object, programmed, second_example};

/// The interval of the health check, plus a second.
const MOVED: Duration = Duration::from_secs(2);
/// The longest silence that is waited for.
const LONG: Duration = Duration::from_secs(20);
/// Number of listeners that a worker has besides those of the example, so that its configuration takes longer than its first
/// health check.
const MORE: u16 = 150;
/// Pause between two datagrams of a user.
const PAUSE: Duration = Duration::from_millis(20);

#[tokio::test(flavor = "multi_thread")]
async fn call_of_a_worker_that_dies_goes_on_at_another() -> Result<()> {
    let town = Town::start(2).await?;
    let gateways =
        [Pod::start(&town, 1, 1, "app: gateway").await?, Pod::start(&town, 2, 1, "app: gateway").await?];
    let mut workers =
        [Pod::start(&town, 1, 2, "app: worker").await?, Pod::start(&town, 2, 2, "app: worker").await?];
    let local = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 19_001);
    let transcoders = workers.iter().map(|pod| Transcoder::start(&pod.worker.netns, local, "t:"));
    let transcoders = transcoders.collect::<Result<Vec<_>>>()?;
    let (a, b) = (User::new(&town, 8001)?, User::new(&town, 8002)?);
    let calls = [("user-a", 8001), ("user-b", 8002)].map(|(name, port)| call(&town, name, port)).concat();
    // A session whose endpoint refuses waits for the timeout of its route, whatever the endpoints are meanwhile.
    town.apply(&[second_example(20, 250), calls].concat()).await?;
    programmed(&town, &["worker-vsvc", "user-a", "user-b"], &["worker-target", "sync-target"]).await?;
    let (to_a, to_b) = (gateways[0].at(8001), gateways[1].at(8002));
    join((&a, to_a), (&b, to_b))?;
    b.hear_all(Duration::from_millis(500))?;

    let has_it = |of: &Transcoder| !of.headers().is_empty();
    let dead = transcoders.iter().position(has_it).context("no worker has the call")?;
    let spare = &transcoders[1 - dead];
    ensure!(!has_it(spare), "both workers have the call");
    workers[dead].proxy.process().kill();
    let (begun, mut number) = (Instant::now(), 0);
    let silence = loop {
        a.send(to_a, &format!("A{number}"))?;
        // Its session moves too.
        b.send(to_b, &format!("B{number}"))?;
        number += 1;
        let heard = b.hear_all(PAUSE)?;
        if has_it(spare) && heard.iter().any(|text| text.starts_with("t:A")) {
            break begun.elapsed();
        }
        ensure!(begun.elapsed() < LONG, "B hears nothing after {LONG:?}");
    };
    println!("A is heard again {silence:.2?} after the worker's death");
    ensure!(silence <= MOVED, "{silence:.2?}, {MOVED:?} are allowed");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn worker_that_joins_is_no_endpoint_before_it_has_all_of_its_rules() -> Result<()> {
    let town = Town::start(2).await?;
    let gateway = Pod::start(&town, 1, 1, "app: gateway").await?;
    let first = Pod::start(&town, 1, 2, "app: worker").await?;
    let more = (0..MORE).map(|number| {
        let spec = json!({
            "selector": {"matchLabels": {"app": "worker"}},
            "udp": {"port": 20_000 + number},
            "rules": [{"action": {"route": {"destination": "sync-target"}}}],
        });
        object("VirtualService", &format!("more-{number}"), spec)
    });
    let more: String = more.collect();
    town.apply(&[second_example(3, 2000), call(&town, "user-a", 8001), more].concat()).await?;
    let last = format!("more-{}", MORE - 1);
    programmed(&town, &["worker-vsvc", "user-a", "more-0", &last], &["worker-target", "sync-target"]).await?;
    let whole = first.proxy.names("listeners").await?.len();
    ensure!(whole > usize::from(MORE), "{whole} listeners");

    let mut second = Pod::start(&town, 2, 1, "app: worker").await?;
    joins(&gateway, &second, whole).await?;
    // A proxy that starts again in its pod has lost its rules.
    second.proxy.process().kill();
    wait::until("the gateway to use one worker", MOVED, || async {
        !has_two(&gateway).await.unwrap_or(true)
    })
    .await?;
    second.proxy.restart()?;
    joins(&gateway, &second, whole).await
}

/// Returns whether two workers are endpoints of the gateway.
async fn has_two(gateway: &Pod) -> Result<bool> {
    let clusters = gateway.proxy.get("clusters").await?;
    Ok(clusters.as_array().is_some_and(|all| all.iter().any(|one| one["endpoints"] == 2)))
}

/// Waits until the worker is the gateway's second endpoint. It must then have this number of listeners.
async fn joins(gateway: &Pod, worker: &Pod, whole: usize) -> Result<()> {
    let (begun, mut partial) = (Instant::now(), 0);
    loop {
        let is_endpoint = has_two(gateway).await?;
        let listeners = worker.proxy.names("listeners").await.map_or(0, |names| names.len());
        if is_endpoint {
            ensure!(listeners == whole, "an endpoint with {listeners} of {whole} listeners");
            break;
        }
        partial += usize::from((2..whole).contains(&listeners));
        ensure!(begun.elapsed() < LONG, "no endpoint after {LONG:?}, with {listeners} of {whole} listeners");
    }
    ensure!(partial > 0, "nobody looked while the worker had a part of its rules");
    println!("endpoint after {:.2?}, {partial} looks at a part of its rules", begun.elapsed());
    Ok(())
}
