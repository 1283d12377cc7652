//! A TCP port that answers a health check by being open. Entry point: [`HealthPort`].

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;

use anyhow::Result;
use tokio::sync::oneshot;

use crate::netns::Netns;

/// An open TCP port: connections are accepted, counted and closed. Closed when dropped: connections are refused.
pub struct HealthPort {
    /// Where it is.
    address: SocketAddr,
    /// The connections so far.
    accepted: Arc<AtomicU64>,
    /// Ends the thread.
    stop: Option<oneshot::Sender<()>>,
    /// The thread.
    thread: Option<JoinHandle<Result<()>>>,
}

// === impl HealthPort ===

impl HealthPort {
    /// Opens `address` (port 0: the kernel's choice) inside `namespace`.
    ///
    /// # Errors
    /// The port is taken.
    pub fn open(namespace: &Netns, address: SocketAddr) -> Result<Self> {
        let listener = namespace.enter(|| TcpListener::bind(address))??;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let accepted = Arc::new(AtomicU64::new(0));
        let (stop, stopped) = oneshot::channel();
        let counter = accepted.clone();
        let thread = namespace.spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(accept(listener, &counter, stopped))
        })?;
        Ok(Self { address, accepted, stop: Some(stop), thread: Some(thread) })
    }

    /// Where it is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The connections so far.
    pub fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }
}

impl Drop for HealthPort {
    /// Returns when the port is closed.
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Accepts until told to stop, or until the other end is dropped.
async fn accept(
    listener: TcpListener,
    accepted: &AtomicU64,
    mut stopped: oneshot::Receiver<()>,
) -> std::io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    loop {
        tokio::select! {
            connection = listener.accept() => {
                connection?;
                accepted.fetch_add(1, Ordering::Relaxed);
            }
            _ = &mut stopped => return Ok(()),
        }
    }
}
