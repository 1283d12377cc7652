//! Peers that violate the protocol: a proxy that rejects everything, and a hub that sends invalid responses. Neither
//! affects any other peer, and both are reported.

use std::convert::Infallible;
use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context as TaskContext, Poll};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, Resource,
};
use envoy_types::pb::google::protobuf::Any;
use futures::future::{BoxFuture, ready};
use futures::stream::{self, BoxStream};
use futures::{FutureExt, StreamExt};
use hyper::http;
use portreeve_api::PlanType;
use portreeve_tests::netns::Netns;
use portreeve_tests::pipe::{Pipe, virtual_service};
use portreeve_tests::town::{BOUND, Town, Worker, listeners};
use portreeve_tests::udp::{Echo, Flow, Running};
use portreeve_tests::virtual_service::said;
use portreeve_tests::wait;
use portreeve_xds::wire::MessageCodec;
use portreeve_xds::{Connect, Delta, EnvoyType, Name, Node, ResourceType, Sink, Version, serve_tcp};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tonic::server::{Grpc, NamedService, StreamingService};
use tonic::service::Routes;
use tonic::{Status, Streaming};

/// The pods' port.
const PORT: u16 = 5000;
/// The error text of the rejecting proxy.
const NO: &str = "this proxy takes nothing";
/// How long nothing may be sent again.
const QUIET: Duration = Duration::from_secs(4);
/// Maximum number of responses to a proxy that rejects a Plan with two listeners: halves, and halves of halves.
const RESPONSES: usize = 30;

/// A pod that answers.
async fn worker(town: &Town) -> Result<(Worker, Echo)> {
    let worker = town.worker(1, 1, "app: worker", false).await?;
    let echo = Echo::start(&worker.netns, &worker.name, SocketAddr::new(worker.ip(), PORT))?;
    Ok((worker, echo))
}

/// Starts a flow through a listener, once the listener answers.
async fn flow(town: &Town, target: SocketAddr) -> Result<Running> {
    let flow = Flow::to(target).sockets(4).rate(200);
    wait::until(&format!("answers through {target}"), BOUND, || async {
        let short = flow.clone().lasting(Duration::from_millis(200)).start(town.bed.root());
        short.and_then(Running::finish).is_ok_and(|report| report.lossless().is_ok())
    })
    .await?;
    flow.lasting(Duration::from_secs(600)).start(town.bed.root())
}

/// Checks that nothing was lost through the proxy in a namespace, and each session stayed the same.
fn undisturbed(flow: Running, proxy: &Netns) -> Result<()> {
    let (report, dropped) = (flow.stop()?, proxy.udp_drops()?);
    println!("{report}, {dropped} dropped by the kernel");
    report.undisturbed(dropped)
}

/// A proxy that rejects all responses.
struct Refuser {
    uid: String,
    responses: Arc<AtomicUsize>,
}

impl Sink<EnvoyType> for Refuser {
    fn node(&self) -> Node {
        Node { id: self.uid.clone(), ..Node::default() }
    }

    fn known(&self) -> Vec<(EnvoyType, Name, Version)> {
        Vec::new()
    }

    fn apply(&mut self, _: Delta<EnvoyType>) -> Result<(), String> {
        self.responses.fetch_add(1, Ordering::Relaxed);
        // The error names no resource.
        Err(NO.into())
    }

    fn connected(&mut self, _: bool) {}

