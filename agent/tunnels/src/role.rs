//! What both roles have in common: the device and the socket ([`Bound`]), and metrics ([`serve_metrics`]).

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::Arc;

use anyhow::Context as _;
use portreeve_runtime::metrics::Family;
use portreeve_runtime::{Liveness, Metrics, Readiness, Shutdown, Tasks, admin};
use tokio::net::TcpListener;
use tun_rs::AsyncDevice;

use crate::end::{End, Shared};
use crate::pump::{inward, outward};
use crate::socket::Socket;
use crate::{Passage, device};

/// The ends of the data path.
pub struct Bound {
    pub device: Arc<AsyncDevice>,
    pub socket: Arc<Socket>,
}

// === impl Bound ===

impl Bound {
    /// Opens a device, and a socket at an address.
    ///
    /// # Errors
    /// Returns an error without the capability `NET_ADMIN` or `/dev/net/tun`, or if the port or the device's name is taken.
    pub fn open(name: &str, at: Ipv4Addr, port: u16) -> anyhow::Result<Self> {
        let device =
            device(name, Passage::Together).with_context(|| format!("creating the device {name}"))?;
        let at = SocketAddrV4::new(at, port);
        let socket = Socket::bind(at, Passage::Together).with_context(|| format!("binding UDP {at}"))?;
        Ok(Self { device: Arc::new(device), socket: Arc::new(socket) })
    }

    /// Starts the data path in both directions.
    pub fn carry<E: End + 'static>(&self, tasks: &mut Tasks, end: &Arc<Shared<E>>) {
        let (device, socket, shared) = (self.device.clone(), self.socket.clone(), end.clone());
        tasks.spawn("packets out", async move { match outward(&device, &socket, &shared).await? {} });
        let (device, socket, shared) = (self.device.clone(), self.socket.clone(), end.clone());
        tasks.spawn("packets in", async move { match inward(&socket, &device, &shared).await? {} });
    }
}

/// Serves metrics at an address until the shutdown.
///
/// # Errors
/// Returns an error if the address is taken.
pub async fn serve_metrics(
    tasks: &mut Tasks,
    address: SocketAddr,
    look: impl Fn() -> Vec<Family> + Send + Sync + 'static,
    shutdown: &Shutdown,
) -> anyhow::Result<()> {
    let listener = TcpListener::bind(address).await.with_context(|| format!("--admin {address}"))?;
    tracing::info!(address = %listener.local_addr()?, "serving metrics");
    let (ready, live) = (Readiness::default(), Liveness::default());
    let metrics = Metrics::new("gue", look);
    tasks.spawn("admin", admin::serve(listener, ready, live, metrics, shutdown.clone()));
    Ok(())
}
