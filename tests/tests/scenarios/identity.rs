//! Which peers are served on the agent's socket: those that the kernel places in a pod of the node or under one of its
//! keepers, whatever they claim.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::envoy::service::discovery::v3::DeltaDiscoveryRequest;
use hyper_util::rt::TokioIo;
use portreeve_tests::envoy::Admin;
use portreeve_tests::process;
use portreeve_tests::town::{BOUND, Town, listeners};
use portreeve_tests::virtual_service::{Host, Service};
use portreeve_tests::wait;
use portreeve_xds::wire::ClientCodec;
use portreeve_xds::{EnvoyType, ResourceType};
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::task::JoinSet;
use tonic::transport::Endpoint;
use tonic::{Code, Status};

/// Minimum number of strangers' attempts in the storm.
const STORM: usize = 3000;
/// Timeout for a change to reach a served proxy in the storm, on a busy machine.
const PROMPT: Duration = Duration::from_secs(5);

/// A VirtualService with one listener of the same name, on the proxies with these labels.
fn service(name: &str, selector: &str, port: u16) -> String {
    Service::new(name, selector).udp(name, port, &[Host::At("10.77.0.1")], 10_000).yaml()
}

/// Identification by cgroup can only be tested if the test can create cgroups like a kubelet.
fn need_cgroups(town: &Town) -> Result<()> {
    ensure!(
        town.cgroups.is_some(),
        "no cgroup can be written below this process's own: run the tests as root with /sys/fs/cgroup mounted read-write"
    );
    Ok(())
}

