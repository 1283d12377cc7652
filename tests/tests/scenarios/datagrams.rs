//! Datagrams of every size and address family arrive unchanged, through one proxy and through two.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, UdpSocket};

use anyhow::{Context, Result, ensure};
use portreeve_tests::netns::Netns;
use portreeve_tests::path;
use portreeve_tests::town::{BOUND, Town, Worker, listeners};
use portreeve_tests::udp::{self, Echo};
use portreeve_tests::virtual_service::{Host, Service};

/// The labels of the gateways.
const GATEWAY: &str = "app: envoy-ingress";
/// The port of every app.
const APP: u16 = 6000;
/// The sizes that pass: Envoy's limit is 1,500 bytes.
const SIZES: [usize; 6] = [1, 1_500, 1_501, 3_000, 8_999, 9_000];

/// Returns bytes that change if they are shifted, cut or swapped.
fn pattern(size: usize, seed: u8) -> Vec<u8> {
    let mut state = u32::from(seed) + 1;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    (0..size).map(|_| next()).collect()
}

/// Receives the next datagram and its sender; `None` if none arrives.
fn receive(socket: &UdpSocket) -> Result<Option<(Vec<u8>, SocketAddr)>> {
    let mut buffer = vec![0; 65_536];
    match socket.recv_from(&mut buffer) {
        Ok((length, from)) => {
            buffer.truncate(length);
            Ok(Some((buffer, from)))
        }
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Opens a socket that waits for datagrams.
fn waiting(namespace: &Netns, address: SocketAddr) -> Result<UdpSocket> {
    let socket = udp::socket(namespace, address)?;
    socket.set_read_timeout(Some(BOUND))?;
    Ok(socket)
}

/// Sends one datagram of `size` bytes and an answer of the same size, and compares every byte of both.
fn exchange(client: &UdpSocket, app: &UdpSocket, size: usize) -> Result<()> {
    let (question, answer) = (pattern(size, 1), pattern(size, 2));
    client.send(&question)?;
    let (heard, from) = receive(app)?.with_context(|| format!("{size} bytes did not reach the app"))?;
    ensure!(heard == question, "{} bytes of {size} reached the app, or other ones", heard.len());
    app.send_to(&answer, from)?;
    let (heard, _) = receive(client)?.with_context(|| format!("{size} bytes did not come back"))?;
    ensure!(heard == answer, "{} bytes of {size} came back, or other ones", heard.len());
    println!("{size} bytes each way, by {from}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn datagrams_up_to_9000_bytes_pass_two_proxies_whole_in_both_directions() -> Result<()> {
    let town = Town::start(2).await?;
    town.gateways().await?;
    let worker = town.worker(2, 1, "app: worker", true).await?;
    worker.admin.wait_ready(BOUND).await?;
    let ingress = Service::new("ingress", GATEWAY).udp("in", 5001, &[Host::Pods("app: worker")], 5002);
    let sidecar = Service::new("worker", "app: worker").udp("out", 5002, &[Host::At("127.0.0.1")], APP);
    town.apply(&(ingress.yaml() + &sidecar.yaml())).await?;
    listeners(&worker.admin, &["out"], BOUND).await?;
    let local = SocketAddr::new("127.0.0.1".parse()?, APP);
    for node in &town.nodes {
        let target = SocketAddr::new(node.address(), 5001);
        let echo = Echo::start(&worker.netns, "worker", local)?;
        path::opens(town.bed.root(), target, "worker", BOUND)?;
        drop(echo);
        let app = waiting(&worker.netns, local)?;
        let client = waiting(town.bed.root(), SocketAddr::new(town.bed.root().v4(), 0))?;
        client.connect(target)?;
        for size in SIZES {
            exchange(&client, &app, size)?;
        }
        // A datagram above the limit is dropped, not cut: the next one received is the one after it.
        client.send(&pattern(9_001, 3))?;
        exchange(&client, &app, 3_000)?;
        println!("through {}: 9,001 bytes dropped whole", node.name);
    }
    Ok(())
}

/// Creates a pod with these addresses, and an echo on each with the pod's name and the address's family.
async fn pod(town: &Town, j: u8, ips: impl Fn(&Worker) -> Vec<IpAddr>) -> Result<(Worker, Vec<Echo>)> {
    let mut worker = town.worker(1, j, &format!("app: pod{j}"), false).await?;
    worker.ips = ips(&worker);
    worker.set_ready(true).await?;
    let family = |ip: &IpAddr| if ip.is_ipv4() { "v4" } else { "v6" };
    let echo = |ip| {
        Echo::start(&worker.netns, &format!("{}-{}", worker.name, family(ip)), SocketAddr::new(*ip, APP))
    };
    let echoes: Result<Vec<_>> = worker.ips.iter().map(echo).collect();
    let echoes = echoes?;
    Ok((worker, echoes))
}

#[tokio::test(flavor = "multi_thread")]
async fn gateway_of_a_dual_stack_node_joins_both_families() -> Result<()> {
    let town = Town::start(1).await?;
    town.gateways().await?;
    let (v6, apps6) = pod(&town, 1, |w| vec![w.netns.v6()]).await?;
    let (_both, _apps) = pod(&town, 2, |w| vec![w.netns.v4(), w.netns.v6()]).await?;
    let (_v6_first, _apps64) = pod(&town, 3, |w| vec![w.netns.v6(), w.netns.v4()]).await?;
    let address = v6.ip().to_string();
    let mut service = Service::new("s", GATEWAY).udp("address", 5004, &[Host::At(&address)], APP);
    for (name, port, pods) in
        [("v6", 5001, "app: pod1"), ("both", 5002, "app: pod2"), ("v6first", 5003, "app: pod3")]
    {
        service = service.udp(name, port, &[Host::Pods(pods)], APP);
    }
    town.apply(&service.yaml()).await?;
    // A node whose first family is IPv4 uses the IPv4 address of every endpoint that has one.
    let wanted = [(5001, "w1-1-v6"), (5002, "w1-2-v4"), (5003, "w1-3-v4"), (5004, "w1-1-v6")];
    for ip in [town.nodes[0].netns.v4(), town.nodes[0].netns.v6()] {
        for (port, by) in wanted {
            let report = path::opens(town.bed.root(), SocketAddr::new(ip, port), by, BOUND)?;
            println!("{ip} port {port}: {report}");
        }
    }
    drop(apps6);
    let app = waiting(&v6.netns, SocketAddr::new(v6.ip(), APP))?;
    for (own, ip) in
        [(town.bed.root().v4(), town.nodes[0].netns.v4()), (town.bed.root().v6(), town.nodes[0].netns.v6())]
    {
        let client = waiting(town.bed.root(), SocketAddr::new(own, 0))?;
        client.connect(SocketAddr::new(ip, 5001))?;
        for size in SIZES {
            exchange(&client, &app, size)?;
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn sidecar_has_the_families_of_its_pod() -> Result<()> {
    let town = Town::start(1).await?;
    let (mut v6, _apps6) = pod(&town, 1, |w| vec![w.netns.v6()]).await?;
    let (mut v6_first, _apps64) = pod(&town, 2, |w| vec![w.netns.v6(), w.netns.v4()]).await?;
    let (mut v4, _apps4) = pod(&town, 3, |w| vec![w.netns.v4()]).await?;
    let (_target, _apps) = pod(&town, 4, |w| vec![w.netns.v4(), w.netns.v6()]).await?;
    let mut yaml = String::new();
    for (number, selector) in ["app: pod1", "app: pod2", "app: pod3"].iter().enumerate() {
        let name = format!("s{number}");
        yaml += &Service::new(&name, selector).udp("l", 5001, &[Host::Pods("app: pod4")], APP).yaml();
    }
    town.apply(&yaml).await?;
    for worker in [&mut v6, &mut v6_first, &mut v4] {
        town.start_sidecar(worker, 0)?;
        worker.admin.wait_ready(BOUND).await?;
        listeners(&worker.admin, &["l"], BOUND).await?;
    }
    let root = town.bed.root();
    let at = |ip| SocketAddr::new(ip, 5001);
    path::opens(root, at(v6.netns.v6()), "w1-4-v6", BOUND)?;
    path::opens(root, at(v6_first.netns.v6()), "w1-4-v6", BOUND)?;
    path::opens(root, at(v6_first.netns.v4()), "w1-4-v6", BOUND)?;
    path::opens(root, at(v4.netns.v4()), "w1-4-v4", BOUND)?;
    let bound = |worker: &Worker| {
        let admin = worker.admin.clone();
        async move {
            anyhow::Ok(admin.listeners().await?.into_iter().map(|(_, address)| address).collect::<Vec<_>>())
        }
    };
    let (v6, first, v4) = (bound(&v6).await?, bound(&v6_first).await?, bound(&v4).await?);
    println!("IPv6 only {v6:?}, IPv6 first {first:?}, IPv4 only {v4:?}");
    let any6 = SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), 5001).to_string();
    ensure!((v6, first, v4) == (vec![any6.clone()], vec![any6], vec!["0.0.0.0:5001".to_owned()]));
    Ok(())
}
