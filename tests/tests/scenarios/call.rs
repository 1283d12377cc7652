//! A call as in the API's own samples: two VirtualServices with four listeners each and one key, gateway → worker →
//! application.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use anyhow::{Result, ensure};
use portreeve_tests::health_port::HealthPort;
use portreeve_tests::town::{BOUND, Town, Worker, listeners};
use portreeve_tests::udp::{Echo, Flow};
use portreeve_tests::virtual_service::said;
use portreeve_tests::writes::Writes;

/// Ports of a call's four pipes: RTP and RTCP of two parties.
const PIPES: [u16; 4] = [10_000, 10_001, 10_002, 10_003];

/// One side of a call, as the call controllers write it.
fn side(name: &str, app: &str, call: &str, endpoint: &str, ports: impl Fn(u16) -> (u16, u16)) -> String {
    let mut text = format!(
        "apiVersion: servicemesh.l7mp.io/v1\nkind: VirtualService\nmetadata: {{name: {name}-{call}, namespace: default}}\n\
         spec:\n  selector: {{app: {app}}}\n  listeners:\n"
    );
    for (i, pipe) in PIPES.into_iter().enumerate() {
        let (listen, forward) = ports(pipe);
        text += &format!(
            "  - name: listener-{name}-{call}-{i}\n    udp:\n      port: {listen}\n      cluster:\n        \
             name: cluster-{name}-{call}-{i}\n        service_discovery: strictdns\n        hash_key: {call}\n        \
             health_check: {{interval: 500, protocol: TCP}}\n        endpoints:\n        - name: endpoint-{name}-{call}-{i}\n          \
             host: {{{endpoint}}}\n          port: {forward}\n          health_check_port: 1233\n"
        );
    }
    text
}

fn apps(worker: &Worker) -> Result<Vec<Echo>> {
    let local = |port| SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
    PIPES.into_iter().map(|port| Echo::start(&worker.netns, &worker.name, local(port))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn two_sided_call_reaches_the_app_of_one_worker_through_all_four_pipes() -> Result<()> {
    let town = Town::start(2).await?;
    town.gateways().await?;
    let mut workers = Vec::new();
    let (mut echoes, mut healths) = (Vec::new(), Vec::new());
    for j in 1..=3 {
        let worker = town.worker(2, j, "app: worker", true).await?;
        worker.admin.wait_ready(BOUND).await?;
        echoes.extend(apps(&worker)?);
        // The gateway's agent probes the pod's address, and the pod's own Envoy probes the loopback.
        let any = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 1233);
        healths.push(HealthPort::open(&worker.netns, any)?);
        workers.push(worker);
    }
    let writes = Writes::of(&town.client);
    let ingress = side("ingress", "envoy-ingress", "c1", "selector: {app: worker}", |p| (p, p + 20_000));
    let sidecar = side("worker", "worker", "c1", "address: 127.0.0.1", |p| (p + 20_000, p));
    town.apply(&format!("{ingress}---\n{sidecar}")).await?;
    let names = |side: &str| (0..4).map(|i| format!("listener-{side}-c1-{i}")).collect::<Vec<_>>();
    for worker in &workers {
        let wanted = names("worker");
        listeners(&worker.admin, &wanted.iter().map(String::as_str).collect::<Vec<_>>(), BOUND).await?;
    }
    for node in &town.nodes {
        let wanted = names("ingress");
        listeners(&node.gateway(), &wanted.iter().map(String::as_str).collect::<Vec<_>>(), BOUND).await?;
    }
    let mut answered = std::collections::BTreeSet::new();
    for node in &town.nodes {
        for pipe in PIPES {
            let target = SocketAddr::new(node.address(), pipe);
            let report = Flow::to(target).sockets(4).rate(100).start(town.bed.root())?.finish()?;
            report.lossless()?;
            answered.extend(report.answered_by().into_keys());
        }
    }
    ensure!(answered.len() == 1, "the call was split over {answered:?}");
    for name in ["ingress-c1", "worker-c1"] {
        println!("{}", said(&town.client, name, ("Programmed", "True"), BOUND).await?);
    }
    town.delete(&format!("{ingress}---\n{sidecar}")).await?;
    for node in &town.nodes {
        listeners(&node.gateway(), &[], BOUND).await?;
    }
    for worker in &workers {
        listeners(&worker.admin, &[], BOUND).await?;
    }
    writes.at_most(2, &["ingress-c1", "worker-c1"])
}
