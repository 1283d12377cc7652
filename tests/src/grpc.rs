//! A gRPC server whose answers are streams ([`Clock`]), and a client for it ([`Caller`]). Both speak HTTP/2 without TLS.

use std::convert::Infallible;
use std::net::{SocketAddr, TcpListener as StdListener, TcpStream as StdStream};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::{BufMut, Bytes, BytesMut};
use futures::stream::BoxStream;
use futures::{StreamExt, stream};
use http_body_util::{BodyExt, Empty, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http2::{self, SendRequest};
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue, TE};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::netns::Netns;

const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");

/// The interval of a stream's messages.
const TICK: Duration = Duration::from_secs(1);

/// The length of the flag and the size before a message.
const PREFIX: usize = 5;

/// The messages of an answer, and its trailers.
type Answer = StreamBody<BoxStream<'static, Result<Frame<Bytes>, Infallible>>>;

/// A server that answers the call `/clock/<n>` with its name, and again each second, `n` times in all.
pub struct Clock {
    _task: JoinSet<()>,
}

/// A connection to a [`Clock`].
pub struct Caller {
    sender: SendRequest<Empty<Bytes>>,
    _task: JoinSet<hyper::Result<()>>,
}

// === impl Clock ===

impl Clock {
    /// Opens `address` inside a network namespace. Must be called in a Tokio runtime.
    ///
    /// # Errors
    /// Returns an error if the port is taken.
    pub fn start(netns: &Netns, name: &str, address: SocketAddr) -> Result<Self> {
        let listener = netns.enter(|| StdListener::bind(address))??;
        listener.set_nonblocking(true)?;
        let mut task = JoinSet::new();
        task.spawn(serve(TcpListener::from_std(listener)?, name.to_owned()));
        Ok(Self { _task: task })
    }
}

async fn serve(listener: TcpListener, name: String) {
    let mut clients = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let name = name.clone();
        let service = service_fn(move |request| answer(request, name.clone()));
        let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        clients.spawn(server.serve_connection(TokioIo::new(stream), service));
    }
}

async fn answer(request: Request<Incoming>, name: String) -> Result<Response<Answer>, Infallible> {
    let wanted = request.uri().path().rsplit('/').next().and_then(|text| text.parse().ok()).unwrap_or(0);
    let messages = stream::iter(0..wanted).then(move |number: u32| {
        let message = message(&name);
        async move {
            tokio::time::sleep(if number == 0 { Duration::ZERO } else { TICK }).await;
            Ok(Frame::data(message))
        }
    });
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    let end = stream::iter([Ok(Frame::trailers(trailers))]);
    let mut response = Response::new(StreamBody::new(messages.chain(end).boxed()));
    response.headers_mut().insert(CONTENT_TYPE, GRPC);
    Ok(response)
}

fn message(text: &str) -> Bytes {
    let mut framed = BytesMut::new();
    framed.put_u8(0);
    framed.put_u32(u32::try_from(text.len()).unwrap_or(u32::MAX));
    framed.put_slice(text.as_bytes());
    framed.freeze()
}

// === impl Caller ===

impl Caller {
    /// Connects from inside a network namespace.
    ///
    /// # Errors
    /// Returns an error if nobody accepts the connection.
    pub async fn connect(netns: &Netns, to: SocketAddr) -> Result<Self> {
        let stream = netns.enter(|| StdStream::connect(to))??;
        stream.set_nonblocking(true)?;
        let io = TokioIo::new(TcpStream::from_std(stream)?);
        let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await?;
        let mut task = JoinSet::new();
        task.spawn(connection);
        Ok(Self { sender, _task: task })
    }

    /// Calls for a stream of this many messages, and returns all of them after its end.
    ///
    /// # Errors
    /// Returns an error if the stream ends early, or without gRPC's status 0.
    pub async fn call(&self, messages: u32) -> Result<Vec<String>> {
        let request = Request::post(format!("http://clock.test/clock/{messages}"))
            .header(CONTENT_TYPE, GRPC)
            .header(TE, "trailers")
            .body(Empty::new())?;
        let response = self.sender.clone().send_request(request).await?;
        ensure!(response.status().is_success(), "status {}", response.status());
        let body = response.into_body().collect().await?;
        let status = body.trailers().and_then(|trailers| trailers.get("grpc-status")).cloned();
        ensure!(status.as_ref().is_some_and(|status| status == "0"), "grpc-status {status:?}");
        let texts = texts(&body.to_bytes())?;
        ensure!(texts.len() == usize::try_from(messages)?, "{} of {messages} messages", texts.len());
        Ok(texts)
    }
}

/// Returns the messages of a body.
fn texts(mut body: &[u8]) -> Result<Vec<String>> {
    let mut texts = Vec::new();
    while !body.is_empty() {
        let (prefix, rest) = body.split_at_checked(PREFIX).context("half a prefix")?;
        let size = u32::from_be_bytes(prefix[1..].try_into()?);
        let (text, rest) = rest.split_at_checked(size.try_into()?).context("half a message")?;
        texts.push(String::from_utf8(text.to_vec())?);
        body = rest;
    }
    Ok(texts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_read_as_they_are_written() {
        let body = [message("a"), message(""), message("web")].concat();
        assert_eq!(texts(&body).unwrap(), ["a", "", "web"]);
        assert!(texts(&body[..body.len() - 1]).is_err());
        assert!(texts(&[0, 0]).is_err());
    }
}
