//! The memory that clients with endless requests cost a server. The test is alone in its process, because it reads the
//! process's own memory figures.
//!
//! Requests are written byte by byte, so that the client's side costs no more than the request's length.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper_util::rt::TokioIo;
use portreeve_xds::wire::MessageCodec;
use portreeve_xds::{
    EnvoyType, Event, Hello, Limits, Snapshot, Source, StreamInfo, View, routes, serve_unix,
};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::codec::{Codec, EncodeBuf, Encoder};
use tonic::transport::Endpoint;
use tonic::{Code, Status, Streaming};

/// Limit of a client's cost at any time, KiB. Both ends hold a request of the longest size, 16 MiB, once or twice.
const SERVED: u64 = 128 << 10;
/// Limit of what may remain of all clients, KiB. glibc keeps up to 64 MiB at the top of its heap.
const LEFT: u64 = 96 << 10;
/// Bound of every wait.
const BOUND: Duration = Duration::from_secs(60);

const DELTA: &str = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";
const SOTW: &str = "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources";
const ENDPOINTS: &str = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment";
/// Longest request without the type URL, bytes.
const ROOM: usize = (16 << 20) - 256;

/// A server without resources.
struct Nothing(Arc<View<EnvoyType>>);

impl Source<EnvoyType> for Nothing {
    async fn open(&self, _hello: Hello) -> Result<Arc<View<EnvoyType>>, Status> {
        Ok(self.0.clone())
    }

    fn event(&self, _stream: &StreamInfo, _event: &Event<EnvoyType>) {}

    fn closed(&self, _stream: &StreamInfo) {}
}

/// A codec that sends raw bytes and ignores responses.
struct Raw;

impl Codec for Raw {
    type Encode = Vec<u8>;
    type Decode = ();
    type Encoder = Self;
    type Decoder = MessageCodec<(), ()>;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self::Decoder {
        MessageCodec::default()
    }
}

impl Encoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, message: Vec<u8>, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        bytes::BufMut::put_slice(out, &message);
        Ok(())
    }
}

/// One form of endless requests.
struct Flood {
    name: &'static str,
    path: &'static str,
    requests: Box<dyn Iterator<Item = Vec<u8>> + Send>,
}

