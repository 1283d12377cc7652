//! How much passes a tunnel, beside the bare cable, kernel VXLAN, the kernel's own GUE if it has it, and a tunnel that passes each
//! packet alone. All ends are on this machine, in two network namespaces. Needs root.
//!
//! `cargo bench -p portreeve-tunnels`

#[path = "../../addresses/tests/bed/mod.rs"]
mod bed;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use portreeve_api::c::tunnel_key::TunnelKey;
use portreeve_gue::client::{Client, Tunnel};
use portreeve_gue::gateway::{Gateway, LoadBalancer};
use portreeve_gue::ipv4::Transport;
use portreeve_gue::wire::Ids;
use portreeve_tunnels::kernel::Kernel;
use portreeve_tunnels::paths::Paths;
use portreeve_tunnels::{End, Passage, Shared, Socket, device, inward, outward};
use socket2::{Domain, Socket as Socket2, Type};
use tokio::sync::oneshot;

use bed::Namespace;

/// How long each measurement takes, and how often it is repeated. All ways take turns, so that what else the machine does meets
/// all of them, and the median counts.
const TIME: Duration = Duration::from_secs(1);
const ROUNDS: usize = 5;
const IDS: Ids = Ids { group: 1, service: 1 };
const TUNNEL: u32 = 1;
const PORT: u16 = 8080;
const KEY: [u8; 16] = [7; 16];
/// The ends of the cable, of VXLAN, of the kernel's GUE and of the tunnel: the sender's and the receiver's.
const CABLE: [Ipv4Addr; 2] = [Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(192, 0, 2, 2)];
const VXLAN: [Ipv4Addr; 2] = [Ipv4Addr::new(198, 51, 100, 1), Ipv4Addr::new(198, 51, 100, 2)];
const KERNEL: [Ipv4Addr; 2] = [Ipv4Addr::new(198, 51, 101, 1), Ipv4Addr::new(198, 51, 101, 2)];
const GUE: [Ipv4Addr; 2] = [Ipv4Addr::new(203, 0, 113, 7), Ipv4Addr::new(10, 244, 1, 5)];

/// What was measured on one way.
struct Figures {
    /// Megabytes of a stream in a second.
    stream: f64,
    /// Thousands of datagrams of 1,400 and of 64 bytes that came in a second.
    large: f64,
    small: f64,
    /// The median time of a datagram there and back, in microseconds: on all CPUs, and with everything on one of them. Between CPUs,
    /// each program on the way adds what it costs to wake a CPU that sleeps, which on a virtual machine is more than all else.
    round: f64,
    near: f64,
}

fn mk_nodes() -> Result<[Namespace; 2]> {
    let nodes = [Namespace::new()?, Namespace::new()?];
    nodes[0].ip(&format!("link add eth0 type veth peer name eth0 netns {}", nodes[1].path()))?;
    for (side, of) in nodes.iter().enumerate() {
        of.ip("link set lo up")?;
        of.ip(&format!("addr add {}/24 dev eth0", CABLE[side]))?;
        of.ip("link set eth0 up")?;
        let ends = format!("local {} remote {} dstport 4789", CABLE[side], CABLE[1 - side]);
        of.ip(&format!("link add vx0 type vxlan id 1 {ends}"))?;
        of.ip(&format!("addr add {}/24 dev vx0", VXLAN[side]))?;
        of.ip("link set vx0 up")?;
        of.ip(&format!("addr add {}/32 dev lo", GUE[side]))?;
    }
    Ok(nodes)
}

/// Makes the kernel's own GUE. Returns whether it has it (CONFIG_NET_FOU).
fn mk_kernel_gue(nodes: [&Namespace; 2]) -> bool {
    let sides = nodes.iter().enumerate().map(|(side, of)| {
        of.ip("fou add port 6082 gue")?;
        let ends = format!("local {} remote {}", CABLE[side], CABLE[1 - side]);
        of.ip(&format!("link add gu0 type ipip {ends} encap gue encap-sport auto encap-dport 6082"))?;
        of.ip(&format!("addr add {}/24 dev gu0", KERNEL[side]))?;
        of.ip("link set gu0 up")
    });
    sides.collect::<Result<Vec<_>>>().is_ok()
}