    fn types(&self) -> Vec<EnvoyType> {
        vec![EnvoyType::Cluster, EnvoyType::Endpoint, EnvoyType::Listener]
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn proxy_that_refuses_everything_is_named_and_left_alone_and_disturbs_no_other() -> Result<()> {
    let mut town = Town::without_portreeve(1).await?;
    // The rejecting proxy is this process, so it must state its own identity.
    town.cgroups = None;
    town.start_hub()?;
    town.start_agent(0)?;
    let (_worker, _echo) = worker(&town).await?;
    let (good, bad) =
        (town.worker(1, 2, "app: side", true).await?, town.worker(1, 3, "app: side", false).await?);
    let pipes = [Pipe::new("one", 4100, PORT), Pipe::new("two", 4101, PORT).keyed("k")];
    town.apply(&virtual_service("side", "app: side", &pipes)).await?;
    listeners(&good.admin, &["one", "two"], BOUND).await?;
    let flow = flow(&town, SocketAddr::new(good.ip(), 4100)).await?;

    let (responses, mut tasks) = (Arc::new(AtomicUsize::new(0)), JoinSet::new());
    let refuser = Refuser { uid: bad.uid.clone(), responses: responses.clone() };
    let socket = town.nodes[0].run_dir.join("agent.sock");
    tasks.spawn(portreeve_xds::run(Connect::Unix(socket), refuser, std::future::pending()));
    for (edit, names) in [("side", vec!["one", "two"]), ("later", vec!["one", "two", "later"])] {
        if edit == "later" {
            town.apply(&virtual_service(edit, "app: side", &[Pipe::new("later", 4102, PORT)])).await?;
        }
        let before = responses.load(Ordering::Relaxed);
        let what = format!("{NO} of {edit}");
        let words = wait::eventually(&what, BOUND, || async {
            let words = said(&town.client, edit, ("Programmed", "False"), BOUND).await.ok()?;
            (words.starts_with("Nacked") && words.contains(NO)).then_some(words)
        });
        println!("{edit}: {}", words.await?);
        listeners(&good.admin, &names, BOUND).await?;
        let told = responses.load(Ordering::Relaxed);
        let again =
            wait::until("a response again", QUIET, || async { responses.load(Ordering::Relaxed) > told });
        let more = if again.await.is_ok() { responses.load(Ordering::Relaxed) - told } else { 0 };
        println!("{} responses until the status, {more} more within {QUIET:?}", told - before);
        let all = responses.load(Ordering::Relaxed);
        ensure!(all > before && all - before <= RESPONSES, "{} responses for {edit}", all - before);
    }
    undisturbed(flow, &good.netns)
}

/// A hub that sends an invalid response on each stream, and records the answers.
#[derive(Clone, Default)]
struct Hostile {
    heard: Arc<Mutex<Vec<String>>>,
}

// === impl Hostile ===

impl Hostile {
    /// Returns the texts of all rejections.
    fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn note(&self, request: Result<DeltaDiscoveryRequest, Status>) {
        if let Some(refusal) = request.ok().and_then(|request| request.error_detail) {
            self.heard.lock().unwrap_or_else(PoisonError::into_inner).push(refusal.message);
        }
    }
}

/// Responses of an unknown type, with bytes that are not a Plan, with another type than declared, and without content.
fn nonsense() -> Vec<DeltaDiscoveryResponse> {
    let (plan, group) = (PlanType::Plan.type_url(), PlanType::Group.type_url());
    let resource = |ty: Option<&str>| Resource {
        name: "A/default/all".into(),
        version: "1".into(),
        resource: ty.map(|ty| Any { type_url: ty.into(), value: b"\xff\xff\xff no Plan at all".to_vec() }),
        ..Resource::default()
    };
    let response = |nonce: &str, ty: &str, resources| DeltaDiscoveryResponse {
        type_url: ty.into(),
        nonce: nonce.into(),
        resources,
        ..DeltaDiscoveryResponse::default()
    };
    vec![
        response("1", "type.googleapis.com/no.such.Type", vec![resource(Some(plan))]),
        response("2", plan, vec![resource(Some(plan))]),
        response("3", plan, vec![resource(Some(group))]),
        response("4", plan, vec![resource(None)]),
    ]
}

impl NamedService for Hostile {
    const NAME: &'static str = "envoy.service.discovery.v3.AggregatedDiscoveryService";
}

impl tower::Service<http::Request<tonic::body::Body>> for Hostile {
    type Response = http::Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut TaskContext<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<tonic::body::Body>) -> Self::Future {
        let codec = MessageCodec::<DeltaDiscoveryResponse, DeltaDiscoveryRequest>::default();
        let hub = self.clone();
        async move { Ok(Grpc::new(codec).streaming(hub, request).await) }.boxed()
    }
}

impl StreamingService<DeltaDiscoveryRequest> for Hostile {
    type Response = DeltaDiscoveryResponse;
    type ResponseStream = BoxStream<'static, Result<DeltaDiscoveryResponse, Status>>;
    type Future = BoxFuture<'static, Result<tonic::Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: tonic::Request<Streaming<DeltaDiscoveryRequest>>) -> Self::Future {
        let hub = self.clone();
        let heard = request.into_inner().filter_map(move |request| {
            hub.note(request);
            ready(None)
        });
        let all = stream::iter(nonsense()).map(Ok).chain(heard).boxed();
        ready(Ok(tonic::Response::new(all))).boxed()
    }
}

