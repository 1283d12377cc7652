//! Packets through EPIC's tunnels: from real Envoys on gateways to pods on customers' nodes, and back.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use kube::Api;
use kube::core::DynamicObject;
use portreeve_api::c::{account, load_balancer};
use portreeve_gue::wire::{Data, Ids};
use portreeve_tests::floating::{holder, keeper, rights as floating_rights};
use portreeve_tests::greeter::greeting;
use portreeve_tests::process::Process;
use portreeve_tests::town::{BOUND, Town};
use portreeve_tests::tunnels::{self, Capture, Carried, CustomerNode, Pod, carrier};
use portreeve_tests::udp::Flow;
use portreeve_tests::{epic, path, wait};
use serde_json::Value;

pub const UDP: u16 = 6000;
pub const TCP: u16 = 7000;
/// The public addresses of the accounts.
pub const ADDRESSES: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 77, 200, 1), Ipv4Addr::new(10, 77, 200, 2)];
/// How long flows may be away when their gateway dies.
const TAKEOVER: Duration = Duration::from_secs(3);
/// The address of a pod in each account.
pub const POD: Ipv4Addr = Ipv4Addr::new(10, 244, 1, 5);

/// A customer with one node and one pod.
pub struct Customer {
    pub name: &'static str,
    pub address: IpAddr,
    pub node: CustomerNode,
    pod: Pod,
}

/// What a customer's packets have before them, and the number of the tunnel.
#[derive(Clone, Copy)]
pub struct Wire {
    pub data: Data,
    pub tunnel: u32,
}

/// A town with two gateways and two customers.
struct Site {
    town: Town,
    keepers: Vec<Process>,
    carriers: Vec<Process>,
    customers: Vec<Customer>,
}

// === impl Customer ===

