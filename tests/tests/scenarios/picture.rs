//! The pictures in the README: the output of `kubectl get vsvc,nodereports -o wide` for a healthy and a sick system.
//! `UPDATE=1 cargo test -p portreeve-tests --test scenarios picture` rewrites them.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use portreeve_tests::health_port::HealthPort;
use portreeve_tests::picture::{wide, without_ages};
use portreeve_tests::town::{BOUND, Town, Worker};
use portreeve_tests::wait;

/// The workers' health port.
const HEALTH: u16 = 8080;

/// A VirtualService with one checked UDP listener.
fn service(name: &str, port: u16, gateways: &str, workers: &str) -> String {
    format!(
        "---\napiVersion: servicemesh.l7mp.io/v1\nkind: VirtualService\n\
         metadata: {{name: {name}, namespace: default}}\n\
         spec:\n  selector: {{app: {gateways}}}\n  listeners:\n  - name: rtp\n    udp:\n      port: {port}\n      \
         cluster:\n        name: rtp\n        service_discovery: eds\n        hash_key: {name}\n        \
         health_check: {{interval: 500, protocol: TCP}}\n        endpoints:\n        - name: workers\n          \
         host: {{selector: {{app: {workers}}}}}\n          port: 22000\n          health_check_port: {HEALTH}\n"
    )
}

fn opened(worker: &Worker) -> Result<HealthPort> {
    HealthPort::open(&worker.netns, SocketAddr::new(worker.ip(), HEALTH))
}

/// Returns both tables, as kubectl prints them.
async fn picture(town: &Town) -> Result<String> {
    let services = "/apis/servicemesh.l7mp.io/v1/namespaces/default/virtualservices";
    let services = wide(&town.client, services, "virtualservice.servicemesh.l7mp.io/").await?;
    let reports = "/apis/portreeve.dev/v1alpha1/nodereports";
    let reports = wide(&town.client, reports, "nodereport.portreeve.dev/").await?;
    Ok(format!("{services}\n{reports}"))
}

/// Waits until each object's line in the table has these words.
async fn shows(town: &Town, wanted: &[(&str, &[&str])]) -> Result<String> {
    let whole = |picture: &str| {
        let line = |name: &str| picture.lines().find(|line| line.contains(&format!("/{name} ")));
        let said = |(name, words): &(&str, &[&str])| {
            line(name).is_some_and(|line| words.iter().all(|word| line.contains(word)))
        };
        wanted.iter().all(said)
    };
    let found =
        wait::eventually("the picture", BOUND, || async { picture(town).await.ok().filter(|p| whole(p)) });
    match found.await {
        Ok(found) => Ok(found),
        Err(error) => Err(error.context(picture(town).await?)),
    }
}

fn readme() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md")
}

/// Compares a picture with the README's, or writes it there.
fn compare(name: &str, picture: &str) -> Result<()> {
    println!("{picture}");
    let path = readme();
    let text = std::fs::read_to_string(&path)?;
    let (before, rest) =
        text.split_once(&format!("<!-- picture:{name} -->\n```\n")).context("no such picture")?;
    let (quoted, after) = rest.split_once("```\n").context("a picture without an end")?;
    if std::env::var_os("UPDATE").is_some() {
        let new = format!("{before}<!-- picture:{name} -->\n```\n{picture}```\n{after}");
        return Ok(std::fs::write(path, new)?);
    }
    ensure!(
        without_ages(quoted) == without_ages(picture),
        "the README shows another {name} system; to write it anew: UPDATE=1 cargo test -p portreeve-tests --test scenarios picture"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn readme_shows_what_kubectl_says_of_a_healthy_and_of_a_sick_system() -> Result<()> {
    let mut town = Town::start(2).await?;
    town.gateways().await?;
    let workers = [
        town.worker(1, 1, "app: worker", false).await?,
        town.worker(1, 2, "app: worker", false).await?,
        town.worker(2, 1, "app: worker", false).await?,
        town.worker(2, 2, "app: recorder", false).await?,
    ];
    let mut ports: BTreeMap<&str, HealthPort> = BTreeMap::new();
    for worker in &workers {
        ports.insert(&worker.name, opened(worker)?);
    }
    let call = service("call-1", 2000, "envoy-ingress", "worker");
    let record = service("record", 2010, "envoy-ingress", "recorder");
    town.apply(&format!("{call}{record}")).await?;
    let healthy = [
        ("call-1", ["Programmed", "Healthy", "3 of 3", "wanted 2, acked 2"].as_slice()),
        ("record", &["Programmed", "Healthy", "1 of 1", "wanted 2, acked 2"]),
        ("n1", &["Programmed", "2 of 2 Plans"]),
        ("n2", &["Programmed", "2 of 2 Plans"]),
    ];
    compare("healthy", &shows(&town, &healthy).await?)?;

    ports.remove("w2-1");
    ports.remove("w2-2");
    let _stranger = town.nodes[0].netns.enter(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 2020)))??;
    for (name, port, gateways, workers) in [
        ("held", 2020, "envoy-ingress", "worker"),
        ("late", 2000, "envoy-ingress", "worker"),
        ("typo", 2030, "envoy-ingres", "worker"),
        ("void", 2040, "envoy-ingress", "wroker"),
    ] {
        town.apply(&service(name, port, gateways, workers)).await?;
    }
    let mut sick = vec![
        ("call-1", ["Programmed", "Degraded", "2 of 3"].as_slice()),
        ("record", &["Programmed", "Unhealthy", "0 of 1"]),
        ("held", &["Nacked", "n1", "in use"]),
        ("late", &["PortConflict", "A/default/call-1/rtp"]),
        ("typo", &["NoProxy"]),
        ("void", &["Programmed", "NoEndpoints", "wroker"]),
        ("n1", &["Nacked", "of 5 Plans"]),
        ("n2", &["PortConflict", "of 5 Plans"]),
    ];
    shows(&town, &sick).await?;
    town.nodes[1].agent.take().context("the agent runs")?.kill();
    town.apply(&service("new", 2050, "envoy-ingress", "worker")).await?;
    sick.retain(|(name, _)| *name != "n1");
    sick.push(("new", &["Unreachable", "acked 1", "n2"]));
    sick.push(("n1", &["Nacked", "of 6 Plans"]));
    compare("sick", &shows(&town, &sick).await?)
}
