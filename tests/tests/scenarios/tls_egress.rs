//! An EgressListener of one pod to the IngressListener of another: both sides verify each other by their own Secrets.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Result, ensure};
use portreeve_api::d::CLUSTER_NAME_ANNOTATION;
use portreeve_tests::banner::{Client, SERVER, connect};
use portreeve_tests::certs::{Authority, Leaf, Signed};
use portreeve_tests::town::{BOUND, Worker, listeners};
use portreeve_tests::wait;
use serde_json::json;

use crate::tls::{LISTEN, Stage, secret};

/// The port of the EgressListener.
const EGRESS: u16 = 9090;
/// The Secret of the client.
const OWN: &str = "bob-tls";

fn egress(names: &[&str]) -> String {
    json!({
        "apiVersion": "egresslistener.envoy.uw.systems/v1alpha1",
        "kind": "EgressListener",
        "metadata": {"name": "to-web", "namespace": "default"},
        "spec": {
            "nodename": "bob", "listenport": EGRESS, "target": {"cluster": "web", "port": LISTEN},
            "tls": {"secret": OWN, "sans": names},
        },
    })
    .to_string()
}

/// Connects as an application beside the client's Envoy. Returns whether the server's application answers.
async fn reaches(bob: &Worker) -> Result<bool> {
    let stream = connect(&bob.netns, SocketAddr::new(Ipv4Addr::LOCALHOST.into(), EGRESS))?;
    match Client::plain(stream).await? {
        Some(mut client) => Ok(client.lives().await),
        None => Ok(false),
    }
}

async fn becomes(bob: &Worker, reached: bool) -> Result<()> {
    let looks = || async { reaches(bob).await.is_ok_and(|now| now == reached) };
    wait::until(&format!("the server is reached: {reached}"), BOUND, looks).await
}

/// Returns the sum of the counters of the client's Envoy with this ending.
async fn counted(bob: &Worker, ending: &str) -> Result<u64> {
    let stats = bob.admin.stats().await?;
    Ok(stats.iter().filter(|(name, _)| name.ends_with(ending)).map(|(_, count)| count).sum())
}

#[tokio::test(flavor = "multi_thread")]
async fn client_and_server_verify_each_other_by_their_own_secrets() -> Result<()> {
    let (stage, _) = Stage::open(&["bob.example"]).await?;
    stage.web.annotate(CLUSTER_NAME_ANNOTATION, Some("web")).await?;
    let town = &stage.town;
    let mut bob = town.worker(1, 2, "app: bob", false).await?;
    town.start_sidecar_as(&mut bob, 0, "bob")?;
    let own = stage.authority.issue(&Leaf { rsa: true, ..Leaf::new("bob", &["bob.example"]) })?;
    let keep = |pair: &Signed, authority: &Authority| secret(OWN, Some(pair), Some(authority));
    town.apply(&keep(&own, &stage.authority)).await?;
    town.apply(&egress(&[])).await?;
    listeners(&bob.admin, &["egress"], BOUND).await?;
    becomes(&bob, true).await?;

    // The client does not believe a server of another authority.
    let reached = stage.application.accepted();
    town.apply(&keep(&own, &Authority::new("other")?)).await?;
    becomes(&bob, false).await?;
    ensure!(counted(&bob, ".ssl.fail_verify_error").await? > 0, "it is not counted");
    town.apply(&keep(&own, &stage.authority)).await?;
    becomes(&bob, true).await?;

    // Nor a server without the name that the object asks for.
    town.apply(&egress(&["elsewhere.example"])).await?;
    becomes(&bob, false).await?;
    ensure!(counted(&bob, ".ssl.fail_verify_san").await? > 0, "it is not counted");
    town.apply(&egress(&[SERVER])).await?;
    becomes(&bob, true).await?;

    // The server does not believe a client of another name.
    let mallory = stage.authority.sign("bob", &["mallory.example"])?;
    town.apply(&keep(&mallory, &stage.authority)).await?;
    becomes(&bob, false).await?;
    ensure!(stage.counted(".ssl.fail_verify_san").await? > 0, "it is not counted");
    println!("{} connections reached the application", stage.application.accepted() - reached);
    Ok(())
}
