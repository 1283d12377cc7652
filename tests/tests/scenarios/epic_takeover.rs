//! Public addresses of load balancers: each is on one gateway's node at a time, and moves when the node dies.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use portreeve_tests::floating::{holder, holders, keeper, rights};
use portreeve_tests::greeter::{Greeter, greeting};
use portreeve_tests::town::{BOUND, Town, Worker};
use portreeve_tests::udp::Echo;
use portreeve_tests::{epic, path, wait};

const UDP: u16 = 6000;
const TCP: u16 = 7000;
/// How long an address may be away when its node dies.
const TAKEOVER: Duration = Duration::from_secs(3);
/// The addresses of the accounts.
const ADDRESSES: [IpAddr; 2] = [
    IpAddr::V4(std::net::Ipv4Addr::new(10, 77, 200, 1)),
    IpAddr::V4(std::net::Ipv4Addr::new(10, 77, 200, 2)),
];

/// An account with a load balancer whose endpoints are a pod's.
fn account(name: &str, address: IpAddr, pod: &Worker) -> String {
    let objects = epic::account(name, &format!("epic-{name}")) + &epic::group(name, "gold", true);
    let endpoints = epic::endpoints(name, pod.ip(), [TCP, UDP]);
    objects + &epic::load_balancer(name, address, [80, 5060]) + &endpoints
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_of_a_dead_node_answer_on_the_other_one_within_three_seconds() -> Result<()> {
    let town = Town::start(2).await?;
    rights(&town).await?;
    town.gateways_with("  allowedNamespaces: {from: List, names: [epic-a, epic-b]}\n").await?;
    // On a third machine, which lives on.
    let _third = town.bed.node(3)?;
    let mut pods = Vec::new();
    for number in 1..=2 {
        let pod = town.worker(2, number, "app: customer", false).await?;
        let echo = Echo::start(&pod.netns, &pod.name, SocketAddr::new(pod.ip(), UDP))?;
        let greeter = Greeter::start(&pod.netns, &pod.name, SocketAddr::new(pod.ip(), TCP))?;
        pods.push((pod, echo, greeter));
    }
    for ((name, address), (pod, ..)) in ["a", "b"].into_iter().zip(ADDRESSES).zip(&pods) {
        town.apply(&account(name, address, pod)).await?;
    }
    let mut keepers = [keeper(&town, 0).await?, keeper(&town, 1).await?];
    let served = |address: IpAddr, pod: &Worker| -> Result<()> {
        path::opens(town.bed.root(), SocketAddr::new(address, 5060), &pod.name, BOUND)?;
        let by = greeting(town.bed.root(), SocketAddr::new(address, 80))?.context("nobody greets")?.0;
        ensure!(by.contains(&pod.name), "{address}: {by} greets");
        Ok(())
    };
    for (address, (pod, ..)) in ADDRESSES.into_iter().zip(&pods) {
        served(address, pod)?;
        println!("{address} is on node {}", town.nodes[holder(&town, address).await?].name);
    }

    let (dead, address) = (holders(&town, ADDRESSES[0])?[0], ADDRESSES[0]);
    println!("{} dies", town.nodes[dead].name);
    keepers[dead].kill();
    town.bed.cut(&town.nodes[dead].netns)?;
    let begun = Instant::now();
    path::opens(town.bed.root(), SocketAddr::new(address, 5060), &pods[0].0.name, BOUND)?;
    let away = begun.elapsed();
    println!("{address} answered on the other node {away:.2?} after its node had died");
    for (address, (pod, ..)) in ADDRESSES.into_iter().zip(&pods) {
        served(address, pod)?;
        let on = holders(&town, address)?;
        ensure!(on.contains(&(1 - dead)), "{address} is on {on:?}");
    }
    ensure!(away < TAKEOVER, "{away:?}");

    town.bed.mend(&town.nodes[dead].netns)?;
    keepers[dead] = keeper(&town, dead).await?;
    wait::until("the node that is back to leave the address to the other one", BOUND, || async {
        holders(&town, address).is_ok_and(|on| on == [1 - dead])
    })
    .await?;
    let begun = Instant::now();
    keepers[1 - dead].terminate()?;
    wait::until("the address to move when its keeper ends", BOUND, || async {
        holders(&town, address).is_ok_and(|on| on == [dead])
    })
    .await?;
    println!("{address} moved {:.2?} after its keeper was asked to end", begun.elapsed());
    served(address, &pods[0].0)
}
