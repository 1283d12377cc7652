//! Serves routes on a socket. Keepalive ends the connections of hung peers, and a shutdown ends all streams.

use std::error::Error;
use std::future::Future;
use std::time::Duration;

use futures::{Stream, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::transport::Server;
use tonic::transport::server::Connected;

use crate::cut::Cut;
use crate::unix::{self, Gate};

/// HTTP/2 pings that detect a hung client while its streams are open.
#[derive(Clone, Copy, Debug)]
pub struct Keepalive {
    /// Time between pings.
    pub interval: Duration,
    /// How long a ping's answer may take.
    pub timeout: Duration,
}

impl Default for Keepalive {
    /// 5 s and 20 s. A hung client costs little memory, but a busy one must not be disconnected: Envoy's main thread is busy
    /// for
    /// 3.4 s when it builds 1,000 Maglev tables, and would get the same push again after each disconnect.
    fn default() -> Self {
        Self { interval: Duration::from_secs(5), timeout: Duration::from_secs(20) }
    }
}

/// HTTP/2 windows, bytes: the part of a peer's requests that waits here until it is read. The rest waits at the peer.
const STREAM_WINDOW: u32 = 64 << 10;
const CONNECTION_WINDOW: u32 = 256 << 10;

/// How long open streams may last after the shutdown began.
const GRACE: Duration = Duration::from_millis(250);

/// Serves on a Unix socket until `shutdown` is ready, then closes all connections.
///
/// # Errors
/// The socket can't be served.
pub async fn serve_unix(
    listener: UnixListener,
    routes: Routes,
    shutdown: impl Future<Output = ()>,
) -> Result<(), tonic::transport::Error> {
    serve(unix::incoming(listener, None), routes, Keepalive::default(), shutdown).await
}

/// Serves like [`serve_unix`], but only connections that the gate lets pass. The others are closed without an answer.
///
/// # Errors
/// The socket can't be served.
pub async fn serve_unix_gated(
    listener: UnixListener,
    gate: Gate,
    routes: Routes,
    shutdown: impl Future<Output = ()>,
) -> Result<(), tonic::transport::Error> {
    serve(unix::incoming(listener, Some(gate)), routes, Keepalive::default(), shutdown).await
}

/// Serves on a TCP socket until `shutdown` is ready, then closes all connections.
///
/// # Errors
/// The socket can't be served.
pub async fn serve_tcp(
    listener: TcpListener,
    routes: Routes,
    shutdown: impl Future<Output = ()>,
) -> Result<(), tonic::transport::Error> {
    let incoming = TcpListenerStream::new(listener);
    let undelayed = incoming.map(|io| io.and_then(|io| io.set_nodelay(true).map(|()| io)));
    serve_incoming(undelayed, routes, Keepalive::default(), shutdown).await
}

/// Serves accepted connections of any kind, such as TLS, until `shutdown` is ready, then closes all of them.
///
/// # Errors
/// The connections can't be served.
pub async fn serve_incoming<I, IO, E>(
    incoming: I,
    routes: Routes,
    keepalive: Keepalive,
    shutdown: impl Future<Output = ()>,
) -> Result<(), tonic::transport::Error>
where
    I: Stream<Item = Result<IO, E>>,
    IO: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static,
    IO::ConnectInfo: Unpin,
    E: Into<Box<dyn Error + Send + Sync>>,
{
    let with_info = |io: IO| {
        let info = io.connect_info();
        (io, info)
    };
    serve(incoming.map(|io| io.map(with_info)), routes, keepalive, shutdown).await
}

/// Serves connections that come with their info.
async fn serve<S, IO, I, E>(
    incoming: S,
    routes: Routes,
    keepalive: Keepalive,
    shutdown: impl Future<Output = ()>,
) -> Result<(), tonic::transport::Error>
where
    S: Stream<Item = Result<(IO, I), E>>,
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    I: Clone + Send + Sync + Unpin + 'static,
    E: Into<Box<dyn Error + Send + Sync>>,
{
    let (asked, cut) = (CancellationToken::new(), CancellationToken::new());
    // Connections run as tasks of their own. They must end with this future, also when it is dropped.
    let _cut_on_drop = cut.clone().drop_guard();
    let incoming = incoming.map(|accepted| accepted.map(|(io, info)| Cut::new(io, info, &cut)));
    let served = Server::builder()
        .http2_keepalive_interval(Some(keepalive.interval))
        .http2_keepalive_timeout(Some(keepalive.timeout))
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .add_routes(routes)
        .serve_with_incoming_shutdown(incoming, asked.cancelled());
    let mut served = std::pin::pin!(served);
    tokio::select! {
        ended = &mut served => return ended,
        () = shutdown => asked.cancel(),
    }
    tokio::select! {
        ended = &mut served => return ended,
        () = tokio::time::sleep(GRACE) => cut.cancel(),
    }
    served.await
}
