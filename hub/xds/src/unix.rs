//! Connections over a Unix socket ([`incoming`]) with their peers. The kernel identifies the peer when the connection is
//! accepted, and a gate may refuse it before a byte is read.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures::Stream;
use nix::errno::Errno;
use nix::sys::socket::{getsockopt, sockopt};
use tokio::net::{UnixListener, UnixStream};

use crate::peer::{Pass, Peer};

/// Decides which peers may connect. `None` closes the connection. It is called between two accepts and must not block.
pub type Gate = Arc<dyn Fn(&Peer) -> Option<Pass> + Send + Sync>;

/// The pause after a failed accept. Without free descriptors (EMFILE) every accept fails at once.
const AFTER_FAILURE: Duration = Duration::from_millis(10);

/// Returns the endless stream of a socket's connections; with a gate only those that it lets pass.
pub fn incoming(
    listener: UnixListener,
    gate: Option<Gate>,
) -> impl Stream<Item = io::Result<(UnixStream, Peer)>> + Send {
    futures::stream::unfold((listener, gate), |(listener, gate)| async move {
        let connection = accept(&listener, gate.as_ref()).await;
        Some((Ok(connection), (listener, gate)))
    })
}

/// Waits for the next connection that the gate lets pass.
async fn accept(listener: &UnixListener, gate: Option<&Gate>) -> (UnixStream, Peer) {
    loop {
        let accepted = listener.accept().await.map(|(io, _)| pass(io, gate));
        match accepted {
            Ok(Some(connection)) => return connection,
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(%error, "accepting a connection failed, trying again");
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

/// Takes the handle before the pid: while the handle is open, the pid stays this process's. Without a handle the pid is used
/// only if the kernel has none (ENOPROTOOPT); otherwise the process is already gone.
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
