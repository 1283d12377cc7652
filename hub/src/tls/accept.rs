//! Accepts TLS connections ([`serve`]). Handshakes run concurrently and have a timeout, so that a hanging one doesn't
//! delay others.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures::Stream;
use portreeve_runtime::{Shutdown, now_ms};
use portreeve_xds::{Keepalive, serve_incoming};
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tonic::service::Routes;

use super::shown::Shown;
use crate::auth::tally::Tally;

/// Timeout of a handshake.
const HANDSHAKE: Duration = Duration::from_secs(5);

/// Maximum number of concurrent handshakes. Further connections wait in the listener's queue.
const HANDSHAKES: usize = 1024;

/// Pause after an accept that failed, for example for lack of file descriptors.
const REST: Duration = Duration::from_millis(100);

/// The result of a handshake.
type Shaken = io::Result<TlsStream<TcpStream>>;

/// A listener and its current handshakes.
pub struct Accepting {
    listener: TcpListener,
    acceptor: TlsAcceptor,
    pending: JoinSet<Shaken>,
    tally: Tally,
}

/// Serves agents over TLS until the shutdown.
///
/// # Errors
/// Returns an error if the listener fails.
pub async fn serve(
    listener: TcpListener,
    routes: Routes,
    shown: Arc<Shown>,
    shutdown: Shutdown,
) -> anyhow::Result<()> {
    let incoming = Box::pin(incoming(listener, shown.config(&[b"h2"])?));
    serve_incoming(incoming, routes, Keepalive::default(), shutdown.waiter()).await?;
    Ok(())
}

fn incoming(listener: TcpListener, config: ServerConfig) -> impl Stream<Item = Shaken> {
    futures::stream::unfold(Accepting::new(listener, config), |mut accepting| async move {
        let stream = accepting.next().await;
        Some((Ok(stream), accepting))
    })
}

// === impl Accepting ===

impl Accepting {
    /// Accepts connections of a listener.
    pub fn new(listener: TcpListener, config: ServerConfig) -> Self {
        let acceptor = TlsAcceptor::from(Arc::new(config));
        Self { listener, acceptor, pending: JoinSet::new(), tally: Tally::default() }
    }

    /// Waits for the next connection that completes its handshake. A call that is dropped loses none.
    pub async fn next(&mut self) -> TlsStream<TcpStream> {
        loop {
            tokio::select! {
                Some(done) = self.pending.join_next() => match done {
                    Ok(Ok(stream)) => return stream,
                    Ok(Err(error)) => self.failed(&error),
                    Err(error) => tracing::warn!(%error, "a handshake's task failed"),
                },
                accepted = self.listener.accept(), if self.pending.len() < HANDSHAKES => match accepted {
                    Ok((stream, _)) => self.shake(stream),
                    Err(error) => {
                        tracing::warn!(%error, "a connection can't be accepted");
                        tokio::time::sleep(REST).await;
                    }
                },
            }
        }
    }

    fn shake(&mut self, stream: TcpStream) {
        let acceptor = self.acceptor.clone();
        self.pending.spawn(async move {
            stream.set_nodelay(true)?;
            match tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await {
                Ok(shaken) => shaken,
                Err(_) => Err(io::ErrorKind::TimedOut.into()),
            }
        });
    }

    fn failed(&mut self, error: &io::Error) {
        // A port probe opens and closes a connection, which is no error.
        let Some(line) = self.tally.note("handshake", now_ms() / 1000) else { return };
        tracing::warn!(
            %error,
            total = line.total,
            unsaid = line.unsaid,
            "TLS handshake failed: clients connect with https:// and trust this hub's authority"
        );
    }
}
