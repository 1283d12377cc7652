//! IngressListeners and EgressListeners on the Envoys that announce their `nodename`: who gets them, what flows
//! through them, and who is refused.

use std::io::{Read as _, Write as _};
use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use portreeve_api::d::CLUSTER_NAME_ANNOTATION;
use portreeve_api::pod::PROXY_NAME_ANNOTATION;
use portreeve_tests::greeter::greeting;
use portreeve_tests::health_port::HealthPort;
use portreeve_tests::node_names::{
    EGRESS, INGRESS, answer, answers, application, egress, ingress, loopback, member, only,
};
use portreeve_tests::town::{BOUND, Town, Worker, listeners, serving_at};
use portreeve_tests::wait;

#[tokio::test(flavor = "multi_thread")]
async fn pods_of_the_allowed_cluster_reach_the_application_and_others_not_a_byte() -> Result<()> {
    let town = Town::start(2).await?;
    town.apply(&ingress("bob", "alice")).await?;
    town.apply(&egress("alice", "bob")).await?;
    let bob = member(&town, (1, 1), "bob").await?;
    let alice = member(&town, (2, 1), "alice").await?;
    let carol = member(&town, (2, 2), "carol").await?;
    let served = application(&bob)?;
    listeners(&bob.admin, &["ingress"], BOUND).await?;
    listeners(&alice.admin, &["egress"], BOUND).await?;
    listeners(&carol.admin, &[], BOUND).await?;
    answers(&alice, loopback(EGRESS), &bob.name)?;
    answers(&alice, SocketAddr::new(bob.ip(), INGRESS), &bob.name)?;
    let before = served.accepted();
    for _ in 0..20 {
        ensure!(answer(&carol, SocketAddr::new(bob.ip(), INGRESS))?.is_empty(), "carol was served");
        ensure!(answer(&carol, loopback(EGRESS))?.is_empty(), "carol has no EgressListener");
    }
    ensure!(served.accepted() == before, "the application saw a connection of carol's");
    // Membership follows the annotation.
    carol.annotate(CLUSTER_NAME_ANNOTATION, Some("alice")).await?;
    answers(&carol, SocketAddr::new(bob.ip(), INGRESS), &bob.name)?;
    carol.annotate(CLUSTER_NAME_ANNOTATION, None).await?;
    answers(&carol, SocketAddr::new(bob.ip(), INGRESS), "")?;
    answers(&alice, loopback(EGRESS), &bob.name)
}

#[tokio::test(flavor = "multi_thread")]
async fn nodename_is_what_the_pods_envoy_announces_or_its_annotation_says() -> Result<()> {
    let town = Town::start(1).await?;
    ensure!(town.cgroups.is_some(), "an announced name is used only where the kernel identifies the pod");
    town.apply(&ingress("bob", "alice")).await?;
    let first = member(&town, (1, 1), "bob").await?;
    let second = member(&town, (1, 2), "bob").await?;
    let mut other = member(&town, (1, 3), "other").await?;
    for bob in [&first, &second] {
        listeners(&bob.admin, &["ingress"], BOUND).await?;
    }
    listeners(&other.admin, &[], BOUND).await?;
    other.annotate(PROXY_NAME_ANNOTATION, Some("bob")).await?;
    listeners(&other.admin, &["ingress"], BOUND).await?;
    other.annotate(PROXY_NAME_ANNOTATION, None).await?;
    listeners(&other.admin, &[], BOUND).await?;
    // The pod's Envoy is started again with another name.
    other.envoy = None;
    town.start_sidecar_as(&mut other, 0, "bob")?;
    listeners(&other.admin, &["ingress"], BOUND).await
}

#[tokio::test(flavor = "multi_thread")]
async fn egress_listener_stays_without_pods_and_follows_their_readiness() -> Result<()> {
    let town = Town::start(1).await?;
    town.apply(&ingress("bob", "alice")).await?;
    town.apply(&egress("alice", "bob")).await?;
    let alice = member(&town, (1, 1), "alice").await?;
    listeners(&alice.admin, &["egress"], BOUND).await?;
    ensure!(answer(&alice, loopback(EGRESS))?.is_empty(), "nobody is there yet");
    let first = member(&town, (1, 2), "bob").await?;
    let _first = application(&first)?;
    answers(&alice, loopback(EGRESS), &first.name)?;
    let second = member(&town, (1, 3), "bob").await?;
    let _second = application(&second)?;
    answers(&alice, loopback(EGRESS), &second.name)?;
    first.set_ready(false).await?;
    only(&alice, EGRESS, &second)?;
    first.set_ready(true).await?;
    answers(&alice, loopback(EGRESS), &first.name)?;
    second.terminate().await?;
    only(&alice, EGRESS, &first)?;
    first.remove().await?;
    second.remove().await?;
    answers(&alice, loopback(EGRESS), "")?;
    listeners(&alice.admin, &["egress"], BOUND).await
}

