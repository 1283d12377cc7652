//! A TCP relay between two network namespaces, through which the test's own clients reach a server inside a bed.
//!
//! It listens on a loopback port where it was created, and connects from inside the target's namespace. If one side
//! closes or the target refuses, the other side is closed.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::time::Duration;

use anyhow::Result;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener as AsyncListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use crate::netns::Netns;

/// Timeout of a connection attempt.
const DIAL: Duration = Duration::from_secs(2);

/// A running relay, which ends on drop.
pub struct Relay {
    /// The listening address.
    address: SocketAddr,
    /// Ends the thread on drop.
    _stop: oneshot::Sender<()>,
}

// === impl Relay ===

impl Relay {
    /// Listens on a loopback port of the caller's namespace for connections to `target` inside `namespace`.
    ///
    /// # Errors
    /// Returns an error if no port is free.
    pub fn start(namespace: &Netns, target: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let (stop, stopped) = oneshot::channel();
        namespace.spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(serve(listener, target, stopped))
        })?;
        Ok(Self { address, _stop: stop })
    }

    /// Returns the loopback address to connect to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Accepts connections until the relay is dropped.
async fn serve(
    listener: TcpListener,
    target: SocketAddr,
    mut stopped: oneshot::Receiver<()>,
) -> std::io::Result<()> {
    let listener = AsyncListener::from_std(listener)?;
    let mut pairs = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (near, _) = accepted?;
                pairs.spawn(join(near, target));
            }
            Some(_) = pairs.join_next() => {}
            _ = &mut stopped => return Ok(()),
        }
    }
}

/// Relays one connection until it ends. If the target refuses it or it breaks, it is closed.
async fn join(mut near: TcpStream, target: SocketAddr) {
    let dialled = tokio::time::timeout(DIAL, TcpStream::connect(target)).await;
    if let Ok(Ok(mut far)) = dialled {
        let _ = near.set_nodelay(true);
        let _ = far.set_nodelay(true);
        let _ = copy_bidirectional(&mut near, &mut far).await;
    }
}
