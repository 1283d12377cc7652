//! Packets through a tunnel between two network namespaces. Needs root, iproute2 and util-linux.
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
use portreeve_tunnels::{AsyncDevice, End, Passage, Shared, Socket, device, inward, outward};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UdpSocket};
use tokio::sync::oneshot;

use bed::Namespace;

const IDS: Ids = Ids { group: 1, service: 3 };
const TUNNEL: u32 = 4;
const PUBLIC: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 7);
const ENDPOINT: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 244, 1, 5), 8080);
const EPIC: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 1), 6080);
const NODE: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 2), 6080);
const PATIENCE: Duration = Duration::from_secs(20);

fn key() -> TunnelKey {
    TunnelKey::from([7; 16])
}

fn endpoints() -> [(Transport, SocketAddrV4); 2] {
    [(Transport::Udp, ENDPOINT), (Transport::Tcp, ENDPOINT)]
}

/// Creates EPIC's node with the public address, the customer's node with the endpoint, and a cable between them.
fn mk_nodes() -> Result<(Namespace, Namespace)> {
    let (epic, node) = (Namespace::new()?, Namespace::new()?);
    epic.ip(&format!("link add eth0 type veth peer name eth0 netns {}", node.path()))?;
    for (of, own, other) in [(&epic, EPIC, PUBLIC), (&node, NODE, *ENDPOINT.ip())] {
        of.ip("link set lo up")?;
        of.ip(&format!("addr add {}/24 dev eth0", own.ip()))?;
        of.ip(&format!("addr add {other}/32 dev lo"))?;
        of.ip("link set eth0 up")?;
    }
    Ok((epic, node))
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

/// The customer's node: it pings, and its endpoint echoes until it is told to end.
async fn customer(end: oneshot::Receiver<()>) -> Result<()> {
    let (device, socket) = (device("gue0", Passage::Together)?, Socket::bind(NODE, Passage::Together)?);
    let mut client = Client::new();
    let tunnel = Tunnel { ids: IDS, key: key(), epic: EPIC, endpoints: BTreeSet::from(endpoints()) };
    let mut paths = Paths::default();
    paths.add_tunnel(&tunnel, PUBLIC);
    Kernel::open()?.set("gue0", &paths).await?;
    client.put(TUNNEL, tunnel, Instant::now());
    for (to, ping) in client.pings(Instant::now()) {
        socket.send(to, &ping).await?;
    }
    let client = Shared::new(client);
    let (udp, tcp) = (UdpSocket::bind(ENDPOINT).await?, TcpListener::bind(ENDPOINT).await?);
    run(&device, &socket, &client, async {
        tokio::select! {
            ended = echo_datagrams(&udp) => ended,
            ended = echo_streams(&tcp) => ended,
            _ = end => Ok(()),
        }
    })
    .await
}

async fn echo_datagrams(socket: &UdpSocket) -> Result<()> {
    let mut datagram = vec![0; 2048];
    loop {
        let (length, from) = socket.recv_from(&mut datagram).await?;
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

/// Sends a datagram until it comes back.
async fn answered(socket: &UdpSocket, payload: &[u8]) -> Result<()> {
    let mut answer = vec![0; 2048];
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        socket.send_to(payload, ENDPOINT).await?;
        let wait = tokio::time::timeout(Duration::from_millis(200), socket.recv_from(&mut answer));
        if let Ok(received) = wait.await {
            let (length, from) = received?;
            ensure!(from == ENDPOINT.into() && &answer[..length] == payload, "{length} bytes of {from}");
            return Ok(());
        }
    }
    anyhow::bail!("no answer to {} bytes", payload.len())
}

/// Sends bytes through a stream and checks that the same ones come back.
async fn echoed(bytes: &[u8]) -> Result<()> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddrV4::new(PUBLIC, 0).into())?;
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

async fn epic() -> Result<()> {
    let (device, socket) = (device("gue0", Passage::Together)?, Socket::bind(EPIC, Passage::Together)?);
    let gateway = Shared::new(Gateway::new(true));
    let endpoints = BTreeMap::from(endpoints().map(|endpoint| (endpoint, TUNNEL)));
    let load_balancer = LoadBalancer { ids: IDS, key: key(), address: PUBLIC, endpoints };
    let mut paths = Paths::default();
    paths.add_load_balancer(&load_balancer, &[]);
    Kernel::open()?.set("gue0", &paths).await?;
    gateway.with(|gateway| gateway.put(&"epic-a/web".into(), load_balancer));
    run(&device, &socket, &gateway, async {
        let udp = UdpSocket::bind(SocketAddrV4::new(PUBLIC, 0)).await?;
        for length in [1, 100, 1400, 1420] {
            answered(&udp, &vec![7; length]).await?;
        }
        let bytes: Vec<u8> = (0..4_000_000_u32).map(|number| (number % 251) as u8).collect();
        tokio::time::timeout(PATIENCE, echoed(&bytes)).await.context("the stream takes too long")??;
        // Nobody serves this port: there is no tunnel to it.
        let elsewhere = SocketAddrV4::new(*ENDPOINT.ip(), 8081);
        udp.send_to(b"x", elsewhere).await?;
        answered(&udp, b"y").await?;
        let dropped = gateway.dropped();
        ensure!(dropped.of(Dropped::Destination) == 1 && dropped.of(Dropped::Peer) == 0, "{dropped:?}");
        Ok(())
    })
    .await
}

#[test]
fn datagrams_and_streams_pass_a_tunnel_and_come_back() -> Result<()> {
    let (epic_node, customers) = mk_nodes()?;
    let (end, ended) = oneshot::channel();
    std::thread::scope(|scope| {
        let customer = scope.spawn(|| customers.block_on(async || customer(ended).await));
        let outcome = epic_node.block_on(async || epic().await);
        drop(end);
        let of_customer = customer.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        outcome.and(of_customer)
    })
}