/// Requests configuration as this process, which is in no pod. Returns how that ended.
async fn ask(socket: &Path, node_id: &str) -> Status {
    let socket = socket.to_path_buf();
    let connector = tower::service_fn(move |_: hyper::Uri| {
        let socket = socket.clone();
        async move { UnixStream::connect(socket).await.map(TokioIo::new) }
    });
    let channel = match Endpoint::from_static("http://localhost").connect_with_connector(connector).await {
        Ok(channel) => channel,
        Err(error) => return Status::unavailable(format!("{error:?}")),
    };
    let mut grpc = tonic::client::Grpc::new(channel);
    if let Err(error) = grpc.ready().await {
        return Status::unavailable(format!("{error:?}"));
    }
    let request = DeltaDiscoveryRequest {
        node: Some(Node { id: node_id.into(), ..Node::default() }),
        type_url: EnvoyType::Listener.type_url().into(),
        ..DeltaDiscoveryRequest::default()
    };
    let path = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";
    let path = hyper::http::uri::PathAndQuery::from_static(path);
    let requests = tonic::Request::new(futures::stream::iter([request]));
    let mut responses = match grpc.streaming(requests, path, ClientCodec::default()).await {
        Ok(answer) => answer.into_inner(),
        Err(status) => return status,
    };
    match responses.message().await {
        Ok(_) => Status::ok("served"),
        Err(status) => status,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_gets_what_is_meant_for_its_own_pod_whatever_it_claims() -> Result<()> {
    let town = Town::start(1).await?;
    need_cgroups(&town)?;
    town.apply(&service("for-a", "app: a", 5001)).await?;
    town.apply(&service("for-b", "app: b", 5002)).await?;
    town.apply(&service("for-gateways", "app: envoy-ingress", 5003)).await?;
    town.gateways().await?;
    let mut a = town.worker(1, 1, "app: a", false).await?;
    let mut b = town.worker(1, 2, "app: b", false).await?;
    let impostor_of_b = b.uid.clone();
    town.start_sidecar_as(&mut a, 0, &impostor_of_b)?;
    town.start_sidecar_as(&mut b, 0, "nodeproxy/gateway")?;
    listeners(&a.admin, &["for-a"], BOUND).await?;
    listeners(&b.admin, &["for-b"], BOUND).await?;
    listeners(&town.nodes[0].gateway(), &["for-gateways"], BOUND).await?;
    // A second Envoy in the same pod is served too.
    let first = a.envoy.take();
    let admin = town.dir().join("w1-1.admin");
    let moved = town.dir().join("first.admin");
    std::fs::rename(&admin, &moved)?;
    town.start_sidecar(&mut a, 0)?;
    listeners(&a.admin, &["for-a"], BOUND).await?;
    town.apply(&service("later", "app: a", 5004)).await?;
    for admin in [&a.admin, &Admin::new(&moved)] {
        listeners(admin, &["for-a", "later"], BOUND).await?;
    }
    drop(first);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn process_outside_any_pod_is_refused_with_words() -> Result<()> {
    let mut town = Town::start(1).await?;
    need_cgroups(&town)?;
    town.apply(&service("for-a", "app: a", 5001)).await?;
    town.gateways().await?;
    let mut a = town.worker(1, 1, "app: a", true).await?;
    listeners(&a.admin, &["for-a"], BOUND).await?;
    let socket = town.nodes[0].run_dir.join("agent.sock");
    for claim in [a.uid.as_str(), "nodeproxy/gateway", ""] {
        let status = ask(&socket, claim).await;
        println!("{claim:?}: {status}");
        ensure!(status.code() == Code::PermissionDenied, "{status}");
        let words = format!("process {} in cgroup ", std::process::id());
        ensure!(status.message().starts_with(&words), "{status}");
    }
    // Nor is a process in a cgroup with a pod's name that it created below its own container.
    let cgroups = town.cgroups.clone().context("cgroups")?;
    let other = town.worker(1, 2, "app: other", false).await?;
    let own = format!("kubepods/besteffort/pod{}/{:064x}", other.uid, 1);
    a.envoy = None;
    a.container = Some(cgroups.at(&format!("{own}/kubepods/besteffort/pod{}/{:064x}", a.uid, 2))?);
    town.start_sidecar(&mut a, 0)?;
    let expected = format!("proxy=pod/{}", other.uid);
    let agent = town.nodes[0].agent.as_mut().context("an agent runs")?;
    agent.wait_log(&expected, BOUND)?;
    ensure!(a.admin.listeners().await.is_ok_and(|found| found.is_empty()));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_of_a_keeper_is_its_node_proxy_whatever_it_claims() -> Result<()> {
    let town = Town::start(1).await?;
    need_cgroups(&town)?;
    let worker = town.worker(1, 1, "app: a", false).await?;
    town.apply(&service("for-a", "app: a", 5001)).await?;
    town.apply(&service("for-gateways", "app: envoy-ingress", 5002)).await?;
    town.apply(&format!(
        "apiVersion: portreeve.dev/v1alpha1\nkind: NodeProxy\nmetadata: {{name: gateway}}\nspec: \
         {{nodeSelector: {{role: gateway}}, labels: {{app: envoy-ingress}}, envoy: {{extraArgs: [--service-node, {}]}}}}\n",
        worker.uid
    ))
    .await?;
    let gateway = town.nodes[0].gateway();
    listeners(&gateway, &["for-gateways"], BOUND).await?;
    let claimed = gateway.get("/server_info").await?;
    ensure!(claimed.contains(&worker.uid), "the Envoy does not claim to be the pod: {claimed}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn pod_whose_process_is_there_before_the_pod_watch_has_it_is_served_once_it_comes() -> Result<()> {
    let mut town = Town::start(1).await?;
    need_cgroups(&town)?;
    town.apply(&service("for-a", "app: a", 5001)).await?;
    town.gateways().await?;
    let mut early = town.unbound_worker(1, 1, "app: a").await?;
    town.start_sidecar(&mut early, 0)?;
    let (refused, node) = (format!("of pod/{}, which is not known", early.uid), town.nodes[0].name.clone());
    let agent = town.nodes[0].agent.as_mut().context("an agent runs")?;
    agent.wait_log(&refused, BOUND)?;
    early.bind(&node).await?;
    let begun = Instant::now();
    listeners(&early.admin, &["for-a"], BOUND).await?;
    println!("served {:.2?} after its node was chosen", begun.elapsed());
    Ok(())
}

/// Connections of strangers, ten every hundredth of a second: some send nothing, others send requests.
struct Storm {
    made: Arc<AtomicUsize>,
    over: Arc<AtomicBool>,
    begun: Instant,
    _tasks: JoinSet<()>,
}

impl Storm {
    fn begin(socket: &Path) -> Self {
        let (made, over) = (Arc::<AtomicUsize>::default(), Arc::<AtomicBool>::default());
        let mut tasks = JoinSet::new();
        tasks.spawn(connect(socket.to_path_buf(), made.clone(), over.clone()));
        let (socket, stop) = (socket.to_path_buf(), over.clone());
        tasks.spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                let status = ask(&socket, "nodeproxy/gateway").await;
                assert_ne!(status.code(), Code::Ok, "a stranger was served");
                tokio::task::yield_now().await;
            }
        });
        Self { made, over, begun: Instant::now(), _tasks: tasks }
    }

    fn made(&self) -> usize {
        self.made.load(Ordering::Relaxed)
    }

    fn end(self) -> (usize, Duration) {
        self.over.store(true, Ordering::Relaxed);
        (self.made(), self.begun.elapsed())
    }
}

async fn connect(socket: PathBuf, made: Arc<AtomicUsize>, over: Arc<AtomicBool>) {
    let mut held = VecDeque::new();
    let mut ticks = tokio::time::interval(Duration::from_millis(10));
    while !over.load(Ordering::Relaxed) {
        ticks.tick().await;
        for _ in 0..10 {
            let Ok(mut stream) = UnixStream::connect(&socket).await else { continue };
            // It may be closed already.
            let _ = stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
            made.fetch_add(1, Ordering::Relaxed);
            held.push_back(stream);
        }
        while held.len() > 500 {
            held.pop_front();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_that_connect_a_thousand_times_a_second_do_not_disturb_served_proxies() -> Result<()> {
    let town = Town::start(1).await?;
    need_cgroups(&town)?;
    town.gateways().await?;
    let a = town.worker(1, 1, "app: a", true).await?;
    town.apply(&service("calm", "app: a", 5001)).await?;
    let begun = Instant::now();
    listeners(&a.admin, &["calm"], BOUND).await?;
    println!("calm: {:.2?}", begun.elapsed());
    let agent = town.nodes[0].agent.as_ref().context("an agent runs")?;
    let before = process::usage(agent.pid())?;
    let storm = Storm::begin(&town.nodes[0].run_dir.join("agent.sock"));
    wait::until("the storm", BOUND, || async { storm.made() > 500 }).await?;

    let begun = Instant::now();
    town.apply(&service("storm", "app: a", 5002)).await?;
    listeners(&a.admin, &["calm", "storm"], PROMPT).await?;
    println!("a change reached a sidecar in {:.2?}", begun.elapsed());
    let begun = Instant::now();
    let b = town.worker(1, 2, "app: a", true).await?;
    listeners(&b.admin, &["calm", "storm"], BOUND).await?;
    println!("a new sidecar was served {:.2?} after its pod was created", begun.elapsed());
    wait::until("more of the storm", BOUND, || async { storm.made() > STORM }).await?;
    let after = process::usage(agent.pid())?;
    let (made, took) = storm.end();
    let log = agent.log();
    let lines = log.lines().filter(|line| line.contains("a stranger asked")).count();
    println!(
        "{made} connections in {took:.2?} ({:.0}/s), {lines} lines of log, agent {:.2?} of CPU, {} KiB more",
        made as f64 / took.as_secs_f64(),
        after.cpu.saturating_sub(before.cpu),
        after.resident.saturating_sub(before.resident),
    );
    ensure!(lines as u64 <= took.as_secs() + 3, "{lines} lines in {took:?}");
    let disconnected = log.lines().filter(|line| line.contains("proxy disconnected")).count();
    ensure!(disconnected == 0, "{disconnected} served proxies lost their stream");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn agent_without_an_envoy_serves_the_envoys_of_pods() -> Result<()> {
    let mut town = Town::without_portreeve(1).await?;
    town.start_hub()?;
    town.start_agent_without_envoy(0)?;
    let worker = town.worker(1, 1, "app: side", true).await?;
    let gateway = "apiVersion: portreeve.dev/v1alpha1\nkind: NodeProxy\nmetadata: {name: gateway}\n\
                   spec: {labels: {app: envoy-ingress}}\n---\n";
    town.apply(&format!("{gateway}{}", service("side", "app: side", 5000))).await?;
    listeners(&worker.admin, &["side"], BOUND).await?;
    let agent = town.nodes[0].agent.as_mut().context("an agent")?;
    agent.wait_log("no NodeProxy can run an Envoy here", BOUND)?;
    agent.wait_log("this agent has no program for it nodeproxy=\"gateway\" kind=\"envoy\"", BOUND)
}