/// A field of a message: its number, and bytes.
fn field(out: &mut Vec<u8>, number: u8, bytes: &[u8]) {
    out.push(number << 3 | 2);
    let mut length = bytes.len();
    while length >= 0x80 {
        out.push(length as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
    out.extend_from_slice(bytes);
}

fn fields(parts: &[(u8, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    parts.iter().for_each(|(number, bytes)| field(&mut out, *number, bytes));
    out
}

/// An incremental request that repeats one field as often as fits.
fn full(number: u8, one: &[u8]) -> Vec<u8> {
    let mut out = fields(&[(2, ENDPOINTS.as_bytes())]);
    let each = fields(&[(number, one)]);
    out.reserve_exact(ROOM);
    (0..ROOM / each.len()).for_each(|_| out.extend_from_slice(&each));
    out
}

/// Names from a number on, in one request.
fn named(url: (u8, &str), number: u8, range: std::ops::Range<usize>) -> Vec<u8> {
    let mut out = fields(&[(url.0, url.1.as_bytes())]);
    range.for_each(|i| field(&mut out, number, format!("name-{i:07}").as_bytes()));
    out
}

/// An incremental request with one message of as many parts as fit.
fn nested(number: u8, outer: &[u8], part: impl Fn(usize) -> Vec<u8>) -> Vec<u8> {
    let mut inner = Vec::with_capacity(ROOM);
    let mut parts = (0..).map(part);
    while let Some(part) = parts.next().filter(|part| inner.len() + part.len() < ROOM - 64) {
        inner.extend_from_slice(&part);
    }
    let inner = outer.iter().rev().fold(inner, |inner, number| fields(&[(*number, &inner)]));
    fields(&[(2, ENDPOINTS.as_bytes()), (number, &inner)])
}

/// One entry of a map.
fn text(number: u8, i: usize) -> Vec<u8> {
    fields(&[(number, &fields(&[(1, format!("{i:06}").as_bytes()), (2, &fields(&[(3, b"")]))]))])
}

/// Distinct names with versions.
fn versions() -> Vec<u8> {
    let mut out = fields(&[(2, ENDPOINTS.as_bytes())]);
    (0..1_000_000).for_each(|i| field(&mut out, 5, &fields(&[(1, format!("{i:07}").as_bytes())])));
    out
}

fn floods() -> Vec<Flood> {
    fn flood(
        name: &'static str,
        path: &'static str,
        requests: impl Iterator<Item = Vec<u8>> + Send + 'static,
    ) -> Flood {
        Flood { name, path, requests: Box::new(requests) }
    }
    let once = |number: u8, one: &'static [u8]| std::iter::once_with(move || full(number, one));
    let part = |i: usize| i * 1000..i * 1000 + 1000;
    let foreign = |i: usize| named((2, &format!("type.googleapis.com/foreign.{i:07}")), 3, 0..100);
    vec![
        flood("a million names", DELTA, std::iter::once_with(|| named((2, ENDPOINTS), 3, 0..1_000_000))),
        flood("a million names, sotw", SOTW, std::iter::once_with(|| named((4, ENDPOINTS), 3, 0..1_000_000))),
        flood("a million names in parts", DELTA, (0..1000).map(move |i| named((2, ENDPOINTS), 3, part(i)))),
        flood("short names", DELTA, once(3, b"x")),
        flood("short names, unsubscribed", DELTA, once(4, b"x")),
        flood("versions", DELTA, std::iter::once_with(versions)),
        flood("locators", DELTA, once(8, b"\x0a\x01x")),
        flood("foreign types", DELTA, (0..20_000).map(foreign)),
        flood("a node's metadata", DELTA, std::iter::once_with(|| nested(1, &[3], |i| text(1, i)))),
        flood("a node's features", DELTA, std::iter::once_with(|| nested(1, &[], |_| fields(&[(10, b"")])))),
        flood("details of a status", DELTA, std::iter::once_with(|| nested(7, &[], |_| fields(&[(3, b"")])))),
        flood("a long type", DELTA, std::iter::once_with(|| fields(&[(2, &vec![b'x'; ROOM])]))),
    ]
}

/// A figure of this process, KiB.
fn figure(field: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or_default()
}

/// Opens a stream of raw requests.
async fn open(sock: &Path, path: &'static str) -> Result<(mpsc::Sender<Vec<u8>>, Streaming<()>), Status> {
    let sock = sock.to_path_buf();
    let connector = tower::service_fn(move |_: http::Uri| {
        let sock = sock.clone();
        async move { UnixStream::connect(sock).await.map(TokioIo::new) }
    });
    let endpoint = Endpoint::from_static("http://localhost");
    let channel = endpoint.connect_with_connector(connector).await;
    let mut grpc = tonic::client::Grpc::new(channel.map_err(|error| Status::unavailable(error.to_string()))?)
        .max_decoding_message_size(64 << 20);
    grpc.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
    let (requests, outbound) = mpsc::channel(1);
    let request = tonic::Request::new(ReceiverStream::new(outbound));
    let responses = grpc.streaming(request, http::uri::PathAndQuery::from_static(path), Raw).await?;
    Ok((requests, responses.into_inner()))
}

/// Sends requests until the stream ends. Returns its status.
async fn ask(sock: &Path, flood: Flood) -> Status {
    let (requests, mut responses) = match open(sock, flood.path).await {
        Ok(stream) => stream,
        Err(status) => return status,
    };
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        for request in flood.requests {
            if requests.send(request).await.is_err() {
                return;
            }
        }
        requests.closed().await;
    });
    loop {
        match responses.message().await {
            Ok(Some(_)) => {}
            Ok(None) => return Status::ok("the stream ended"),
            Err(status) => return status,
        }
    }
}

/// Returns how a flood ended, with the peak of resident memory and what remains after it, KiB.
async fn cost(sock: &Path, view: &View<EnvoyType>, flood: Flood) -> (Status, u64, u64) {
    // Resets the peak to the present size.
    let cleared = std::fs::write("/proc/self/clear_refs", "5");
    assert!(cleared.is_ok(), "the kernel keeps the peak: {cleared:?}");
    let status = timeout(BOUND, ask(sock, flood)).await;
    let status = status.unwrap_or_else(|_| Status::deadline_exceeded("the stream goes on"));
    ended(view).await;
    (status, figure("VmHWM:"), figure("VmRSS:"))
}

/// Waits until the server has no stream.
async fn ended(view: &View<EnvoyType>) {
    let start = Instant::now();
    while view.streams() > 0 {
        assert!(start.elapsed() < BOUND, "a stream goes on");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test]
async fn client_with_endless_requests_costs_little_memory_and_all_of_it_is_freed() {
    let dir = tempfile::tempdir().unwrap();
    let sock = dir.path().join("xds.sock");
    let listener = UnixListener::bind(&sock).unwrap();
    let view = View::new(Snapshot::new());
    let source = Arc::new(Nothing(view.clone()));
    let mut server = JoinSet::new();
    server.spawn(serve_unix(listener, routes(source, Limits::default()), std::future::pending()));
    let before = figure("VmRSS:");
    let mut wrong = Vec::new();
    for flood in floods() {
        let name = flood.name;
        let (status, peak, left) = cost(&sock, &view, flood).await;
        let (peak, left) = (peak.saturating_sub(before), left.saturating_sub(before));
        let told = format!("{name}: {peak} KiB at most, {left} KiB left, {:?}", status.code());
        println!("{told}");
        if status.code() != Code::ResourceExhausted || peak > SERVED || left > LEFT {
            wrong.push(format!("{told} {:?}", status.message()));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