/// Runs `work` in a namespace on a thread of its own.
fn within<T: Send>(of: &Namespace, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let mut outcome = None;
    of.block_on(async || {
        outcome = Some(work()?);
        Ok(())
    })?;
    outcome.context("no outcome")
}

/// Runs `work`, and all threads that it starts, on one CPU.
fn on_one_cpu<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    let (this, mut one) = (Pid::from_raw(0), CpuSet::new());
    let all = sched_getaffinity(this)?;
    let first = (0..CpuSet::count()).find(|cpu| all.is_set(*cpu).unwrap_or(false));
    one.set(first.context("no CPU")?)?;
    sched_setaffinity(this, &one)?;
    let outcome = work();
    sched_setaffinity(this, &all)?;
    outcome
}

/// Measures a way that needs no program, from and to these addresses.
fn measure(nodes: [&Namespace; 2], ends: [Ipv4Addr; 2]) -> Result<Figures> {
    let near = on_one_cpu(|| round(nodes, ends))?;
    Ok(Figures { near, ..measure_on_all(nodes, ends)? })
}

/// Measures a tunnel.
fn measure_tunnel(nodes: [&Namespace; 2], passage: Passage) -> Result<Figures> {
    let near = on_one_cpu(|| tunnel(nodes, passage, || round(nodes, GUE)))?;
    Ok(Figures { near, ..tunnel(nodes, passage, || measure_on_all(nodes, GUE))? })
}

/// Measures all but the time on one CPU.
fn measure_on_all(nodes: [&Namespace; 2], ends: [Ipv4Addr; 2]) -> Result<Figures> {
    let ([sender, receiver], [from, to]) = (nodes, ends);
    let at = SocketAddrV4::new(to, PORT);
    let (from, to) = (SocketAddr::new(from.into(), 0), SocketAddr::from(at));
    let listener = within(receiver, || Ok(TcpListener::bind(to)?))?;
    let stream = std::thread::scope(|scope| -> Result<f64> {
        let counted = scope.spawn(|| count_stream(&listener));
        within(sender, || send_stream(from, to))?;
        counted.join().map_err(|_| anyhow::anyhow!("the receiver panicked"))?
    })?;
    Ok(Figures {
        stream: stream / 1e6,
        large: datagrams((sender, from), (receiver, to), 1400)? / 1e3,
        small: datagrams((sender, from), (receiver, to), 64)? / 1e3,
        round: round(nodes, ends)?,
        near: f64::NAN,
    })
}

/// Sends as much as it can for the time of a measurement.
fn send_stream(from: SocketAddr, to: SocketAddr) -> Result<()> {
    let socket = Socket2::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&from.into())?;
    socket.connect(&to.into())?;
    let (mut stream, bytes, begun) = (TcpStream::from(socket), vec![7; 1 << 17], Instant::now());
    while begun.elapsed() < TIME {
        stream.write_all(&bytes)?;
    }
    Ok(())
}

/// Returns the bytes in a second of one stream.
fn count_stream(listener: &TcpListener) -> Result<f64> {
    let (mut stream, _) = listener.accept()?;
    let (mut bytes, mut sum, begun) = (vec![0; 1 << 17], 0, Instant::now());
    loop {
        match stream.read(&mut bytes)? {
            0 => return Ok(sum as f64 / begun.elapsed().as_secs_f64()),
            count => sum += count,
        }
    }
}

