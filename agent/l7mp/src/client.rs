//! A client of a proxy's REST API over one kept connection ([`Client`]), one request at a time.

use std::net::SocketAddr;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST};
use http::{Method, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::action::Request;

/// The root of all paths.
const ROOT: &str = "/api/v1";
/// The proxy takes exactly this text.
const JSON: &str = "application/json";
/// The largest answer that is read.
const LARGEST: usize = 64 << 20;

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// An object of that name exists.
    #[error("the proxy has it already: {0}")]
    AlreadyDefined(String),
    /// There is no such object.
    #[error("the proxy does not have it: {0}")]
    Unknown(String),
    /// The proxy refused the request, or its answer broke its own schema (status 422).
    #[error("{text}")]
    Refused {
        /// The status.
        status: StatusCode,
        /// The proxy's words.
        text: String,
    },
    /// No complete answer came. The request may have been executed.
    #[error("the proxy can't be reached: {0}")]
    Unreachable(String),
}

/// The connection's own work, which must be polled along with its requests.
type Connection = Pin<Box<dyn Future<Output = Result<(), hyper::Error>> + Send>>;

/// A connection to a proxy.
pub(crate) struct Client {
    sender: SendRequest<Full<Bytes>>,
    /// `None` once it has ended.
    connection: Option<Connection>,
    /// The value of the Host header.
    host: String,
    /// The timeout of a request.
    answer: Duration,
    /// The number of requests so far.
    pub(crate) requests: u64,
}

// === impl Client ===

impl Client {
    /// Connects to a proxy. `answer` is the timeout of the connect and of each request.
    ///
    /// # Errors
    /// Returns [`Error::Unreachable`] if nobody listens or the connect takes too long.
    pub(crate) async fn connect(address: SocketAddr, answer: Duration) -> Result<Self, Error> {
        let connecting = async {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            http1::handshake(TokioIo::new(stream)).await.map_err(std::io::Error::other)
        };
        let connected = timeout(answer, connecting).await;
        let connected = connected.map_err(|_| Error::Unreachable(format!("no connection in {answer:?}")))?;
        let (sender, connection) = connected.map_err(|error| Error::Unreachable(error.to_string()))?;
        let connection: Option<Connection> = Some(Box::pin(connection));
        let host = address.to_string();
        Ok(Self { sender, connection, host, answer, requests: 0 })
    }

    /// Waits until the proxy closes the connection.
    pub(crate) async fn closed(&mut self) {
        end(&mut self.connection).await;
    }

    /// Sends a request and returns its JSON answer.
    ///
    /// # Errors
    /// See [`Error`].
    pub(crate) async fn send(&mut self, request: &Request) -> Result<Value, Error> {
        self.requests += 1;
        let asked = self.http(request).map_err(|error| Error::Unreachable(error.to_string()))?;
        let exchange = async {
            let answer = self.sender.send_request(asked).await.map_err(|error| error.to_string())?;
            let status = answer.status();
            let body = Limited::new(answer.into_body(), LARGEST).collect().await;
            Ok((status, body.map_err(|error| error.to_string())?.to_bytes()))
        };
        let exchanged = async {
            let mut exchange = std::pin::pin!(exchange);
            tokio::select! {
                biased;
                done = &mut exchange => done,
                // The connection may end right behind the answer, which its channels still hold.
                () = end(&mut self.connection) => exchange.await,
            }
        };
        let done: Result<Result<_, String>, _> = timeout(self.answer, exchanged).await;
        let done = done.map_err(|_| Error::Unreachable(format!("no answer in {:?}", self.answer)))?;
        let (status, body) = done.map_err(Error::Unreachable)?;
        match status {
            StatusCode::OK => {
                serde_json::from_slice(&body).map_err(|error| Error::Unreachable(error.to_string()))
            }
            _ => Err(refusal(status, &body)),
        }
    }

    fn http(&self, request: &Request) -> Result<http::Request<Full<Bytes>>, http::Error> {
        let mut uri = ROOT.to_owned();
        for segment in &request.path {
            uri.push('/');
            push_encoded(&mut uri, segment);
        }
        uri.push_str(match (request.recursive, request.method == Method::GET) {
            (true, true) => "?recursive=true&format=terse",
            (true, false) => "?recursive=true",
            (false, true) => "?format=terse",
            (false, false) => "",
        });
        let body = request.body.as_ref().map(Value::to_string).unwrap_or_default();
        http::Request::builder()
            .method(&request.method)
            .uri(uri)
            .header(HOST, &self.host)
            .header(CONTENT_TYPE, JSON)
            .body(Full::new(body.into()))
    }
}

/// Works for the connection until it ends. Its error is of no interest: requests on it fail with theirs.
async fn end(connection: &mut Option<Connection>) {
    if let Some(work) = connection {
        let _ = work.await;
        *connection = None;
    }
}

/// Appends a path segment, percent-encoded.
fn push_encoded(uri: &mut String, segment: &str) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for byte in segment.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            uri.push(char::from(byte));
        } else {
            uri.push('%');
            uri.push(char::from(DIGITS[usize::from(byte >> 4)]));
            uri.push(char::from(DIGITS[usize::from(byte & 0xf)]));
        }
    }
}

/// Reads a refusal. The proxy tells everything with status 400, so its words decide.
fn refusal(status: StatusCode, body: &[u8]) -> Error {
    let text = words(body);
    let unknown = [
        "Not Found",
        "No such ",
        "Unknown listener",
        "Unknown cluster",
        "Unknown rule",
        "Unknown Rule",
        "Unknown Route",
        "Unknown endpoint",
    ];
    if status == StatusCode::BAD_REQUEST && text.ends_with(" already defined") {
        return Error::AlreadyDefined(text);
    }
    if status == StatusCode::BAD_REQUEST && unknown.iter().any(|start| text.contains(start)) {
        return Error::Unknown(text);
    }
    Error::Refused { status, text: format!("the proxy answered {}: {text}", status.as_u16()) }
}

/// Returns the words of a refusal. The proxy counts the length of non-ASCII texts wrongly, so the JSON may be cut off.
fn words(body: &[u8]) -> String {
    let answer: Value = match serde_json::from_slice(body) {
        Ok(answer) => answer,
        Err(_) => return String::from_utf8_lossy(body).into_owned(),
    };
    match (&answer["content"], &answer["message"]) {
        (Value::String(text), _) | (Value::Null, Value::String(text)) => text.clone(),
        (content, _) => content.to_string(),
    }
}

#[cfg(test)]
mod tests;
