//! The web service's server: HTTP/1.1 over TLS ([`spawn`]).

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::body::Body;
use axum::http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use portreeve_runtime::{Shutdown, Tasks};
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::server::TlsStream;

use super::{Args, Web};
use crate::tls::{self, Accepting, Shown};

/// Maximum number of open connections. Further ones wait in the listener's queue.
const CONNECTIONS: usize = 1024;

/// How long a client may take to send a request's headers, and how long a connection may idle.
const HEADERS: Duration = Duration::from_secs(30);

/// Maximum size of a request's headers, in bytes.
const BUFFER: usize = 64 * 1024;

/// How long open requests may take to end at the shutdown.
const FAREWELL: Duration = Duration::from_secs(5);

/// Starts the web service if the flags ask for it. Without a certificate of its own, it presents the hub's.
///
/// # Errors
/// Returns an error if the port can't be opened, if the certificate is unusable, or if there is none.
pub async fn spawn(
    tasks: &mut Tasks,
    args: Args,
    web: Web,
    hub: Option<Arc<Shown>>,
    shutdown: &Shutdown,
) -> anyhow::Result<()> {
    let Some(address) = args.epic_listen else { return Ok(()) };
    let own = args.epic_tls_cert.zip(args.epic_tls_key);
    let shown = match own {
        Some((certificate, key)) => {
            tls::spawn_files(tasks, "certificate of the web service", certificate, key).await?
        }
        None => hub.context("--epic-listen needs a certificate: add --epic-tls-cert, or omit --insecure")?,
    };
    let config = shown.config(&[b"http/1.1"])?;
    let listener = TcpListener::bind(address).await.with_context(|| format!("--epic-listen {address}"))?;
    tracing::info!(address = %listener.local_addr()?, "serving orders of load balancers");
    tasks.spawn_graceful("web service", serve(listener, config, Arc::new(web), shutdown.clone()));
    Ok(())
}

async fn serve(
    listener: TcpListener,
    config: ServerConfig,
    web: Arc<Web>,
    shutdown: Shutdown,
) -> anyhow::Result<()> {
    let mut accepting = Accepting::new(listener, config);
    let mut open = JoinSet::new();
    loop {
        tokio::select! {
            () = shutdown.wait() => break,
            Some(_) = open.join_next() => {}
            stream = accepting.next(), if open.len() < CONNECTIONS => {
                open.spawn(connection(stream, web.clone(), shutdown.clone()));
            }
        }
    }
    let ended = async { while open.join_next().await.is_some() {} };
    // Requests that take longer are cut off.
    let _ = tokio::time::timeout(FAREWELL, ended).await;
    Ok(())
}

/// Serves a connection until the client closes it, idles, or breaks the protocol.
async fn connection(stream: TlsStream<TcpStream>, web: Arc<Web>, shutdown: Shutdown) {
    let peer = stream.get_ref().0.peer_addr().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.ip());
    let service = service_fn(|request| respond(&web, request, peer));
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEADERS).max_buf_size(BUFFER);
    let mut connection = std::pin::pin!(http.serve_connection(TokioIo::new(stream), service));
    tokio::select! {
        ended = connection.as_mut() => {
            if let Err(error) = ended {
                tracing::debug!(%peer, %error, "a connection of the web service ended");
            }
        }
        () = shutdown.wait() => {
            connection.as_mut().graceful_shutdown();
            let _ = connection.await;
        }
    }
}

async fn respond(web: &Web, request: Request<Incoming>, peer: IpAddr) -> Result<Response<Body>, Infallible> {
    let (parts, body) = request.into_parts();
    let of = (&parts.method, parts.uri.path());
    let answer = web.answer(of, &parts.headers, Body::new(body), peer).await;
    let mut response = Response::new(Body::from(answer.body.to_string()));
    *response.status_mut() = answer.status;
    *response.headers_mut() = answer.headers();
    Ok(response)
}