/// Returns how many datagrams of this length come in a second, when as many as possible are sent.
fn datagrams(
    (sender, from): (&Namespace, SocketAddr),
    (receiver, to): (&Namespace, SocketAddr),
    length: usize,
) -> Result<f64> {
    let target = within(receiver, || Ok(UdpSocket::bind(to)?))?;
    let source = within(sender, || Ok(UdpSocket::bind(from)?))?;
    target.set_read_timeout(Some(Duration::from_millis(300)))?;
    std::thread::scope(|scope| {
        let counted = scope.spawn(|| {
            let (mut bytes, mut number) = (vec![0; 2048], 0_u64);
            while target.recv(&mut bytes).is_ok() {
                number += 1;
            }
            number
        });
        let (bytes, begun) = (vec![7; length], Instant::now());
        while begun.elapsed() < TIME {
            // A full queue is a loss, as on a cable.
            let _ = source.send_to(&bytes, to);
        }
        let number = counted.join().map_err(|_| anyhow::anyhow!("the receiver panicked"))?;
        Ok(number as f64 / TIME.as_secs_f64())
    })
}

/// Returns the median time of a datagram there and back, in microseconds.
fn round([sender, receiver]: [&Namespace; 2], [from, to]: [Ipv4Addr; 2]) -> Result<f64> {
    const TRIALS: usize = 2000;
    let (from, to) = (SocketAddr::new(from.into(), 0), SocketAddr::new(to.into(), PORT));
    let target = within(receiver, || Ok(UdpSocket::bind(to)?))?;
    let source = within(sender, || Ok(UdpSocket::bind(from)?))?;
    for socket in [&target, &source] {
        socket.set_read_timeout(Some(Duration::from_millis(300)))?;
    }
    let mut times = std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut bytes = vec![0; 2048];
            while let Ok((length, from)) = target.recv_from(&mut bytes) {
                let _ = target.send_to(&bytes[..length], from);
            }
        });
        let mut bytes = vec![0; 2048];
        let mut trial = || -> Result<Duration> {
            let begun = Instant::now();
            source.send_to(&[7; 64], to)?;
            source.recv(&mut bytes)?;
            Ok(begun.elapsed())
        };
        (0..TRIALS).map(|_| trial()).collect::<Result<Vec<_>>>()
    })?;
    times.sort();
    Ok(times[TRIALS / 2].as_secs_f64() * 1e6)
}

/// Runs an end's data path until it is told to end.
async fn run<E: End>(
    at: Ipv4Addr,
    passage: Passage,
    end: E,
    paths: Paths,
    done: oneshot::Receiver<()>,
) -> Result<()> {
    let (device, socket) = (device("gue0", passage)?, Socket::bind(SocketAddrV4::new(at, 6080), passage)?);
    Kernel::open()?.set("gue0", &paths).await?;
    let shared = Shared::new(end);
    tokio::select! {
        ended = outward(&device, &socket, &shared) => anyhow::bail!("the device: {ended:?}"),
        ended = inward(&socket, &device, &shared) => anyhow::bail!("the socket: {ended:?}"),
        _ = done => Ok(()),
    }
}

