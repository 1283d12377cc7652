//! A server over one view on a socket of its own ([`Stand`]), and a caller that speaks raw messages ([`Caller`]).

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use envoy_types::pb::envoy::config::core::v3::Node as WireNode;
use envoy_types::pb::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use hyper_util::rt::TokioIo;
use portreeve_xds::wire::{ClientCodec, MessageCodec};
use portreeve_xds::{
    Budget, EnvoyType, Event, Hello, Keepalive, Limits, Peer, Resource, ResourceType, Snapshot, Source,
    StreamGuard, StreamInfo, View, routes, serve_incoming,
};
use prost::Message;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio_stream::wrappers::{ReceiverStream, UnixListenerStream};
use tonic::transport::{Channel, Endpoint};
use tonic::{Status, Streaming};

pub const ADS_DELTA: &str = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";
/// Short keepalive, so that a hung client is noticed soon.
const QUICK: Keepalive = Keepalive { interval: Duration::from_secs(1), timeout: Duration::from_secs(1) };
/// Limit of every wait.
pub const BOUND: Duration = Duration::from_secs(20);

/// A source with one view for all streams, which records its calls.
pub struct One {
    pub view: Arc<View<EnvoyType>>,
    /// No request is read without a permit here.
    pub up: Semaphore,
    /// Each stream that opens takes one permit.
    pub ready: Semaphore,
    pub refuse: Option<Status>,
    /// The streams that may begin at the same time.
    pub turns: Arc<Semaphore>,
    /// How long a stream may last.
    pub lasts: Option<Duration>,
    /// The budget that all streams share.
    pub budget: Option<Arc<Budget>>,
    pub heard: Mutex<Heard>,
    /// Held by each stream.
    pub held: Arc<()>,
}

#[derive(Default, Clone)]
pub struct Heard {
    pub hellos: Vec<Hello>,
    pub events: Vec<(u64, Event<EnvoyType>)>,
    pub closed: Vec<u64>,
    pub exhausted: Vec<u64>,
}

// === impl One ===

impl One {
    pub fn new(view: Arc<View<EnvoyType>>) -> Self {
        Self {
            view,
            up: Semaphore::new(1),
            ready: Semaphore::new(10_000),
            refuse: None,
            turns: Arc::new(Semaphore::new(10_000)),
            lasts: None,
            budget: None,
            heard: Mutex::default(),
            held: Arc::default(),
        }
    }

    /// The number of streams, those included that have not been opened.
    pub fn streams(&self) -> usize {
        Arc::strong_count(&self.held) - 1
    }

