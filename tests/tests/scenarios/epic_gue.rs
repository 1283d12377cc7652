//! Packets through EPIC's tunnels: from real Envoys on gateways to pods on customers' nodes, and back.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use anyhow::{Context, Result, ensure};
use kube::Api;
use kube::core::DynamicObject;
use portreeve_api::c::load_balancer;
use portreeve_tests::floating::{holder, keeper, rights as floating_rights};
use portreeve_tests::greeter::greeting;
use portreeve_tests::process::Process;
use portreeve_tests::town::{BOUND, Town};
use portreeve_tests::tunnels::{self, Capture, Carried, CustomerNode, Pod, carrier};
use portreeve_tests::{epic, path, wait};

const UDP: u16 = 6000;
const TCP: u16 = 7000;
/// The public addresses of the accounts.
const ADDRESSES: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 77, 200, 1), Ipv4Addr::new(10, 77, 200, 2)];
/// The address of a pod in each account.
const POD: Ipv4Addr = Ipv4Addr::new(10, 244, 1, 5);

/// A customer with one node and one pod.
struct Customer {
    name: &'static str,
    address: IpAddr,
    node: CustomerNode,
    pod: Pod,
}

/// A town with two gateways and two customers.
struct Site {
    town: Town,
    _keepers: Vec<Process>,
    carriers: Vec<Process>,
    customers: Vec<Customer>,
}

// === impl Customer ===

impl Customer {
    async fn start(town: &Town, name: &'static str, number: u8) -> Result<Self> {
        let address = ADDRESSES[usize::from(number)];
        town.apply(&(epic::account(name, &format!("epic-{name}")) + &tunnels::rights(name))).await?;
        let node = CustomerNode::start(town, 11 + number, name).await?;
        let pod = node.pod(&format!("pod-{name}"), POD, [TCP, UDP])?;
        let objects =
            epic::group(name, "gold", true) + &epic::load_balancer(name, address.into(), [80, 5060]);
        let endpoints = tunnels::endpoints(name, ("first", POD), node.address(), [TCP, UDP]);
        town.apply(&(objects + &endpoints)).await?;
        Ok(Self { name, address: address.into(), node, pod })
    }

    fn api(&self, town: &Town) -> Api<DynamicObject> {
        let resource = (load_balancer::DEFINITION.resource)();
        Api::namespaced_with(town.client.clone(), &format!("epic-{}", self.name), &resource)
    }

    fn pod_name(&self) -> String {
        format!("pod-{}", self.name)
    }

    /// Checks that clients reach the customer's pod over UDP and TCP.
    async fn served(&self, town: &Town) -> Result<()> {
        let from = town.bed.root();
        let opened = path::opens(from, SocketAddr::new(self.address, 5060), &self.pod_name(), BOUND);
        if opened.is_err() {
            println!("{}", self.api(town).get("web").await?.data);
        }
        opened?;
        let by = greeting(from, SocketAddr::new(self.address, 80))?.context("nobody greets")?.0;
        ensure!(by.contains(&self.pod_name()), "{}: {by} greets", self.address);
        Ok(())
    }
}

// === impl Site ===

impl Site {
    async fn start() -> Result<Self> {
        let town = Town::start(2).await?;
        floating_rights(&town).await?;
        town.apply(&epic::pool("10.77.0.0/16", "10.77.200.1-10.77.200.9", "")).await?;
        town.gateways_with("  allowedNamespaces: {from: List, names: [epic-a, epic-b]}\n").await?;
        let (mut keepers, mut carriers) = (Vec::new(), Vec::new());
        for index in 0..2 {
            keepers.push(keeper(&town, index).await?);
            carriers.push(carrier(&town, index)?);
        }
        let mut customers = Vec::new();
        for (number, name) in ["a", "b"].into_iter().enumerate() {
            customers.push(Customer::start(&town, name, number as u8).await?);
        }
        Ok(Self { town, _keepers: keepers, carriers, customers })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn customers_with_the_same_pod_addresses_are_reached_through_their_own_tunnels() -> Result<()> {
    let site = Site::start().await?;
    let town = &site.town;
    let mut captures = Vec::new();
    for customer in &site.customers {
        captures.push(Capture::start(&customer.node.netns)?);
    }
    for customer in &site.customers {
        customer.served(town).await?;
        println!("{} is on node {}", customer.address, holder(town, customer.address).await? + 1);
        let told = wait::eventually("pings to be told", BOUND, || async {
            let found = customer.api(town).get("web").await.ok()?;
            tunnels::told(&found.data["status"]["conditions"]).filter(|(healthy, _)| *healthy)
        });
        println!("{:?}", told.await?);
    }
    for (customer, capture) in site.customers.iter().zip(&captures) {
        let captured = capture.take()?;
        let inner = captured.iter().filter_map(|one| match one.carries {
            Carried::Inner(data, packet) => Some((one.outer, data, packet)),
            Carried::Ping(_) => None,
        });
        let inner: Vec<_> = inner.collect();
        ensure!(inner.len() > 16, "{captured:?}");
        let ends = [customer.address, customer.node.address()];
        for (outer, data, packet) in &inner {
            let outer = [IpAddr::V4(*outer.0.ip()), IpAddr::V4(*outer.1.ip())];
            let inner = [IpAddr::V4(*packet.source.ip()), IpAddr::V4(*packet.destination.ip())];
            let (of_epic, of_pod) = ([customer.address, POD.into()], [POD.into(), customer.address]);
            let right =
                (outer == ends && inner == of_epic) || (outer == [ends[1], ends[0]] && inner == of_pod);
            ensure!(right, "{outer:?} {inner:?}");
            ensure!(data.ids.service == 1, "{data:?}");
        }
        println!("{}: {} packets", customer.name, inner.len());
    }
    ensure!(site.carriers.len() == 2 && site.customers.iter().all(|one| one.pod.greeter.accepted() > 0));
    Ok(())
}
