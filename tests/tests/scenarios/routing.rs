//! Listeners and endpoints are added, changed and removed: traffic follows, and other traffic isn't affected.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use portreeve_tests::netns::Netns;
use portreeve_tests::town::{BOUND, Town, Worker, listeners};
use portreeve_tests::udp::{Echo, Flow, Running};
use portreeve_tests::virtual_service::{Host, Service, said};
use portreeve_tests::{path, wait};

/// The labels of the gateways.
const GATEWAY: &str = "app: envoy-ingress";
/// The port of every app.
const APP: u16 = 6000;

/// A town of one node with a gateway, and the address of a port of that gateway.
async fn one_gateway() -> Result<(Town, impl Fn(u16) -> SocketAddr)> {
    let town = Town::start(1).await?;
    town.gateways().await?;
    let address = town.nodes[0].address();
    Ok((town, move |port| SocketAddr::new(address, port)))
}

/// Starts a pod's echo on its primary address, with the pod's name.
fn app(worker: &Worker) -> Result<Echo> {
    Echo::start(&worker.netns, &worker.name, SocketAddr::new(worker.ip(), APP))
}

/// Starts four sessions with continuous traffic.
fn busy(from: &Netns, target: SocketAddr) -> Result<Running> {
    Flow::to(target).sockets(4).rate(80).lasting(Duration::from_secs(300)).start(from)
}

