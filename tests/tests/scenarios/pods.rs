//! Envoys in pods: which pods a selector matches, how an Envoy is identified, how it may subscribe, and what happens
//! when its pod ends.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use portreeve_keeper::envoy::{Bootstrap, Family};
use portreeve_tests::exporter::{admin, shows};
use portreeve_tests::process::Process;
use portreeve_tests::town::{BOUND, Town, Worker, listeners};
use portreeve_tests::udp::Echo;
use portreeve_tests::virtual_service::{Host, Service};
use portreeve_tests::{path, wait};

/// The port of every app.
const APP: u16 = 6000;

/// A VirtualService with one listener of the same name, on the proxies with these labels.
fn service(name: &str, selector: &str, port: u16, endpoints: &str) -> String {
    Service::new(name, selector).udp(name, port, &[Host::Pods(endpoints)], APP).yaml()
}

fn app(worker: &Worker) -> Result<Echo> {
    Echo::start(&worker.netns, &worker.name, SocketAddr::new(worker.ip(), APP))
}

#[tokio::test(flavor = "multi_thread")]
async fn proxies_and_endpoints_are_the_pods_that_carry_all_labels_of_a_selector() -> Result<()> {
    let town = Town::start(1).await?;
    let all = town.worker(1, 1, "app: a, tier: edge", true).await?;
    let some = town.worker(1, 2, "app: a", true).await?;
    let other = town.worker(1, 3, "tier: edge", true).await?;
    let (right, wrong) =
        (town.worker(1, 4, "app: w, tier: in", false).await?, town.worker(1, 5, "app: w", false).await?);
    let _apps = [app(&right)?, app(&wrong)?];
    let endpoints = "app: w, tier: in";
    town.apply(&service("both", "app: a, tier: edge", 5001, endpoints)).await?;
    town.apply(&service("app", "app: a", 5002, endpoints)).await?;
    town.apply(&service("tier", "tier: edge", 5003, endpoints)).await?;
    listeners(&all.admin, &["app", "both", "tier"], BOUND).await?;
    listeners(&some.admin, &["app"], BOUND).await?;
    listeners(&other.admin, &["tier"], BOUND).await?;
    for port in [5001, 5002, 5003] {
        let report = path::opens(town.bed.root(), SocketAddr::new(all.ip(), port), &right.name, BOUND)?;
        println!("port {port}: {report}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_is_the_pod_whose_uid_it_says_where_claims_count() -> Result<()> {
    let mut town = Town::without_portreeve(1).await?;
    ensure!(town.cgroups.is_some(), "the kernel's word can be overruled only where it is there");
    town.agent_args = vec!["--identity=claimed".into()];
    town.start_hub()?;
    town.start_agent(0)?;
    town.apply(&service("for-a", "app: a", 5001, "app: w")).await?;
    town.apply(&service("for-b", "app: b", 5002, "app: w")).await?;
    let a = town.worker(1, 1, "app: a", true).await?;
    let b = town.worker(1, 2, "app: b", false).await?;
    let mut c = town.worker(1, 3, "app: c", false).await?;
    town.start_sidecar_as(&mut c, 0, &b.uid)?;
    listeners(&a.admin, &["for-a"], BOUND).await?;
    listeners(&c.admin, &["for-b"], BOUND).await
}

/// An Envoy with separate streams for clusters and listeners, and no aggregated one.
fn envoy(town: &Town, worker: &Worker, variant: &str) -> Result<Process> {
    let bootstrap = Bootstrap {
        node_id: worker.uid.clone(),
        node_cluster: "default".into(),
        ads_socket: town.nodes[0].run_dir.join("agent.sock"),
        admin_socket: town.dir().join(format!("{}.admin", worker.name)),
        health_listener: None,
        wildcard: Family::V4,
    };
    let mut rendered = bootstrap.render()?;
    let resources = &mut rendered["dynamic_resources"];
    let mut server = resources["ads_config"].take();
    server["api_type"] = variant.into();
    let source = serde_json::json!({"resource_api_version": "V3", "api_config_source": server});
    resources["cds_config"] = source.clone();
    resources["lds_config"] = source;
    let path = town.dir().join(format!("{}.json", worker.name));
    std::fs::write(&path, rendered.to_string())?;
    let mut command = match &worker.container {
        Some(container) => container.command(&worker.netns, town.envoy()),
        None => worker.netns.command(town.envoy()),
    };
    command.arg("-c").arg(&path).args(["--disable-hot-restart", "--concurrency", "1", "-l", "warning"]);
    Process::spawn(&format!("envoy-{}", worker.name), &command)
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_with_streams_for_each_type_is_served_in_both_variants() -> Result<()> {
    let town = Town::start(1).await?;
    town.apply(&service("old", "app: a", 5001, "app: w")).await?;
    for (j, variant) in [(1, "DELTA_GRPC"), (2, "GRPC")] {
        let first = town.worker(1, 10 * j, "app: w", false).await?;
        let echo = app(&first)?;
        let mut proxy = town.worker(1, j, "app: a", false).await?;
        proxy.envoy = Some(envoy(&town, &proxy, variant)?);
        listeners(&proxy.admin, &["old"], BOUND).await?;
        let target = SocketAddr::new(proxy.ip(), 5001);
        println!("{variant}: {}", path::opens(town.bed.root(), target, &first.name, BOUND)?);
        // Endpoints, listeners and clusters follow changes.
        let second = town.worker(1, 10 * j + 1, "app: w", false).await?;
        let other = app(&second)?;
        first.remove().await?;
        println!("{variant}: {}", path::opens(town.bed.root(), target, &second.name, BOUND)?);
        town.apply(&service("new", "app: a", 5002, "app: w")).await?;
        listeners(&proxy.admin, &["new", "old"], BOUND).await?;
        town.delete(&service("new", "app: a", 5002, "app: w")).await?;
        listeners(&proxy.admin, &["old"], BOUND).await?;
        second.remove().await?;
        proxy.remove().await?;
        drop((echo, other));
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn deleted_pods_streams_end_and_nothing_of_it_is_kept() -> Result<()> {
    let mut town = Town::without_portreeve(1).await?;
    town.agent_args = vec![format!("--admin={}", SocketAddr::new(town.nodes[0].address(), 0))];
    town.start_hub()?;
    town.start_agent(0)?;
    town.apply(&service("side", "app: a", 5001, "app: w")).await?;
    let pod = town.worker(1, 1, "app: a", true).await?;
    listeners(&pod.admin, &["side"], BOUND).await?;
    let metrics = admin(town.nodes[0].agent.as_mut().context("an agent")?)?;
    let root = town.bed.root().clone();
    // One pod is the agent's own.
    shows(&root, metrics, &[("portreeve_agent_pods", 2.0), ("portreeve_agent_plans", 1.0)]).await?;
    // Its Envoy still runs, as in a pod that is deleted by force.
    pod.remove().await?;
    let agent = town.nodes[0].agent.as_mut().context("an agent")?;
    agent.wait_log(&format!("proxy disconnected proxy=pod/{}", pod.uid), BOUND)?;
    shows(&root, metrics, &[("portreeve_agent_pods", 1.0), ("portreeve_agent_plans", 0.0)]).await?;
    let refused = format!("of pod/{}, which is not known", pod.uid);
    wait::wait_until("the refusal of its Envoy", BOUND, || agent.log().contains(&refused))
}
