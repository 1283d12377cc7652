//! Packets through tunnels between network namespaces. Needs root, iproute2 and util-linux.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../../addresses/tests/bed/mod.rs"]
mod bed;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use portreeve_api::c::tunnel_key::TunnelKey;
use portreeve_gue::client::{Client, Tunnel};
use portreeve_gue::dropped::Dropped;
use portreeve_gue::gateway::{Gateway, LoadBalancer};
use portreeve_gue::ipv4::Transport;
use portreeve_gue::wire::Ids;
use portreeve_tunnels::kernel::Kernel;
use portreeve_tunnels::paths::Paths;
use portreeve_tunnels::{AsyncDevice, End, Passage, Shared, Socket, device, inward, outward, pings};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UdpSocket};
use tokio::sync::{Notify, oneshot};

use bed::Namespace;

const ENDPOINT: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 244, 1, 5), 8080);
const EPIC: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 1), 6080);
const PATIENCE: Duration = Duration::from_secs(20);

/// An account with one load balancer, whose only endpoint has the same address in all accounts.
#[derive(Clone, Copy)]
struct Account {
    number: u8,
}

// === impl Account ===

impl Account {
    fn ids(self) -> Ids {
        Ids { group: self.number.into(), service: 3 }
    }

    fn key(self) -> TunnelKey {
        TunnelKey::from([self.number; 16])
    }

    fn tunnel(self) -> u32 {
        self.number.into()
    }

    fn public(self) -> Ipv4Addr {
        Ipv4Addr::new(203, 0, 113, self.number)
    }

    /// The customer's node.
    fn node(self) -> SocketAddrV4 {
        SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 10 + self.number), 6080)
    }

    fn load_balancer(self) -> LoadBalancer {
        let endpoints = endpoints().map(|endpoint| (endpoint, self.tunnel()));
        let endpoints = BTreeMap::from(endpoints);
        let tunnels = BTreeMap::from([(self.tunnel(), EPIC)]);
        LoadBalancer { ids: self.ids(), key: self.key(), address: self.public(), tunnels, endpoints }
    }
}

fn endpoints() -> [(Transport, SocketAddrV4); 2] {
    [(Transport::Udp, ENDPOINT), (Transport::Tcp, ENDPOINT)]
}

/// Creates EPIC's node with the public addresses.
fn mk_epic(accounts: &[Account]) -> Result<Namespace> {
    let epic = Namespace::new()?;
    epic.ip("link set lo up")?;
    epic.ip("link add br0 type bridge")?;
    epic.ip(&format!("addr add {}/24 dev br0", EPIC.ip()))?;
    epic.ip("link set br0 up")?;
    for account in accounts {
        epic.ip(&format!("addr add {}/32 dev lo", account.public()))?;
    }
    Ok(epic)
}

/// Creates a customer's node with the endpoint, and a cable to EPIC's.
fn mk_node(epic: &Namespace, account: Account) -> Result<Namespace> {
    let node = Namespace::new()?;
    epic.ip(&format!("link add c{} type veth peer name eth0 netns {}", account.number, node.path()))?;
    epic.ip(&format!("link set c{} master br0 up", account.number))?;
    node.ip("link set lo up")?;
    node.ip(&format!("addr add {}/24 dev eth0", account.node().ip()))?;
    node.ip(&format!("addr add {}/32 dev lo", ENDPOINT.ip()))?;
    node.ip("link set eth0 up")?;
    Ok(node)
}

/// Runs an end's data path while `work` runs.
async fn run<E: End>(
    device: &AsyncDevice,
    socket: &Socket,
    end: &Shared<E>,
    work: impl Future<Output = Result<()>>,
) -> Result<()> {
    tokio::select! {
        ended = outward(device, socket, end) => anyhow::bail!("the device: {ended:?}"),
        ended = inward(socket, device, end) => anyhow::bail!("the socket: {ended:?}"),
        done = work => done,
    }
}

/// The customer's node: it pings, and its endpoint answers with its account's number until it is told to end.
async fn customer(account: Account, end: oneshot::Receiver<()>) -> Result<()> {
    let (device, socket) =
        (device("gue0", Passage::Together)?, Socket::bind(account.node(), Passage::Together)?);
    let (ids, key, endpoints) = (account.ids(), account.key(), BTreeSet::from(endpoints()));
    let tunnel = Tunnel { ids, key, epic: EPIC, endpoints };
    let mut paths = Paths::default();
    paths.add_tunnel(&tunnel, account.public());
    Kernel::open()?.set("gue0", &paths).await?;
    let (client, changed) = (Shared::new(Client::new()), Notify::new());
    client.with(|client| client.put(account.tunnel(), tunnel, Instant::now()));
    let (udp, tcp) = (UdpSocket::bind(ENDPOINT).await?, TcpListener::bind(ENDPOINT).await?);
    run(&device, &socket, &client, async {
        tokio::select! {
            ended = echo_datagrams(&udp, account.number) => ended,
            ended = echo_streams(&tcp) => ended,
            ended = pings(&socket, &client, &changed) => match ended {},
            _ = end => Ok(()),
        }
    })
    .await
}