/// Stops a flow, and checks that nothing was lost and every session kept its upstream socket.
fn untouched(what: &str, flow: Running) -> Result<()> {
    let report = flow.stop()?;
    println!("{what}: {report}");
    report.lossless()?;
    for line in &report.lines {
        ensure!(line.upstreams().len() == 1, "{what}: a session moved over {:?}", line.upstreams());
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn listeners_come_change_and_go_without_touching_the_sessions_of_others() -> Result<()> {
    let (town, at) = one_gateway().await?;
    let (root, gateway) = (town.bed.root(), town.nodes[0].gateway());
    let worker = town.worker(1, 1, "app: worker, tier: a", false).await?;
    let _app = app(&worker)?;
    // Both clusters of the object `a` have one name, and are different.
    let (pods, tier) = ([Host::Pods("app: worker")], [Host::Pods("tier: a")]);
    let a = Service::new("a", GATEWAY).udp("l1", 5001, &pods, APP);
    let b = Service::new("b", GATEWAY).udp("l2", 5002, &pods, APP);
    town.apply(&(a.yaml() + &b.yaml())).await?;
    path::opens(root, at(5001), "w1-1", BOUND)?;
    path::opens(root, at(5002), "w1-1", BOUND)?;
    let (own, other) = (busy(root, at(5001))?, busy(root, at(5002))?);

    let a = a.udp("l3", 5003, &tier, APP);
    town.apply(&a.yaml()).await?;
    path::opens(root, at(5003), "w1-1", BOUND)?;
    let a = a.udp("l3", 5004, &tier, APP);
    town.apply(&a.yaml()).await?;
    path::opens(root, at(5004), "w1-1", BOUND)?;
    path::closes(root, at(5003), BOUND)?;
    let a = a.without("l3");
    town.apply(&a.yaml()).await?;
    listeners(&gateway, &["l1", "l2"], BOUND).await?;
    path::closes(root, at(5004), BOUND)?;
    untouched("the object's other listener", own)?;

    town.delete(&a.yaml()).await?;
    listeners(&gateway, &["l2"], BOUND).await?;
    path::closes(root, at(5001), BOUND)?;
    untouched("the other object", other)?;
    let stats = gateway.stats().await?;
    let count =
        |what: &str| stats.get(&format!("listener_manager.listener_{what}")).copied().unwrap_or_default();
    println!("added {}, modified {}, removed {}", count("added"), count("modified"), count("removed"));
    ensure!((count("added"), count("modified"), count("removed")) == (3, 1, 2));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn endpoints_by_selector_and_by_address_are_joined() -> Result<()> {
    let (town, at) = one_gateway().await?;
    let (root, gateway) = (town.bed.root(), town.nodes[0].gateway());
    let one = town.worker(1, 1, "app: worker, tier: a", false).await?;
    let two = town.worker(1, 2, "app: worker, tier: b", false).await?;
    let stranger = town.worker(1, 3, "app: other", false).await?;
    let _apps = [app(&one)?, app(&two)?, app(&stranger)?];
    let (address, both) = (stranger.ip().to_string(), Host::Pods("app: worker"));
    let service = Service::new("s", GATEWAY)
        .udp("anded", 5001, &[Host::Pods("app: worker, tier: b")], APP)
        .udp("address", 5002, &[Host::At(&address)], APP)
        .udp("joined", 5003, &[both, Host::At(&address)], APP);
    town.apply(&service.yaml()).await?;
    path::opens(root, at(5001), "w1-2", BOUND)?;
    path::opens(root, at(5002), "w1-3", BOUND)?;
    let report = path::answered(root, at(5003), BOUND)?;
    println!("joined: {report}");
    let hosts = hosts(&gateway.clusters().await?, "joined/c");
    let wanted: Vec<String> = [&one, &two, &stranger].iter().map(|w| format!("{}:{APP}", w.ip())).collect();
    println!("hosts of joined: {hosts:?}");
    ensure!(hosts == wanted, "{hosts:?} instead of {wanted:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_edit_leaves_the_port_with_the_worker_that_it_had() -> Result<()> {
    let (town, at) = one_gateway().await?;
    let root = town.bed.root();
    let one = town.worker(1, 1, "tier: a", false).await?;
    let two = town.worker(1, 2, "tier: b", false).await?;
    let _apps = [app(&one)?, app(&two)?];
    let service = |port, tier| Service::new("s", GATEWAY).udp("l", port, &[Host::Pods(tier)], APP);
    town.apply(&service(5001, "tier: a").yaml()).await?;
    path::opens(root, at(5001), "w1-1", BOUND)?;

    let stranger = town.nodes[0].netns.enter(|| UdpSocket::bind(("0.0.0.0", 5002)))??;
    town.apply(&service(5002, "tier: b").yaml()).await?;
    println!("refused: {}", said(&town.client, "s", ("Programmed", "False"), BOUND).await?);
    // Until the rejection, the old port led to the new worker.
    path::opens(root, at(5001), "w1-1", BOUND)?;
    let report = Flow::to(at(5001)).sockets(4).rate(80).start(root)?.finish()?;
    println!("the port before the edit: {report}");
    ensure!(report.answered_by().keys().eq(["w1-1"]), "{report}");

    town.apply(&service(5003, "tier: b").yaml()).await?;
    path::opens(root, at(5003), "w1-2", BOUND)?;
    path::closes(root, at(5001), BOUND)?;
    drop(stranger);
    Ok(())
}

/// Returns the sorted hosts of the cluster with this suffix of its name.
fn hosts(clusters: &str, name: &str) -> Vec<String> {
    let of_cluster = |line: &str| {
        let (cluster, rest) = line.split_once("::")?;
        let (host, fact) = rest.split_once("::")?;
        (cluster.ends_with(&format!("/{name}")) && fact.starts_with("cx_active")).then(|| host.to_owned())
    };
    let mut found: Vec<String> = clusters.lines().filter_map(of_cluster).collect();
    found.sort();
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn service_whose_selector_matches_nothing_is_accepted_and_waits_for_its_pod() -> Result<()> {
    let town = Town::start(1).await?;
    let service = Service::new("s", "app: late").udp("l", 5001, &[Host::At("127.0.0.1")], APP);
    town.apply(&service.yaml()).await?;
    println!("Accepted: {}", said(&town.client, "s", ("Accepted", "True"), BOUND).await?);
    let mut worker = town.worker(1, 1, "app: late", false).await?;
    let local = SocketAddr::new("127.0.0.1".parse()?, APP);
    let _app = Echo::start(&worker.netns, "late", local)?;
    // Its proxy starts later, and then again.
    for round in 1..=2 {
        town.start_sidecar(&mut worker, 0)?;
        worker.admin.wait_ready(BOUND).await?;
        listeners(&worker.admin, &["l"], BOUND).await?;
        let report = path::opens(town.bed.root(), SocketAddr::new(worker.ip(), 5001), "late", BOUND)?;
        println!("proxy {round}: {report}");
        worker.envoy = None;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn empty_cluster_is_served_and_follows_the_readiness_of_its_pods() -> Result<()> {
    let (town, at) = one_gateway().await?;
    let (root, gateway, target) = (town.bed.root(), town.nodes[0].gateway(), at(5001));
    let service = Service::new("s", GATEWAY).udp("l", 5001, &[Host::Pods("app: worker")], APP);
    town.apply(&service.yaml()).await?;
    listeners(&gateway, &["l"], BOUND).await?;
    println!("without pods: {}", said(&town.client, "s", ("ResolvedRefs", "False"), BOUND).await?);
    path::closes(root, target, BOUND)?;

    let worker = town.worker(1, 1, "app: worker", false).await?;
    let app = app(&worker)?;
    path::opens(root, target, "w1-1", BOUND)?;
    println!("with a pod: {}", said(&town.client, "s", ("ResolvedRefs", "True"), BOUND).await?);
    worker.set_ready(false).await?;
    path::closes(root, target, BOUND)?;
    worker.set_ready(true).await?;
    path::opens(root, target, "w1-1", BOUND)?;

    let old = busy(root, target)?;
    wait::wait_until("datagrams of the old sessions", BOUND, || app.seen().sources.len() > 4)?;
    worker.remove().await?;
    path::closes(root, target, BOUND)?;
    // Existing sessions are dropped like new ones, because their endpoint is gone, and its address may belong to
    // another pod.
    app.forget();
    let report = Flow::to(target).sockets(4).rate(80).start(root)?.finish()?;
    println!("after the last endpoint: {report}, the old one saw {}", app.seen().received);
    ensure!(report.received() == 0 && app.seen().received == 0, "the removed endpoint was used");
    ensure!(old.stop()?.lost() > 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn api_server_that_restarts_costs_nothing_and_later_changes_arrive() -> Result<()> {
    let (mut town, at) = one_gateway().await?;
    let worker = town.worker(1, 1, "app: worker", false).await?;
    let _app = app(&worker)?;
    let pods = [Host::Pods("app: worker")];
    let service = Service::new("s", GATEWAY).udp("l1", 5001, &pods, APP);
    town.apply(&service.yaml()).await?;
    path::opens(town.bed.root(), at(5001), "w1-1", BOUND)?;
    let flow = busy(town.bed.root(), at(5001))?;
    town.control.restart().await?;
    // New connections: those of the previous client are gone.
    town.client = town.control.client()?;
    let service = service.udp("l2", 5002, &pods, APP);
    town.apply(&service.yaml()).await?;
    path::opens(town.bed.root(), at(5002), "w1-1", BOUND * 2)?;
    untouched("over the restart", flow)?;
    let modified = town.nodes[0].gateway().stat("listener_manager.listener_modified").await?;
    ensure!(modified == 0, "{modified} listeners were changed");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn tcp_connections_are_carried_both_ways() -> Result<()> {
    const LENGTH: usize = 1 << 20;
    let (town, at) = one_gateway().await?;
    let worker = town.worker(1, 1, "app: worker", false).await?;
    let app = worker.netns.enter(|| TcpListener::bind(SocketAddr::new(worker.ip(), APP)))??;
    let pods = [Host::Pods("app: worker")];
    // UDP and TCP share the number.
    let service = Service::new("s", GATEWAY).tcp("t", 5001, &pods, APP).udp("u", 5001, &pods, APP);
    town.apply(&service.yaml()).await?;
    let connect = || town.bed.root().enter(|| TcpStream::connect(at(5001))).ok()?.ok();
    listeners(&town.nodes[0].gateway(), &["t", "u"], BOUND).await?;
    let mut client = wait::wait_for("a connection", BOUND, connect)?;
    let (mut served, from) = app.accept()?;
    println!("the app sees {from}");
    ensure!(from.ip() == town.nodes[0].address(), "not through the proxy: {from}");
    let sent: Vec<u8> = (0..=250).cycle().take(LENGTH).collect();
    let mut heard = vec![0; LENGTH];
    exchange(&mut client, &mut served, &sent, &mut heard)?;
    ensure!(heard == sent, "bytes to the app differ");
    exchange(&mut served, &mut client, &sent, &mut heard)?;
    ensure!(heard == sent, "bytes from the app differ");
    drop(client);
    let mut rest = Vec::new();
    served.read_to_end(&mut rest).context("the end of the connection")?;
    ensure!(rest.is_empty());
    Ok(())
}

/// Writes on one end while the other reads.
fn exchange(writer: &mut TcpStream, reader: &mut TcpStream, sent: &[u8], heard: &mut [u8]) -> Result<()> {
    reader.set_read_timeout(Some(BOUND))?;
    writer.set_write_timeout(Some(BOUND))?;
    std::thread::scope(|scope| {
        let writing = scope.spawn(|| writer.write_all(sent));
        reader.read_exact(heard)?;
        writing.join().map_err(|_| anyhow::anyhow!("the writer panicked"))??;
        Ok(())
    })
}
