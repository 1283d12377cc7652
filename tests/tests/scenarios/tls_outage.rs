//! Listeners with TLS while the API server, the hub and the agent are gone or restarted: what runs stays in force, and a new
//! Envoy is not held up by a certificate that its agent does not have.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use portreeve_tests::banner::{Client, SERVER};
use portreeve_tests::certs::{Leaf, Signed};
use portreeve_tests::envoy::Admin;
use portreeve_tests::town::{BOUND, listeners};
use portreeve_tests::virtual_service::{Host, Service};
use portreeve_tests::wait;

use crate::tls::{Stage, all_live};

/// How often everything is killed.
const ROUNDS: usize = 3;
/// Less than the 15 s for which Envoy holds back its listeners if one lacks a secret.
const PROMPT: Duration = Duration::from_secs(10);

/// The parts that are killed.
#[derive(Clone, Copy, Debug)]
enum Part {
    ApiServer,
    Hub,
    Agent,
}

/// Kills a part.
fn kill(stage: &mut Stage, part: Part) -> Result<()> {
    match part {
        Part::ApiServer => stage.town.control.kill(),
        Part::Hub => stage.town.hub.take().context("no hub")?.kill(),
        Part::Agent => stage.town.nodes[0].agent.take().context("no agent")?.kill(),
    }
    Ok(())
}

/// Starts a part again.
async fn revive(stage: &mut Stage, part: Part) -> Result<()> {
    match part {
        Part::ApiServer => stage.town.control.revive().await,
        Part::Hub => stage.town.start_hub(),
        Part::Agent => stage.town.start_agent(0),
    }
}

/// Checks that the listener serves its certificate to new clients, and still has its old ones.
async fn serves(stage: &Stage, server: &Signed, own: &Signed, old: &mut [Client]) -> Result<()> {
    let client = stage.client(Some(own), false).await?.context("a new client is rejected")?;
    ensure!(client.server == server.der, "another certificate");
    ensure!(stage.client(None, false).await?.is_none(), "a client without a certificate is admitted");
    all_live(old).await
}

/// Waits until the agent has been connected to its Envoys again.
async fn agent_serves(stage: &mut Stage) -> Result<()> {
    let uid = stage.web.uid.clone();
    let agent = stage.town.nodes[0].agent.as_mut().context("no agent")?;
    agent.wait_log(&format!("proxy connected proxy=pod/{uid}"), BOUND).map(drop)
}

/// Waits until the disk has this many Plans. What the agent heard a moment before it is killed is on no disk.
async fn kept(stage: &Stage, plans: usize) -> Result<()> {
    wait::until("the Plans on the disk", BOUND, || async { stage.town.kept(0, "plan").len() == plans }).await
}

/// A plain listener of the pod's Envoy.
fn plain(port: u16) -> String {
    Service::new("plain", "app: web").udp("plain", port, &[Host::At("10.77.0.1")], 6000).yaml()
}

#[tokio::test(flavor = "multi_thread")]
async fn listener_and_certificate_stay_in_force_whatever_is_killed() -> Result<()> {
    let (mut stage, mut server) = Stage::open(&["alice.example"]).await?;
    let alice = stage.authority.sign("alice", &["alice.example"])?;
    let mut old = Vec::new();
    for _ in 0..10 {
        old.extend(stage.client(Some(&alice), false).await?);
    }
    let before = stage.counted("listener_manager.listener_modified").await?;
    kept(&stage, 1).await?;
    for round in 0..ROUNDS {
        for parts in
            [&[Part::ApiServer][..], &[Part::Hub], &[Part::Agent], &[Part::ApiServer, Part::Hub, Part::Agent]]
        {
            parts.iter().try_for_each(|part| kill(&mut stage, *part))?;
            serves(&stage, &server, &alice, &mut old).await?;
            if parts.len() > 1 {
                // The agent returns alone, without the secret.
                revive(&mut stage, Part::Agent).await?;
                agent_serves(&mut stage).await?;
                serves(&stage, &server, &alice, &mut old).await?;
                kill(&mut stage, Part::Agent)?;
            }
            for part in parts {
                revive(&mut stage, *part).await?;
            }
            serves(&stage, &server, &alice, &mut old).await?;
        }
        server = stage.rotate(&Leaf::new("web", &[SERVER])).await?;
        println!("round {round}: rotated after {:?}", stage.serves(&server, &alice).await?);
    }
    all_live(&mut old).await?;
    ensure!(stage.counted("listener_manager.listener_removed").await? == 0);
    ensure!(stage.counted("listener_manager.listener_modified").await? == before);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn restarted_agent_without_a_hub_holds_up_no_new_envoy_and_takes_nothing_from_a_running_one()
-> Result<()> {
    let (mut stage, server) = Stage::open(&["alice.example"]).await?;
    let alice = stage.authority.sign("alice", &["alice.example"])?;
    stage.town.apply(&plain(5100)).await?;
    listeners(&stage.web.admin, &["ingress", "plain"], BOUND).await?;
    stage.told("Programmed", "True", "").await?;
    kept(&stage, 2).await?;
    kill(&mut stage, Part::Hub)?;
    kill(&mut stage, Part::Agent)?;
    revive(&mut stage, Part::Agent).await?;
    agent_serves(&mut stage).await?;
    // Another Envoy in the same pod, which the agent knows as the same proxy.
    let (old, at) = (stage.web.envoy.take(), stage.town.dir().join("first.admin"));
    std::fs::rename(stage.town.dir().join(format!("{}.admin", stage.web.name)), &at)?;
    let begun = Instant::now();
    stage.town.start_sidecar_as(&mut stage.web, 0, "web")?;
    listeners(&stage.web.admin, &["plain"], PROMPT).await?;
    stage.web.admin.wait_ready(PROMPT).await?;
    println!("a new Envoy is ready after {:?}", begun.elapsed());
    listeners(&Admin::new(&at), &["ingress", "plain"], PROMPT).await?;
    ensure!(stage.client(Some(&alice), false).await?.is_some_and(|client| client.server == server.der));
    revive(&mut stage, Part::Hub).await?;
    listeners(&stage.web.admin, &["ingress", "plain"], BOUND).await?;
    drop(old);
    wait::until("the new Envoy's listener", BOUND, || stage.admits(&alice)).await
}
