//! A client of an Envoy's admin interface on its Unix socket. Entry point: [`Admin`].

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;

use crate::wait;

/// Timeout of a request.
const ANSWER: Duration = Duration::from_secs(5);

/// A client of one Envoy's admin interface. Every request uses its own connection.
#[derive(Debug, Clone)]
pub struct Admin {
    /// The socket.
    socket: PathBuf,
}

/// An answer with any status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: StatusCode,
    /// The body. Invalid UTF-8 is replaced.
    pub body: String,
}

// === impl Admin ===

impl Admin {
    /// Creates a client for the admin interface at `socket`, which needn't exist yet.
    pub fn new(socket: impl AsRef<Path>) -> Self {
        Self { socket: socket.as_ref().to_owned() }
    }

    /// Sends `GET path` and requires status 200.
    ///
    /// # Errors
    /// Returns an error if nobody listens, the answer is late, or its status isn't 200. Then the error contains the
    /// answer's text.
    pub async fn get(&self, path: &str) -> Result<String> {
        self.succeed(Method::GET, path).await
    }

    /// Sends `POST path` and requires status 200: `/quitquitquit`, `/drain_listeners?graceful`, `/logging?level=debug`.
    ///
    /// # Errors
    /// See [`Admin::get`].
    pub async fn post(&self, path: &str) -> Result<String> {
        self.succeed(Method::POST, path).await
    }

    /// Returns whether Envoy is ready (`LIVE`: its listeners and clusters are initialised).
    pub async fn is_ready(&self) -> bool {
        let answer = self.request(Method::GET, "/ready").await;
        answer.is_ok_and(|answer| answer.status == StatusCode::OK)
    }

    /// Waits until Envoy is ready.
    ///
    /// # Errors
    /// Returns an error after `bound`.
    pub async fn wait_ready(&self, bound: Duration) -> Result<()> {
        wait::until("a ready Envoy", bound, || self.is_ready()).await
    }

    /// Returns counters and gauges by name, without histograms and text readouts.
    ///
    /// # Errors
    /// See [`Admin::get`].
    pub async fn stats(&self) -> Result<BTreeMap<String, u64>> {
        Ok(parse_stats(&self.get("/stats").await?))
    }

    /// Returns one counter or gauge. A missing one counts as 0, because Envoy creates some only on first use.
    ///
    /// # Errors
    /// See [`Admin::get`].
    pub async fn stat(&self, name: &str) -> Result<u64> {
        Ok(self.stats().await?.get(name).copied().unwrap_or_default())
    }

    /// Returns the listeners' names and addresses, as Envoy prints them (`name::address`). Until Envoy is ready, it names
    /// listeners that refuse connections: they are open only after the first clusters, listeners and secrets came.
    ///
    /// # Errors
    /// See [`Admin::get`].
    pub async fn listeners(&self) -> Result<Vec<(String, String)>> {
        let text = self.get("/listeners").await?;
        Ok(text.lines().filter_map(parse_listener).collect())
    }

    /// Returns the clusters and their hosts, as Envoy prints them.
    ///
    /// # Errors
    /// See [`Admin::get`].
    pub async fn clusters(&self) -> Result<String> {
        self.get("/clusters").await
    }

    /// Returns the accepted configuration as JSON (`/config_dump?include_eds`).
    ///
    /// # Errors
    /// See [`Admin::get`]; also returns an error if the answer isn't JSON.
    pub async fn config_dump(&self) -> Result<serde_json::Value> {
        Ok(serde_json::from_str(&self.get("/config_dump?include_eds").await?)?)
    }

    /// Sends one request, and returns the answer with any status.
    ///
    /// # Errors
    /// Returns an error if nobody listens or the answer is late.
    pub async fn request(&self, method: Method, path: &str) -> Result<Answer> {
        let what = || format!("{method} {path} at {}", self.socket.display());
        let answer = tokio::time::timeout(ANSWER, self.exchange(&method, path)).await;
        answer.with_context(|| format!("{}: no answer in {ANSWER:?}", what()))?.with_context(what)
    }