async fn echo_datagrams(socket: &UdpSocket, number: u8) -> Result<()> {
    let mut datagram = vec![0; 2048];
    loop {
        let (length, from) = socket.recv_from(&mut datagram).await?;
        datagram[0] = number;
        socket.send_to(&datagram[..length], from).await?;
    }
}

async fn echo_streams(listener: &TcpListener) -> Result<()> {
    loop {
        let (mut stream, _) = listener.accept().await?;
        let (mut from, mut to) = stream.split();
        tokio::io::copy(&mut from, &mut to).await?;
    }
}

/// Sends a datagram until an endpoint of this account answers.
async fn answered(account: Account, socket: &UdpSocket, length: usize) -> Result<()> {
    let (payload, mut answer) = (vec![account.number; length], vec![0; 2048]);
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        socket.send_to(&payload, ENDPOINT).await?;
        let wait = tokio::time::timeout(Duration::from_millis(200), socket.recv_from(&mut answer));
        if let Ok(received) = wait.await {
            let (length, from) = received?;
            ensure!(from == ENDPOINT.into() && answer[..length] == payload, "{length} bytes of {from}");
            return Ok(());
        }
    }
    anyhow::bail!("no answer to {length} bytes")
}

/// Sends bytes through a stream and checks that the same ones come back.
async fn echoed(account: Account, bytes: &[u8]) -> Result<()> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddrV4::new(account.public(), 0).into())?;
    let mut stream: TcpStream = socket.connect(ENDPOINT.into()).await?;
    let (mut from, mut to) = stream.split();
    let send = async {
        to.write_all(bytes).await?;
        to.shutdown().await
    };
    let mut answer = Vec::new();
    let receive = from.read_to_end(&mut answer);
    tokio::try_join!(send, receive)?;
    ensure!(answer == bytes, "{} of {} bytes came back", answer.len(), bytes.len());
    Ok(())
}

/// EPIC's node: its programs reach the endpoint of each account from the account's public address.
async fn epic(accounts: &[Account]) -> Result<()> {
    let (device, socket) = (device("gue0", Passage::Together)?, Socket::bind(EPIC, Passage::Together)?);
    let (gateway, mut paths) = (Shared::new(Gateway::new(true)), Paths::default());
    for account in accounts {
        let load_balancer = account.load_balancer();
        paths.add_load_balancer(&load_balancer, &[]);
        gateway.with(|gateway| gateway.put(&format!("epic-{}/web", account.number).into(), load_balancer))?;
    }
    Kernel::open()?.set("gue0", &paths).await?;
    run(&device, &socket, &gateway, async {
        for account in accounts {
            let udp = UdpSocket::bind(SocketAddrV4::new(account.public(), 0)).await?;
            for length in [1, 100, 1400, 1420] {
                answered(*account, &udp, length).await?;
            }
            let bytes: Vec<u8> = (0..4_000_000_u32).map(|number| (number % 251) as u8).collect();
            let echoed = tokio::time::timeout(PATIENCE, echoed(*account, &bytes));
            echoed.await.context("the stream takes too long")??;
        }
        // Nobody serves this port: there is no tunnel to it.
        let udp = UdpSocket::bind(SocketAddrV4::new(accounts[0].public(), 0)).await?;
        udp.send_to(b"x", SocketAddrV4::new(*ENDPOINT.ip(), 8081)).await?;
        answered(accounts[0], &udp, 1).await?;
        let dropped = gateway.dropped();
        ensure!(dropped.of(Dropped::Destination) == 1 && dropped.of(Dropped::Peer) == 0, "{dropped:?}");
        Ok(())
    })
    .await
}

#[test]
fn accounts_with_the_same_endpoints_reach_their_own_through_their_tunnels() -> Result<()> {
    let accounts = [1, 2].map(|number| Account { number });
    let node = mk_epic(&accounts)?;
    let nodes = [mk_node(&node, accounts[0])?, mk_node(&node, accounts[1])?];
    std::thread::scope(|scope| {
        let mut ends = Vec::new();
        let customers: Vec<_> = nodes
            .iter()
            .zip(accounts)
            .map(|(node, account)| {
                let (end, ended) = oneshot::channel();
                ends.push(end);
                scope.spawn(move || node.block_on(async || customer(account, ended).await))
            })
            .collect();
        let outcome = node.block_on(async || epic(&accounts).await);
        drop(ends);
        for customer in customers {
            customer.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        }
        outcome
    })
}
