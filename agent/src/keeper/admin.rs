//! Envoy's admin interface over its Unix socket: the two requests that a keeper makes.

use std::io;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;

/// Envoy's main thread answers; it may be loading a large configuration.
const TIMEOUT: Duration = Duration::from_secs(1);

/// Whether Envoy answers at all, in whatever state it is.
pub(super) async fn answers(socket: &Path) -> bool {
    request(socket, Method::GET, "/ready").await.is_ok()
}

/// Has Envoy drain its listeners gracefully, for the `--drain-time-s` it was started with.
pub(super) async fn drain_listeners(socket: &Path) -> io::Result<()> {
    match request(socket, Method::POST, "/drain_listeners?graceful").await? {
        StatusCode::OK => Ok(()),
        other => Err(io::Error::other(format!("drain_listeners: {other}"))),
    }
}

async fn request(socket: &Path, method: Method, path: &str) -> io::Result<StatusCode> {
    let exchange = async {
        let stream = UnixStream::connect(socket).await?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
        let request = Request::builder().method(method).uri(path).header("host", "envoy");
        let request = request.body(Empty::<Bytes>::new()).map_err(io::Error::other)?;
        let answer = async move {
            let response = sender.send_request(request).await?;
            let status = response.status();
            response.into_body().collect().await.map(|_| status)
        };
        let (answer, _closed) = tokio::join!(answer, connection);
        answer.map_err(io::Error::other)
    };
    tokio::time::timeout(TIMEOUT, exchange).await.map_err(io::Error::from)?
}
