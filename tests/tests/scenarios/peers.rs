//! Peers of an IngressListener that come and go while others are connected.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use portreeve_api::d::CLUSTER_NAME_ANNOTATION;
use portreeve_tests::greeter::{Greeter, greeting};
use portreeve_tests::node_names::{INGRESS, answer, answers, application, ingress, member, pod};
use portreeve_tests::town::{BOUND, Town, Worker};
use portreeve_tests::wait;

use crate::kill_campaign::Caller;

/// Connections of an allowed peer that live through all changes.
const CONNECTIONS: usize = 100;
/// Changes of another peer.
const CHANGES: usize = 50;
/// How soon a change must be in force, in the median.
const SOON: Duration = Duration::from_secs(1);

/// A member of `bob` with its application, to which alice may connect and carol may not.
struct Scene {
    town: Town,
    bob: Worker,
    served: Greeter,
    alice: Worker,
    carol: Worker,
    /// Where bob is reached.
    to: SocketAddr,
}

impl Scene {
    /// Starts bob, alice and carol at these places.
    async fn start(nodes: u8, [bob, alice, carol]: [(u8, u8); 3]) -> Result<Self> {
        let town = Town::start(nodes).await?;
        town.apply(&ingress("bob", "alice")).await?;
        let bob = member(&town, bob, "bob").await?;
        let alice = pod(&town, alice, "alice").await?;
        let carol = town.worker(carol.0, carol.1, "", false).await?;
        let served = application(&bob)?;
        let to = SocketAddr::new(bob.ip(), INGRESS);
        answers(&alice, to, &bob.name)?;
        Ok(Self { town, bob, served, alice, carol, to })
    }
}

/// Sends a line over a connection, and returns whether it came back.
fn lives(connection: &mut TcpStream) -> bool {
    let mut line = [0; 5];
    connection.write_all(b"ping\n").is_ok() && connection.read_exact(&mut line).is_ok() && &line == b"ping\n"
}

/// Lets a pod join the allowed cluster or leave it. Returns how long it took until the change was in force.
async fn change(peer: &Worker, to: SocketAddr, (joins, server): (bool, &str)) -> Result<Duration> {
    let begun = Instant::now();
    peer.annotate(CLUSTER_NAME_ANNOTATION, joins.then_some("alice")).await?;
    let expected = if joins { server } else { "" };
    let in_force = || answer(peer, to).is_ok_and(|name| name == expected);
    wait::wait_until("the change of a peer", BOUND, in_force)?;
    Ok(begun.elapsed())
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_of_allowed_peers_live_through_changes_of_others_within_a_second() -> Result<()> {
    let scene = Scene::start(3, [(1, 1), (2, 1), (3, 1)]).await?;
    let Scene { town: _town, bob, served, alice, carol, to } = scene;
    let open = || Ok(greeting(&alice.netns, to)?.context("alice is refused")?.1);
    let mut connections: Vec<TcpStream> = (0..CONNECTIONS).map(|_| open()).collect::<Result<_>>()?;
    let mut took = Vec::new();
    for round in 0..CHANGES {
        let before = served.accepted();
        if round % 2 == 0 {
            ensure!(answer(&carol, to)?.is_empty(), "carol is served without being allowed");
            ensure!(served.accepted() == before, "the application saw a connection of a refused peer");
        }
        took.push(change(&carol, to, (round % 2 == 0, &bob.name)).await?);
    }
    let alive = connections.iter_mut().filter_map(|connection| lives(connection).then_some(())).count();
    ensure!(alive == CONNECTIONS, "{alive} of {CONNECTIONS} connections are left");
    took.sort();
    let (median, longest) = (took[took.len() / 2], took[took.len() - 1]);
    println!("{CHANGES} changes were in force after {median:?} in the median, {longest:?} at most");
    ensure!(median < SOON, "half of the changes took {median:?} or longer");
    let stats = bob.admin.stats().await?;
    let count = |name: &str| stats.get(name).copied().unwrap_or_default();
    ensure!(count("listener_manager.total_listeners_draining") == 0, "a listener drains");
    println!(
        "listener modified {} times, filter chains draining {}",
        count("listener_manager.listener_modified"),
        count("listener_manager.total_filter_chains_draining")
    );
    Ok(())
}

/// Kills the node's agent and starts it again.
fn replace_agent(town: &mut Town) -> Result<()> {
    town.nodes[0].agent = None;
    town.start_agent(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn peers_that_come_and_go_after_the_agent_was_replaced_are_admitted_and_refused() -> Result<()> {
    let scene = Scene::start(1, [(1, 1), (1, 2), (1, 3)]).await?;
    let Scene { mut town, bob, served: _served, alice, carol, to } = scene;
    for _ in 0..2 {
        replace_agent(&mut town)?;
        change(&carol, to, (true, &bob.name)).await?;
        replace_agent(&mut town)?;
        change(&carol, to, (false, &bob.name)).await?;
        answers(&alice, to, &bob.name)?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn peer_that_was_just_admitted_stays_so_while_the_agent_is_replaced_at_once() -> Result<()> {
    let scene = Scene::start(1, [(1, 1), (1, 2), (1, 3)]).await?;
    let Scene { mut town, bob, served: _served, alice: _alice, carol, to } = scene;
    for round in 0..5 {
        change(&carol, to, (true, &bob.name)).await?;
        let caller = Caller::start(&carol.netns, to);
        // The change may not be on the disk yet.
        replace_agent(&mut town)?;
        tokio::time::sleep(Duration::from_secs(1)).await;
        let calls = caller.end()?;
        ensure!(calls.failed.is_empty(), "round {round}: {calls:?}");
        change(&carol, to, (false, &bob.name)).await?;
    }
    Ok(())
}