/// Opens a socket at the address of the town's hub.
fn listen(town: &Town) -> Result<TcpListener> {
    let address = town.hub_address().context("a hub was started")?;
    Ok(town.bed.root().enter(|| TcpListener::bind(address))??)
}

/// Sends bytes that are not HTTP to every client, until the flag is set. Returns the number of connections, which stay
/// open until then, because the agent would notice their end first.
fn babble(listener: &TcpListener, over: &AtomicBool) -> std::io::Result<usize> {
    let mut held = Vec::new();
    for connection in listener.incoming() {
        if over.load(Ordering::Relaxed) {
            break;
        }
        let mut connection = connection?;
        // The client may be gone already.
        let _ = connection.write_all(b"\x00\xffthis is no hub\r\n\r\n");
        held.push(connection);
    }
    Ok(held.len())
}

#[tokio::test(flavor = "multi_thread")]
async fn hub_that_sends_nonsense_is_refused_with_words_and_takes_nothing_away() -> Result<()> {
    let mut town = Town::without_portreeve(1).await?;
    town.trust.hub_args = vec!["--insecure".into()];
    town.start_hub()?;
    town.start_agent_in_the_clear(0)?;
    town.gateways().await?;
    let (_worker, _echo) = worker(&town).await?;
    town.apply(&virtual_service("all", "app: envoy-ingress", &[Pipe::new("call", 4000, PORT)])).await?;
    let gateway = town.nodes[0].gateway();
    listeners(&gateway, &["call"], BOUND).await?;
    let flow = flow(&town, SocketAddr::new(town.nodes[0].address(), 4000)).await?;

    town.hub.take().context("no hub")?.kill();
    let (hostile, mut tasks, (end, ended)) = (Hostile::default(), JoinSet::new(), oneshot::channel::<()>());
    let listener = listen(&town)?;
    listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let served = serve_tcp(listener, Routes::new(hostile.clone()), async { drop(ended.await) });
    tasks.spawn(served);
    let words =
        ["unknown type type.googleapis.com/no.such.Type", "A/default/all: ", ": of type ", ": no content"];
    wait::until("four refusals", BOUND, || async {
        let heard = hostile.heard();
        words.iter().all(|word| heard.iter().any(|refusal| refusal.contains(word)))
    })
    .await
    .with_context(|| format!("{:?}", hostile.heard()))?;
    println!("the hub is told: {:?}", hostile.heard());
    let agent = town.nodes[0].agent.as_mut().context("no agent")?;
    agent.wait_log("a response of the hub is refused", BOUND)?;
    ensure!(agent.log().contains("error=\"A/default/all: "), "the resource is not named:\n{}", agent.log());
    listeners(&gateway, &["call"], BOUND).await?;
    drop(end);
    tasks.join_next().await.context("the hub ends")???;

    let (listener, over) = (listen(&town)?, Arc::new(AtomicBool::new(false)));
    let (address, told) = (listener.local_addr()?, over.clone());
    let babbling = town.bed.root().spawn(move || babble(&listener, &told))?;
    let agent = town.nodes[0].agent.as_mut().context("no agent")?;
    let begun = Instant::now();
    wait::until("words on bytes that are no HTTP", BOUND, || async {
        let log = agent.log();
        log.lines().any(|line| line.contains("no stream from the server") && line.contains("http2 error"))
    })
    .await?;
    println!("bytes that are no HTTP are named after {:.2?}", begun.elapsed());
    over.store(true, Ordering::Relaxed);
    town.bed.root().enter(|| std::net::TcpStream::connect(address))??;
    let served = babbling.join().map_err(|_| anyhow::anyhow!("the listener's thread panicked"))??;
    println!("{served} connections got nonsense");

    town.start_hub()?;
    town.apply(&virtual_service("later", "app: envoy-ingress", &[Pipe::new("later", 4001, PORT)])).await?;
    listeners(&gateway, &["call", "later"], BOUND).await?;
    undisturbed(flow, &town.nodes[0].netns)
}
