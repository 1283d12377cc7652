//! Client of Envoy's admin interface on its Unix socket: the keeper's requests, and the agent's ([`get`]).

use std::io;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::net::UnixStream;

/// Timeout of an answer. Envoy's main thread answers, and may be loading a large configuration.
const TIMEOUT: Duration = Duration::from_secs(1);

/// Maximum size of an answer to a keeper, in bytes. It contains Envoy's command line and extensions.
const SHORT: usize = 1 << 20;

/// Maximum number of bytes quoted from an error answer.
const SAID: usize = 200;

/// The state of the Envoy that owns the interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Standing {
    /// Its restart epoch. In a hot restart, the interface passes from one Envoy to the next.
    pub(crate) epoch: u32,
    /// Whether it has its configuration and serves.
    pub(crate) live: bool,
}

/// The used part of an answer to `/server_info`. The whole has 125 kB, mostly the names of Envoy's extensions; as a
/// [`serde_json::Value`] it left half a megabyte in the keeper's heap.
#[derive(Default, Deserialize)]
#[serde(default)]
struct ServerInfo {
    state: String,
    command_line_options: CommandLine,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct CommandLine {
    restart_epoch: u32,
}

/// Queries the Envoy that owns the interface. Returns `None` if nobody answers.
pub(crate) async fn look(socket: &Path) -> Option<Standing> {
    let (_, body) = request(socket, (Method::GET, "/server_info"), SHORT).await.ok()?;
    standing(&body)
}

fn standing(server_info: &[u8]) -> Option<Standing> {
    let info: ServerInfo = serde_json::from_slice(server_info).ok()?;
    Some(Standing { epoch: info.command_line_options.restart_epoch, live: info.state == "LIVE" })
}

/// Makes Envoy drain its listeners gracefully, for the `--drain-time-s` that it was started with.
pub(crate) async fn drain_listeners(socket: &Path) -> io::Result<()> {
    match request(socket, (Method::POST, "/drain_listeners?graceful"), SHORT).await?.0 {
        StatusCode::OK => Ok(()),
        other => Err(io::Error::other(format!("drain_listeners: {other}"))),
    }
}

/// Returns the body of the answer to a GET of `path`.
///
/// # Errors
/// Returns an error if there is no answer within a second, if it has more than `longest` bytes, or if its status isn't
/// 200.
pub async fn get(socket: &Path, path: &str, longest: usize) -> io::Result<Bytes> {
    match request(socket, (Method::GET, path), longest).await? {
        (StatusCode::OK, body) => Ok(body),
        (other, body) => {
            let text = String::from_utf8_lossy(&body[..body.len().min(SAID)]);
            Err(io::Error::other(format!("{path}: {other}: {}", text.trim_end())))
        }
    }
}

async fn request(
    socket: &Path,
    (method, path): (Method, &str),
    longest: usize,
) -> io::Result<(StatusCode, Bytes)> {
    let exchange = async {
        let stream = UnixStream::connect(socket).await?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
        let request = Request::builder().method(method).uri(path).header("host", "envoy");
        let request = request.body(Empty::<Bytes>::new()).map_err(io::Error::other)?;
        let answer = async move {
            let response = sender.send_request(request).await.map_err(io::Error::other)?;
            let status = response.status();
            let body = Limited::new(response.into_body(), longest).collect().await;
            body.map(|body| (status, body.to_bytes())).map_err(io::Error::other)
        };
        let (answer, _closed) = tokio::join!(answer, connection);
        answer
    };
    tokio::time::timeout(TIMEOUT, exchange).await.map_err(io::Error::from)?
}

#[cfg(test)]
mod tests {
    use super::{Standing, standing};

    #[test]
    fn epoch_and_state_are_read_from_what_envoy_prints() {
        let starting = br#"{"state": "PRE_INITIALIZING", "command_line_options": {"restart_epoch": 3}}"#;
        assert_eq!(standing(starting), Some(Standing { epoch: 3, live: false }));
        let live = br#"{"state": "LIVE", "command_line_options": {"restart_epoch": 0}}"#;
        assert_eq!(standing(live), Some(Standing { epoch: 0, live: true }));
        assert_eq!(standing(b"no healthy upstream"), None);
    }
}