/// Runs `work` while the tunnel is there.
fn tunnel<T>(nodes: [&Namespace; 2], passage: Passage, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let endpoint = SocketAddrV4::new(GUE[1], PORT);
    let endpoints = [(Transport::Udp, endpoint), (Transport::Tcp, endpoint)];
    let key = TunnelKey::from(KEY);
    let (mut gateway, mut paths) = (Gateway::new(false), [Paths::default(), Paths::default()]);
    let of_tunnel = endpoints.map(|endpoint| (endpoint, TUNNEL));
    let load_balancer = LoadBalancer {
        ids: IDS,
        key,
        address: GUE[0],
        tunnels: BTreeMap::from([(TUNNEL, SocketAddrV4::new(CABLE[0], 6080))]),
        endpoints: BTreeMap::from(of_tunnel),
    };
    paths[0].add_load_balancer(&load_balancer, &[]);
    gateway.put(&"a/a".into(), load_balancer)?;
    let epic = SocketAddrV4::new(CABLE[0], 6080);
    let tunnel = Tunnel { ids: IDS, key, epic, endpoints: BTreeSet::from(endpoints) };
    paths[1].add_tunnel(&tunnel, GUE[0]);
    let mut client = Client::new();
    client.put(TUNNEL, tunnel, Instant::now());
    // The first ping is sent by hand, to the gateway itself.
    for (_, ping) in client.pings(Instant::now()) {
        let _ = gateway.receive(SocketAddrV4::new(CABLE[1], 6080), &ping, 0);
    }
    let ([of_epic, of_customer], (ends, dones)) = (paths, (oneshot::channel(), oneshot::channel()));
    std::thread::scope(|scope| {
        let epic = scope
            .spawn(|| nodes[0].block_on(async || run(CABLE[0], passage, gateway, of_epic, ends.1).await));
        let customer = scope
            .spawn(|| nodes[1].block_on(async || run(CABLE[1], passage, client, of_customer, dones.1).await));
        // Until both devices are there.
        let (_pause, paused) = mpsc::channel::<()>();
        let _ = paused.recv_timeout(Duration::from_secs(1));
        let outcome = work();
        drop((ends.0, dones.0));
        for end in [epic, customer] {
            end.join().map_err(|_| anyhow::anyhow!("an end panicked"))??;
        }
        outcome
    })
}

/// Returns the median of what was measured on one way.
fn median(all: &[Figures]) -> Figures {
    let of = |figure: fn(&Figures) -> f64| {
        let mut values: Vec<_> = all.iter().map(figure).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    Figures {
        stream: of(|of| of.stream),
        large: of(|of| of.large),
        small: of(|of| of.small),
        round: of(|of| of.round),
        near: of(|of| of.near),
    }
}

fn main() -> Result<()> {
    // Tests of all targets start benchmarks, too.
    if !std::env::args().any(|argument| argument == "--bench") {
        return Ok(());
    }
    let nodes = mk_nodes()?;
    let nodes = [&nodes[0], &nodes[1]];
    let mut rows = ["cable", "kernel VXLAN", "kernel GUE", "tunnel", "tunnel, each packet alone"]
        .map(|name| (name, Vec::new()));
    let has_gue = mk_kernel_gue(nodes);
    for _ in 0..ROUNDS {
        rows[0].1.push(measure(nodes, CABLE)?);
        rows[1].1.push(measure(nodes, VXLAN)?);
        if has_gue {
            rows[2].1.push(measure(nodes, KERNEL)?);
        }
        rows[3].1.push(measure_tunnel(nodes, Passage::Together)?);
        rows[4].1.push(measure_tunnel(nodes, Passage::Alone)?);
    }
    if !has_gue {
        println!("This kernel has no GUE of its own (CONFIG_NET_FOU).");
    }
    let measured = rows.into_iter().filter(|(_, all)| !all.is_empty());
    let rows: Vec<_> = measured.map(|(name, all)| (name, median(&all))).collect();
    println!(
        "{:26} {:>18} {:>18} {:>18} {:>14} {:>14}",
        "", "stream, MB/s", "1,400 B, 1,000/s", "64 B, 1,000/s", "there and back", "on one CPU, µs"
    );
    let vxlan = &rows[1].1;
    for (name, row) in &rows {
        let figure = |value: f64, of: f64| format!("{value:9.1} ({:6.2})", value / of);
        let time = |value: f64, of: f64| format!("{value:5.1} ({:+6.1})", value - of);
        println!(
            "{name:26} {:>18} {:>18} {:>18} {:>14} {:>14}",
            figure(row.stream, vxlan.stream),
            figure(row.large, vxlan.large),
            figure(row.small, vxlan.small),
            time(row.round, vxlan.round),
            time(row.near, vxlan.near),
        );
    }
    println!(
        "in parentheses: beside kernel VXLAN, and what is added to its time; medians of {ROUNDS} rounds of {TIME:?} each; \
         both ends and both programs on this machine"
    );
    Ok(())
}