#[tokio::test(flavor = "multi_thread")]
async fn pod_whose_health_check_fails_gets_no_connection_until_it_succeeds() -> Result<()> {
    const HEALTH: u16 = 7000;
    let town = Town::start(2).await?;
    town.apply(&ingress("bob", "alice")).await?;
    let checked = egress("alice", "bob").replace(
        "target:",
        &format!("health_check: {{interval: 500, protocol: TCP, port: {HEALTH}}}, target:"),
    );
    town.apply(&checked).await?;
    let alice = member(&town, (1, 1), "alice").await?;
    let (first, second) = (member(&town, (1, 2), "bob").await?, member(&town, (2, 1), "bob").await?);
    let _applications = [application(&first)?, application(&second)?];
    let open = |worker: &Worker| HealthPort::open(&worker.netns, SocketAddr::new(worker.ip(), HEALTH));
    let (healthy, _second) = (open(&first)?, open(&second)?);
    answers(&alice, loopback(EGRESS), &first.name)?;
    answers(&alice, loopback(EGRESS), &second.name)?;
    drop(healthy);
    only(&alice, EGRESS, &second)?;
    let _healthy = open(&first)?;
    answers(&alice, loopback(EGRESS), &first.name)
}

#[tokio::test(flavor = "multi_thread")]
async fn listener_stays_while_agent_and_hub_are_killed_and_started_again() -> Result<()> {
    let mut town = Town::start(1).await?;
    town.apply(&ingress("bob", "alice")).await?;
    town.apply(&egress("alice", "bob")).await?;
    let bob = member(&town, (1, 1), "bob").await?;
    let alice = member(&town, (1, 2), "alice").await?;
    let _served = application(&bob)?;
    answers(&alice, loopback(EGRESS), &bob.name)?;
    let (_, mut connection) = greeting(&alice.netns, loopback(EGRESS))?.context("bob is gone")?;
    for round in 0..2 {
        // In the second round, the hub knows the names from the agent alone before the Envoys are connected.
        town.nodes[0].agent = None;
        if round == 1 {
            town.hub = None;
            town.start_hub()?;
        }
        town.start_agent(0)?;
        let back = || async { answer(&alice, loopback(EGRESS)).is_ok_and(|name| name == bob.name) };
        wait::until("bob", BOUND, back).await?;
        let third = member(&town, (1, 3 + round), "bob").await?;
        let other = application(&third)?;
        answers(&alice, loopback(EGRESS), &third.name)?;
        third.remove().await?;
        drop(other);
    }
    for worker in [&alice, &bob] {
        let removed = worker.admin.stat("listener_manager.listener_removed").await?;
        let modified = worker.admin.stat("listener_manager.listener_modified").await?;
        ensure!((removed, modified) == (0, 0), "{}: {removed} removed, {modified} modified", worker.name);
    }
    connection.write_all(b"still there\n")?;
    let mut line = [0; 12];
    connection.read_exact(&mut line)?;
    ensure!(&line == b"still there\n", "{line:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn each_of_two_hubs_knows_the_names_when_the_other_is_killed() -> Result<()> {
    let mut town = Town::without_portreeve(1).await?;
    town.start_hub()?;
    let mut other = town.spawn_hub("other", None)?;
    let elsewhere = serving_at(&mut other)?;
    town.agent_args = vec!["--hub".into(), format!("https://{elsewhere}")];
    town.start_agent(0)?;
    town.apply(&ingress("bob", "alice")).await?;
    town.apply(&egress("alice", "bob")).await?;
    let bob = member(&town, (1, 1), "bob").await?;
    let alice = member(&town, (1, 2), "alice").await?;
    let _served = application(&bob)?;
    answers(&alice, loopback(EGRESS), &bob.name)?;
    town.hub = None;
    let second = member(&town, (1, 3), "bob").await?;
    let _second = application(&second)?;
    answers(&alice, loopback(EGRESS), &second.name)?;
    town.start_hub()?;
    other.kill();
    let third = member(&town, (1, 4), "bob").await?;
    let _third = application(&third)?;
    answers(&alice, loopback(EGRESS), &third.name)?;
    for worker in [&alice, &bob] {
        let removed = worker.admin.stat("listener_manager.listener_removed").await?;
        ensure!(removed == 0, "{}: {removed} removed", worker.name);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn object_without_a_proxy_of_its_name_says_so() -> Result<()> {
    let town = Town::start(1).await?;
    town.apply(&ingress("bob", "alice")).await?;
    let _other = member(&town, (1, 1), "other").await?;
    let told = || async {
        let found = condition(&town, "Programmed").await.unwrap_or_default();
        found.contains("no connected Envoy of a pod in its namespace has the node.id \"bob\"")
    };
    wait::until("the condition Programmed", BOUND, told).await?;
    let refs = condition(&town, "ResolvedRefs").await?;
    ensure!(
        refs == format!(
            "no pod matches the annotation {CLUSTER_NAME_ANNOTATION}: alice in any namespace: nobody may connect"
        ),
        "{refs}"
    );
    let bob = member(&town, (1, 2), "bob").await?;
    listeners(&bob.admin, &["ingress"], BOUND).await?;
    let told =
        || async { condition(&town, "Programmed").await.is_ok_and(|found| found == "wanted 1, acked 1") };
    wait::until("the condition Programmed", BOUND, told).await
}

/// Returns the message of a condition of the IngressListener `bob`.
async fn condition(town: &Town, type_: &str) -> Result<String> {
    use portreeve_api::d::ingress_listener::IngressListener;
    let listeners = kube::Api::<IngressListener>::namespaced(town.client.clone(), "default");
    let status = listeners.get("bob").await?.status.context("no status")?;
    let found = status.conditions.iter().find(|one| one.type_ == type_).context("no such condition")?;
    Ok(found.message.clone())
}