impl Customer {
    pub async fn start(town: &Town, name: &'static str, number: u8) -> Result<Self> {
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

    /// Waits until the load balancer's status tells a tunnel's other end, and returns its entry.
    pub async fn peer(&self, town: &Town, is_it: impl Fn(&Value) -> bool) -> Result<Value> {
        let api = self.api(town);
        wait::eventually("the other end of the tunnel", BOUND, || async {
            let found = api.get("web").await.ok()?;
            let peer = found.data["status"]["tunnel-peers"].get(0)?.clone();
            Some(peer).filter(|peer| is_it(peer))
        })
        .await
    }

    /// Returns what the customer's packets have before them.
    pub async fn wire(&self, town: &Town) -> Result<Wire> {
        let found = self.api(town).get("web").await?.data;
        let group = self.account(town).await?;
        let number =
            |value: &Value| value.as_u64().and_then(|number| u16::try_from(number).ok()).context("a number");
        let ids = Ids { group, service: number(&found["spec"]["service-id"])? };
        let key = found["spec"]["tunnel-key"].as_str().context("a key")?.parse()?;
        let node = self.node.address().to_string();
        let tunnel = number(&found["status"]["gue-tunnel-endpoints"][&node]["tunnel-id"])?.into();
        Ok(Wire { data: Data { ids, key }, tunnel })
    }

    async fn account(&self, town: &Town) -> Result<u16> {
        let resource = (account::DEFINITION.resource)();
        let namespace = format!("epic-{}", self.name);
        let api = Api::<DynamicObject>::namespaced_with(town.client.clone(), &namespace, &resource);
        let id = api.get(self.name).await?.data["spec"]["group-id"].as_u64().context("an id")?;
        Ok(u16::try_from(id)?)
    }

    fn pod_name(&self) -> String {
        format!("pod-{}", self.name)
    }

    /// Checks that clients reach the customer's pod over UDP and TCP.
    pub async fn served(&self, town: &Town) -> Result<()> {
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
        Ok(Self { town, keepers, carriers, customers })
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

/// Waits until a customer's node pings no more for some seconds: pings follow each other after 0.5, 1, 2, 4 and 8 seconds.
async fn quiet(capture: &Capture) -> Result<()> {
    let (mut pings, deadline) = (0, Instant::now() + BOUND);
    while pings < 5 {
        ensure!(Instant::now() < deadline, "{pings} pings only");
        pings += capture.take()?.iter().filter(|one| matches!(one.carries, Carried::Ping(_))).count();
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn flows_of_a_dead_gateway_resume_on_the_other_one_without_a_ping() -> Result<()> {
    let mut site = Site::start().await?;
    let capture = Capture::start(&site.customers[0].node.netns)?;
    let customer = &site.customers[0];
    customer.served(&site.town).await?;
    quiet(&capture).await?;
    let peer = customer.peer(&site.town, |_| true).await?;
    ensure!(peer["address"] == customer.node.address().to_string() && peer["port"] == 6080, "{peer}");
    let before = customer.api(&site.town).get("web").await?.data["status"]["gue-tunnel-endpoints"].clone();

    let dead = holder(&site.town, customer.address).await?;
    let flow = Flow::to(SocketAddr::new(customer.address, 5060)).rate(100).lasting(Duration::from_secs(20));
    let flow = flow.start(site.town.bed.root())?;
    tokio::time::sleep(Duration::from_millis(500)).await;
    println!("node {} dies", dead + 1);
    site.carriers[dead].kill();
    site.keepers[dead].kill();
    site.town.bed.cut(&site.town.nodes[dead].netns)?;
    capture.take()?;
    let begun = Instant::now();
    path::opens(site.town.bed.root(), SocketAddr::new(customer.address, 5060), &customer.pod_name(), BOUND)?;
    let away = begun.elapsed();
    let pings = capture.take()?.iter().filter(|one| matches!(one.carries, Carried::Ping(_))).count();
    println!("{} answered {away:.2?} after its node had died, {pings} pings since", customer.address);
    ensure!(pings == 0 && away < TAKEOVER, "{pings} pings in {away:?}");
    let report = flow.stop()?;
    println!("the flow: {report}");
    ensure!(report.longest_gap() < TAKEOVER && report.received() > 0, "{report}");
    customer.served(&site.town).await?;
    let after = customer.api(&site.town).get("web").await?.data["status"]["gue-tunnel-endpoints"].clone();
    ensure!(after == before, "{before} became {after}");
    Ok(())
}

/// Sends a line through a connection and reads it back.
fn echoed(stream: &mut TcpStream, line: &str) -> Result<()> {
    stream.write_all(format!("{line}\n").as_bytes())?;
    let mut answer = vec![0; line.len() + 1];
    stream.read_exact(&mut answer)?;
    ensure!(answer == format!("{line}\n").as_bytes(), "{}", String::from_utf8_lossy(&answer));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn pod_that_moves_to_another_node_costs_connections_to_others_nothing() -> Result<()> {
    let site = Site::start().await?;
    let (town, customer) = (&site.town, &site.customers[0]);
    let second = Ipv4Addr::new(10, 244, 1, 6);
    let stays = customer.node.pod("stays", second, [TCP, UDP])?;
    town.apply(&tunnels::endpoints("a", ("second", second), customer.node.address(), [TCP, UDP])).await?;
    let target = SocketAddr::new(customer.address, 80);
    let mut stream = wait::eventually("a connection to the second pod", BOUND, || async {
        let (name, stream) = greeting(town.bed.root(), target).ok()??;
        Some(stream).filter(|_| name.contains("stays"))
    })
    .await?;
    echoed(&mut stream, "before")?;

    let other = CustomerNode::start(town, 21, "a").await?;
    let moved = other.pod("moved", POD, [TCP, UDP])?;
    town.apply(&tunnels::endpoints("a", ("first", POD), other.address(), [TCP, UDP])).await?;
    wait::until("connections to the moved pod", BOUND, || async {
        let found = greeting(town.bed.root(), target);
        found.is_ok_and(|found| found.is_some_and(|(name, _)| name.contains("moved")))
    })
    .await?;
    for number in 0..20 {
        echoed(&mut stream, &format!("after {number}"))?;
        let (name, _) = greeting(town.bed.root(), target)?.context("nobody greets")?;
        ensure!(["moved", "stays"].iter().any(|one| name.contains(one)), "{name} greets");
    }
    ensure!(stays.greeter.accepted() > 0 && moved.greeter.accepted() > 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_left_of_roles_that_were_killed_once_and_ended() -> Result<()> {
    let town = Town::start(1).await?;
    town.apply(&epic::pool("10.77.0.0/16", "10.77.200.1-10.77.200.9", "")).await?;
    town.gateways_with("  allowedNamespaces: {from: List, names: [epic-a, epic-b]}\n").await?;
    let gateway = &town.nodes[0].netns;
    gateway.add_address(ADDRESSES[0].into())?;
    let before = tunnels::dump(gateway)?;
    let mut role = carrier(&town, 0)?;
    let mut customer = Customer::start(&town, "a", 0).await?;
    customer.served(&town).await?;

    // Killed at any moment, each is as before once it runs again.
    role.kill();
    let mut role = carrier(&town, 0)?;
    customer.served(&town).await?;
    customer.node.client.take().context("it runs")?.kill();
    customer.node.restart(&town).await?;
    customer.served(&town).await?;

    // Without endpoints nothing leads into the tunnels, whatever the killed ones left.
    let balancer = epic::load_balancer("a", customer.address, [80, 5060]);
    town.delete(&tunnels::endpoints("a", ("first", POD), customer.node.address(), [TCP, UDP])).await?;
    town.apply(&balancer.replace("[one]", "[]")).await?;
    town.delete(&balancer).await?;
    let led =
        |netns| -> Result<bool> { Ok(tunnels::dump(netns)?.iter().any(|line| line.contains("proto 83"))) };
    for netns in [gateway, &customer.node.netns] {
        wait::until("no rule and route", BOUND, || async { led(netns).is_ok_and(|led| !led) }).await?;
    }
    role.terminate()?;
    ensure!(role.wait_exit(BOUND)?.success(), "{}", role.log());
    tunnels::left_nothing(gateway, &before).await?;
    let mut client = customer.node.client.take().context("it runs")?;
    client.terminate()?;
    ensure!(client.wait_exit(BOUND)?.success(), "{}", client.log());
    let left = tunnels::dump(&customer.node.netns)?;
    ensure!(!left.iter().any(|line| line.contains("gue0") || line.contains("proto 83")), "{left:#?}");
    for netns in [gateway, &customer.node.netns] {
        let open = netns.udp_sockets()?.into_iter().any(|socket| socket.port == tunnels::PORT);
        ensure!(!open, "a socket is left");
    }
    Ok(())
}