    pub fn heard(&self) -> Heard {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn note(&self, note: impl FnOnce(&mut Heard)) {
        note(&mut self.heard.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl Source<EnvoyType> for One {
    fn glance(&self, headers: &http::HeaderMap) -> Result<(), Status> {
        match headers.contains_key("x-refuse") {
            true => Err(Status::unauthenticated("refused by its headers")),
            false => Ok(()),
        }
    }

    fn admit(&self, _peer: &Peer) -> Result<StreamGuard, Status> {
        Ok(Box::new(self.held.clone()))
    }

    async fn ready(&self) {
        drop(self.up.acquire().await);
    }

    async fn open(&self, hello: Hello) -> Result<Arc<View<EnvoyType>>, Status> {
        self.note(|heard| heard.hellos.push(hello));
        match (&self.refuse, self.ready.acquire().await) {
            (Some(status), _) => Err(status.clone()),
            (None, Ok(permit)) => {
                permit.forget();
                Ok(self.view.clone())
            }
            (None, Err(_)) => Err(Status::unavailable("closed")),
        }
    }

    async fn turn(&self) -> StreamGuard {
        Box::new(self.turns.clone().acquire_owned().await)
    }

    fn event(&self, stream: &StreamInfo, event: &Event<EnvoyType>) {
        self.note(|heard| heard.events.push((stream.id, event.clone())));
    }

    fn closed(&self, stream: &StreamInfo) {
        self.note(|heard| heard.closed.push(stream.id));
    }

    fn budget(&self, _stream: &StreamInfo) -> Option<Arc<Budget>> {
        self.budget.clone()
    }

    fn exhausted(&self, stream: &StreamInfo, _text: &str) {
        self.note(|heard| heard.exhausted.push(stream.id));
    }

    fn until(&self, _stream: &StreamInfo) -> Option<Instant> {
        Some(Instant::now() + self.lasts?)
    }
}

/// A running server. Dropping it ends the server.
pub struct Stand {
    pub source: Arc<One>,
    pub sock: PathBuf,
    tasks: JoinSet<()>,
    stop: Option<oneshot::Sender<()>>,
}

// === impl Stand ===

impl Stand {
    pub fn start(dir: &Path, source: One) -> Self {
        Self::limited(dir, source, Limits::default())
    }

    pub fn limited(dir: &Path, source: One, limits: Limits) -> Self {
        let sock = dir.join("xds.sock");
        let _ = std::fs::remove_file(&sock);
        let listener = UnixListener::bind(&sock).unwrap_or_else(|error| panic!("bind: {error}"));
        let incoming = UnixListenerStream::new(listener);
        let source = Arc::new(source);
        let (stop, stopped) = oneshot::channel::<()>();
        let mut tasks = JoinSet::new();
        let routes = routes(source.clone(), limits);
        tasks.spawn(async move {
            let served = serve_incoming(incoming, routes, QUICK, async { drop(stopped.await) }).await;
            assert!(served.is_ok(), "{served:?}");
        });
        Self { source, sock, tasks, stop: Some(stop) }
    }

    /// Stops the server and waits until it has ended.
    pub async fn stop(mut self) {
        drop(self.stop.take());
        within("the server's end", self.tasks.join_next()).await;
    }
}

/// One incremental stream of raw messages.
pub struct Caller {
    pub requests: mpsc::Sender<DeltaDiscoveryRequest>,
    pub responses: Streaming<DeltaDiscoveryResponse>,
}

// === impl Caller ===

impl Caller {
    pub async fn ads(sock: &Path) -> Self {
        Self::path(sock, ADS_DELTA).await.unwrap_or_else(|status| panic!("{status}"))
    }

    pub async fn path(sock: &Path, path: &'static str) -> Result<Self, Status> {
        let (requests, outbound) = mpsc::channel(16);
        let responses = call(sock, path, outbound, ClientCodec::default()).await?;
        Ok(Self { requests, responses })
    }

    pub async fn send(&self, request: DeltaDiscoveryRequest) {
        assert!(self.requests.send(request).await.is_ok(), "the stream has ended");
    }

    pub async fn next(&mut self) -> DeltaDiscoveryResponse {
        match within("a response", self.responses.message()).await {
            Ok(Some(response)) => response,
            other => panic!("no response: {other:?}"),
        }
    }

    /// The next response, ACKed.
    pub async fn acked(&mut self) -> DeltaDiscoveryResponse {
        let response = self.next().await;
        let (type_url, response_nonce) = (response.type_url.clone(), response.nonce.clone());
        self.send(DeltaDiscoveryRequest { type_url, response_nonce, ..Default::default() }).await;
        response
    }

    /// Waits for the stream's end. Returns its status.
    pub async fn end(&mut self) -> Status {
        loop {
            match within("the stream's end", self.responses.message()).await {
                Ok(Some(_)) => {}
                Ok(None) => return Status::ok(""),
                Err(status) => return status,
            }
        }
    }
}

/// Opens a stream of any messages.
pub async fn call<E: Message + 'static, D: Message + Default + 'static>(
    sock: &Path,
    path: &'static str,
    outbound: mpsc::Receiver<E>,
    codec: MessageCodec<E, D>,
) -> Result<Streaming<D>, Status> {
    request(sock, path, tonic::Request::new(ReceiverStream::new(outbound)), codec).await
}

/// Opens a stream of any messages with the request's headers.
pub async fn request<E: Message + 'static, D: Message + Default + 'static>(
    sock: &Path,
    path: &'static str,
    request: tonic::Request<ReceiverStream<E>>,
    codec: MessageCodec<E, D>,
) -> Result<Streaming<D>, Status> {
    let mut grpc = tonic::client::Grpc::new(channel(sock).await).max_decoding_message_size(64 << 20);
    grpc.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
    let path = http::uri::PathAndQuery::from_static(path);
    grpc.streaming(request, path, codec).await.map(tonic::Response::into_inner)
}

async fn channel(sock: &Path) -> Channel {
    let sock = sock.to_path_buf();
    let connector = tower::service_fn(move |_: http::Uri| {
        let sock = sock.clone();
        async move { UnixStream::connect(sock).await.map(TokioIo::new) }
    });
    let endpoint = Endpoint::from_static("http://localhost");
    endpoint.connect_with_connector(connector).await.unwrap_or_else(|error| panic!("connect: {error}"))
}

pub fn subscribe(ty: EnvoyType, names: &[String]) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        type_url: ty.type_url().into(),
        resource_names_subscribe: names.to_vec(),
        ..Default::default()
    }
}

pub fn node(id: &str) -> Option<WireNode> {
    Some(WireNode { id: id.into(), ..WireNode::default() })
}

/// `count` EDS clusters with assignments of about `size` bytes.
pub fn clusters(count: usize, size: usize) -> Snapshot<EnvoyType> {
    let mut snapshot = Snapshot::new();
    for i in 0..count {
        let name = format!("cluster-{i:05}");
        let body = vec![b'x'; size];
        let cluster = Resource::with_companion(EnvoyType::Cluster, name.as_str(), b"config", name.as_str());
        snapshot.insert(EnvoyType::Cluster, cluster);
        snapshot.insert(EnvoyType::Endpoint, Resource::new(EnvoyType::Endpoint, name.as_str(), &body));
    }
    snapshot
}

pub async fn within<F: Future>(what: &str, future: F) -> F::Output {
    tokio::time::timeout(BOUND, future).await.unwrap_or_else(|_| panic!("waited too long for {what}"))
}

/// Waits for a condition, with a bound.
pub async fn until(what: &str, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < BOUND, "waited too long for {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
