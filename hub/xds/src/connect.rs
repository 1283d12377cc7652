//! Keeps a client connected ([`run`]): connects, subscribes to all resources, applies and answers responses, and connects
//! again after a failure.

use std::error::Error;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use envoy_types::pb::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use futures::future::BoxFuture;
use http::uri::PathAndQuery;
use hyper_util::rt::TokioIo;
use rand::Rng;
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::client::Grpc;
use tonic::metadata::MetadataMap;
use tonic::transport::{Channel, Endpoint};
use tonic::{Status, Streaming};

use crate::client::{ClientSession, Reading, Sink};
use crate::connection::Connection;
use crate::frames::FRAME;
use crate::resource::ResourceType;
use crate::wire::ClientCodec;

const METHOD: &str = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";

/// Longest response, bytes.
const MAX_RESPONSE: usize = 64 << 20;

/// Interval of HTTP/2 pings, timeout of their answers, and timeout of a connect. A hung server is left after three times this
/// at most.
const KEEPALIVE: Duration = Duration::from_secs(1);

/// First and longest pause before connecting again.
const BACKOFF_FIRST: Duration = Duration::from_millis(50);
const BACKOFF_LONGEST: Duration = Duration::from_secs(1);

/// HTTP/2 windows, bytes. They hold a full push of a thousand clusters.
const WINDOW: u32 = 1 << 20;

/// Requests that may wait for the connection. There are never as many unsent answers.
const REQUESTS: usize = 64;

type BoxError = Box<dyn Error + Send + Sync>;

/// Opens one connection.
type Connector = Arc<dyn Fn() -> BoxFuture<'static, Result<Connection, BoxError>> + Send + Sync>;

/// How to reach the server.
#[derive(Clone)]
pub enum Connect {
    /// A Unix socket.
    Unix(PathBuf),
    /// `http://host:port`.
    Uri(http::Uri),
    /// Connections that the caller opens, for TLS or for a choice of servers. Start from [`endpoint`] for keepalive.
    Custom(Connector),
}

// === impl Connect ===

impl Connect {
    async fn open(&self) -> Result<Connection, BoxError> {
        match self {
            Self::Unix(path) => Ok(unix(path).await?),
            Self::Uri(uri) => Ok(Connection::open(endpoint(uri.clone())).await?),
            Self::Custom(connect) => connect().await,
        }
    }
}

/// Returns a client endpoint that notices a hung server within 3 s.
pub fn endpoint(uri: http::Uri) -> Endpoint {
    patient_endpoint(uri, 1)
}

/// Returns an [`endpoint`] for a server that is known to be slow: it may take `patience` times as long to answer a ping. The
/// timeout of a connect stays, because the kernel accepts connections for a slow server.
pub fn patient_endpoint(uri: http::Uri, patience: u32) -> Endpoint {
    Endpoint::from(uri)
        .connect_timeout(KEEPALIVE)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE * patience)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .max_frame_size(FRAME as u32)
}

/// Connects to a Unix socket, with the keepalive of [`endpoint`].
///
/// # Errors
/// No process listens on the socket.
pub async fn unix(path: &Path) -> Result<Connection, tonic::transport::Error> {
    let path = path.to_path_buf();
    let connector = tower::service_fn(move |_: http::Uri| {
        let path = path.clone();
        async move { UnixStream::connect(path).await.map(TokioIo::new) }
    });
    Connection::open_by(endpoint(http::Uri::from_static("http://localhost")), connector).await
}

/// Keeps `sink` supplied until `shutdown` is ready.
///
/// After a failure it connects again. The pauses grow from 50 ms to 1 s, and each is jittered over its upper half.
pub async fn run<T: ResourceType, K: Sink<T>>(
    connect: Connect,
    mut sink: K,
    shutdown: impl Future<Output = ()>,
) {
    let forever = async {
        let (mut pause, mut logged) = (BACKOFF_FIRST, String::new());
        loop {
            let mut answered = false;
            let ended = stream(&connect, &mut sink, &mut answered).await;
            if answered {
                sink.connected(false);
                pause = BACKOFF_FIRST;
                logged.clear();
            }
            if let Err(error) = ended {
                log_once(error.to_string(), &mut logged);
            }
            tokio::time::sleep(jittered(pause)).await;
            pause = (pause * 2).min(BACKOFF_LONGEST);
        }
    };
    tokio::select! {
        () = forever => {}
        () = shutdown => {}
    }
}

/// Logs why a stream ended, unless the last failure was the same.
fn log_once(error: String, logged: &mut String) {
    if error != *logged {
        tracing::warn!(error, "no stream from the server, trying again");
        *logged = error;
    }
}

/// Returns a random pause between half of `pause` and `pause`.
fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(rand::rng().random_range(0.5..=1.0))
}

/// Runs one connection from its first request to its end. The first response sets `answered`.
async fn stream<T: ResourceType, K: Sink<T>>(
    connect: &Connect,
    sink: &mut K,
    answered: &mut bool,
) -> Result<(), BoxError> {
    let connection = connect.open().await?;
    let session = ClientSession::<T>::new();
    let (requests, outbound) = mpsc::channel(REQUESTS);
    for request in session.open(&sink.node(), &sink.types(), sink.known()) {
        requests.send(request).await?;
    }
    let mut inbound = subscribe(connection.channel(), sink.headers(), outbound).await?;
    while let Some(response) = inbound.message().await? {
        if !std::mem::replace(answered, true) {
            sink.connected(true);
        }
        let (url, nonce) = (response.type_url.clone(), response.nonce.clone());
        let result = match session.read(response) {
            Reading::Delta(delta) => sink.apply(delta),
            Reading::Broken(why) => Err(why),
        };
        requests.send(session.answer(&url, &nonce, result)).await?;
    }
    Ok(())
}

async fn subscribe(
    channel: Channel,
    headers: http::HeaderMap,
    outbound: mpsc::Receiver<DeltaDiscoveryRequest>,
) -> Result<Streaming<DeltaDiscoveryResponse>, Status> {
    let mut grpc = Grpc::new(channel).max_decoding_message_size(MAX_RESPONSE);
    grpc.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
    let mut request = tonic::Request::new(ReceiverStream::new(outbound));
    *request.metadata_mut() = MetadataMap::from_headers(headers);
    let response = grpc.streaming(request, PathAndQuery::from_static(METHOD), ClientCodec::default()).await?;
    Ok(response.into_inner())
}