    /// Like [`Admin::request`], but requires success.
    async fn succeed(&self, method: Method, path: &str) -> Result<String> {
        let Answer { status, body } = self.request(method, path).await?;
        ensure!(status == StatusCode::OK, "{path}: {status}: {body}");
        Ok(body)
    }

    /// Connects, sends the request and reads the answer.
    async fn exchange(&self, method: &Method, path: &str) -> Result<Answer> {
        let stream = UnixStream::connect(&self.socket).await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let request =
            Request::builder().method(method).uri(path).header("host", "envoy").body(Empty::<Bytes>::new())?;
        let asking = async move {
            let answer = sender.send_request(request).await?;
            let status = answer.status();
            let body = answer.into_body().collect().await?.to_bytes();
            Ok(Answer { status, body: String::from_utf8_lossy(&body).into_owned() })
        };
        // The connection ends after its sender. It may end with an error (`/quitquitquit`), which is ignored.
        let (answer, _) = tokio::join!(asking, connection);
        answer
    }
}

/// Parses `name: 12` lines. Histograms (`name: P0(...)`) and text readouts (`name: "..."`) are not numbers and are
/// skipped.
fn parse_stats(text: &str) -> BTreeMap<String, u64> {
    let figure = |line: &str| {
        let (name, value) = line.rsplit_once(": ")?;
        Some((name.to_owned(), value.parse().ok()?))
    };
    text.lines().filter_map(figure).collect()
}

/// Parses `name::address`. Names may contain `::`, and IPv6 addresses are in brackets.
fn parse_listener(line: &str) -> Option<(String, String)> {
    let end = line.find("::[").or_else(|| line.rfind("::"))?;
    Some((line[..end].to_owned(), line[end + 2..].to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    /// Answers one request with `answer`, and returns the request.
    async fn answering(answer: &'static str) -> (Admin, tempfile::TempDir, tokio::task::JoinSet<String>) {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("admin");
        let listener = tokio::net::UnixListener::bind(&socket).unwrap();
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut asked = vec![0; 4096];
            let length = stream.read(&mut asked).await.unwrap();
            stream.write_all(answer.as_bytes()).await.unwrap();
            asked.truncate(length);
            String::from_utf8(asked).unwrap()
        });
        (Admin::new(socket), directory, tasks)
    }

    #[tokio::test]
    async fn chunked_answers_are_joined() {
        let chunked =
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\na: 1\n\r\n6\r\nb.c: 2\r\n0\r\n\r\n";
        let (admin, _directory, mut tasks) = answering(chunked).await;
        let stats = admin.stats().await.unwrap();
        assert_eq!(stats, BTreeMap::from([("a".to_owned(), 1), ("b.c".to_owned(), 2)]));
        let asked = tasks.join_next().await.unwrap().unwrap();
        assert!(asked.starts_with("GET /stats HTTP/1.1\r\n"), "{asked}");
    }

    #[tokio::test]
    async fn an_answer_other_than_200_is_an_error_with_its_text() {
        let (admin, _directory, _tasks) =
            answering("HTTP/1.1 503 Service Unavailable\r\ncontent-length: 16\r\n\r\nPRE_INITIALIZING").await;
        let error = admin.get("/ready").await.unwrap_err().to_string();
        assert!(error.contains("503") && error.contains("PRE_INITIALIZING"), "{error}");
    }

    #[tokio::test]
    async fn nobody_there_is_not_ready() {
        assert!(!Admin::new("/nonexistent/admin").is_ready().await);
    }

    #[test]
    fn only_figures_are_stats() {
        let text = "cluster.x::y.total: 7\nserver.version: \"1.40\"\nhist: P0(nan,1.0) P50(nan,2)\nhist2: No recorded values\n";
        assert_eq!(parse_stats(text), BTreeMap::from([("cluster.x::y.total".to_owned(), 7)]));
    }

    #[test]
    fn listeners_of_both_families_are_split() {
        let pair = |name: &str, address: &str| Some((name.to_owned(), address.to_owned()));
        assert_eq!(parse_listener("a/ns/x::0.0.0.0:80"), pair("a/ns/x", "0.0.0.0:80"));
        assert_eq!(parse_listener("a/ns/x::[::]:80"), pair("a/ns/x", "[::]:80"));
        assert_eq!(parse_listener("nothing"), None);
    }
}
