//! Packets that come to a gateway's tunnels from elsewhere than they should, or in unusual sizes.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Result, ensure};
use portreeve_gue::wire::{Data, Ping};
use portreeve_tests::process::Process;
use portreeve_tests::town::{BOUND, Town};
use portreeve_tests::tunnels::{self, Nat, carrier};
use portreeve_tests::udp::Flow;
use portreeve_tests::{epic, wait};

use crate::epic_gue::{ADDRESSES, Customer, POD, UDP, Wire};

/// A town with one gateway, which has the first address, and the role on it.
async fn one_gateway(epic: &str) -> Result<(Town, Process)> {
    let town = Town::start(1).await?;
    town.apply(&(epic::pool("10.77.0.0/16", "10.77.200.1-10.77.200.9", "") + epic)).await?;
    town.gateways_with("  allowedNamespaces: {from: List, names: [epic-a, epic-b]}\n").await?;
    for address in ADDRESSES {
        town.nodes[0].netns.add_address(address.into())?;
    }
    let role = carrier(&town, 0)?;
    Ok((town, role))
}

#[tokio::test(flavor = "multi_thread")]
async fn node_behind_a_nat_is_found_again_when_its_port_changes() -> Result<()> {
    let nat = Ipv4Addr::new(10, 77, 0, 77);
    let epic = format!(
        "
---
apiVersion: epic.acnodal.io/v1
kind: EPIC
metadata: {{name: epic, namespace: epic}}
spec: {{base: {{gue-endpoint: {{epic-address: {nat}}}}}}}
"
    );
    let (town, mut role) = one_gateway(&epic).await?;
    town.bed.root().ip(&[format!("addr add {nat}/32 dev br0")])?;
    let at = SocketAddr::new(nat.into(), tunnels::PORT);
    let nat = Nat::start(town.bed.root(), at, SocketAddr::new(town.nodes[0].address(), tunnels::PORT))?;
    let customer = Customer::start(&town, "a", 0).await?;
    customer.served(&town).await?;
    let first = customer.peer(&town, |_| true).await?;
    ensure!(first["address"] != customer.node.address().to_string(), "the NAT's address: {first}");

    nat.renew()?;
    // The old port is closed: what goes there is lost until the next ping, which is at most 25 s away.
    let second = customer.peer(&town, |peer| peer["port"] != first["port"]).await?;
    println!("{first} became {second}");
    ensure!(second["since"].as_str() > first["since"].as_str(), "{second}");
    customer.served(&town).await?;
    let age = tunnels::metric(&town.nodes[0].netns, &mut role, "portreeve_gue_ping_age_seconds{")?;
    ensure!((0.0..30.0).contains(&age), "{age}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn packets_of_strangers_are_dropped_and_counted_by_their_reason() -> Result<()> {
    let (town, mut role) = one_gateway("").await?;
    let (a, b) = (Customer::start(&town, "a", 0).await?, Customer::start(&town, "b", 1).await?);
    a.served(&town).await?;
    b.served(&town).await?;
    let (own, foreign) = (a.wire(&town).await?, b.wire(&town).await?);
    let gateway = &town.nodes[0].netns;
    let mut dropped = |reason: &str| {
        tunnels::metric(gateway, &mut role, &format!("portreeve_gue_dropped_total{{reason=\"{reason}\"}}"))
    };
    // What a machine of b's network sends to the load balancer of a.
    let packet = |source: Ipv4Addr| tunnels::udp_packet((source, UDP), (ADDRESSES[0], 40_000), b"spoofed");
    let data = |of: &Wire, source| [&of.data.header()[..], &packet(source)].concat();
    let old_ping = [&[0x25, 1, 0xa0, 0][..], &own.data.header()[4..]].concat();
    let keyless = [&[5, 4, 0xa0, 0, 0, 0, 0, 1][..], &packet(POD)].concat();
    for (reason, payload) in [
        ("source", data(&own, Ipv4Addr::new(10, 244, 1, 99))),
        ("destination", data(&foreign, POD)),
        ("key", data(&Wire { data: Data { key: [9; 16].into(), ..own.data }, ..own }, POD)),
        ("ids", data(&Wire { data: Data { ids: foreign.data.ids, ..own.data }, ..own }, POD)),
        (
            "tunnel",
            Ping { tunnel: own.tunnel, ids: foreign.data.ids, key: foreign.data.key }.write().to_vec(),
        ),
        ("old-ping", old_ping),
        ("keyless", keyless),
        ("version", [&[0x45, 4, 0xa0, 0][..], &[0; 60]].concat()),
        ("short", vec![5, 4]),
    ] {
        let before = dropped(reason)?;
        b.node.netns.enter(|| -> Result<()> {
            let socket = std::net::UdpSocket::bind("0.0.0.0:0")?;
            socket.send_to(&payload, SocketAddr::new(a.address, tunnels::PORT))?;
            Ok(())
        })??;
        wait::until(&format!("the drop for {reason}"), BOUND, || {
            let now = dropped(reason);
            async move { now.is_ok_and(|now| now >= before + 1.0) }
        })
        .await?;
    }
    a.served(&town).await?;
    b.served(&town).await
}

#[tokio::test(flavor = "multi_thread")]
async fn datagrams_of_all_sizes_that_fit_pass_without_loss() -> Result<()> {
    let (town, _role) = one_gateway("").await?;
    let customer = Customer::start(&town, "a", 0).await?;
    customer.served(&town).await?;
    let target = SocketAddr::new(customer.address, 5060);
    // The application's answers are longer than what it got.
    for size in [64, 1000, 1300] {
        let report = Flow::to(target).size(size).rate(200).start(town.bed.root())?.finish()?;
        println!("{size} bytes: {report}");
        report.lossless()?;
    }
    Ok(())
}
