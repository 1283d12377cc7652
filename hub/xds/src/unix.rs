//! Connections over a Unix socket ([`incoming`]), with what the kernel says of their other ends. It is taken when a
//! connection is accepted, and a gate may decide by it before a byte is read.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures::Stream;
use nix::errno::Errno;
use nix::sys::socket::{getsockopt, sockopt};
use tokio::net::{UnixListener, UnixStream};

use crate::peer::{Pass, Peer};

/// Decides who may connect: without a pass the connection is closed. Called between two accepts: must not block.
pub type Gate = Arc<dyn Fn(&Peer) -> Option<Pass> + Send + Sync>;

/// The pause after a failed accept. Without descriptors (EMFILE) each one fails at once, until some are closed.
const AFTER_FAILURE: Duration = Duration::from_millis(10);

/// The connections of a socket, for ever: those that the gate lets pass, or without a gate all of them.
pub fn incoming(
    listener: UnixListener,
    gate: Option<Gate>,
) -> impl Stream<Item = io::Result<(UnixStream, Peer)>> + Send {
    futures::stream::unfold((listener, gate), |(listener, gate)| async move {
        let connection = accept(&listener, gate.as_ref()).await;
        Some((Ok(connection), (listener, gate)))
    })
}

/// The next connection that the gate lets pass.
async fn accept(listener: &UnixListener, gate: Option<&Gate>) -> (UnixStream, Peer) {
    loop {
        let accepted = listener.accept().await.map(|(io, _)| pass(io, gate));
        match accepted {
            Ok(Some(connection)) => return connection,
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(%error, "no connection can be accepted");
                tokio::time::sleep(AFTER_FAILURE).await;
            }
        }
    }
}

fn pass(io: UnixStream, gate: Option<&Gate>) -> Option<(UnixStream, Peer)> {
    let mut peer = peer(&io);
    if let Some(gate) = gate {
        peer.pass = Some(gate(&peer)?);
    }
    Some((io, peer))
}

/// The handle first: with it in hand, the number can be trusted for as long as the process lives. Without it the
/// number is told only where the kernel has no handles at all: otherwise the process is gone already.
fn peer(io: &UnixStream) -> Peer {
    let handle = getsockopt(io, sockopt::PeerPidfd);
    let numbered = matches!(handle, Ok(_) | Err(Errno::ENOPROTOOPT));
    let cred = io.peer_cred().ok();
    Peer {
        pid: cred.filter(|_| numbered).and_then(|cred| cred.pid()),
        pidfd: handle.ok().map(Arc::new),
        uid: cred.map(|cred| cred.uid()),
        gid: cred.map(|cred| cred.gid()),
        ..Peer::default()
    }
}
