//! What both roles have in common: the device and the socket ([`Bound`]), and metrics ([`serve_metrics`]).

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::Arc;

use anyhow::Context as _;
use portreeve_runtime::apart::apart;
use portreeve_runtime::metrics::Family;
use portreeve_runtime::{Liveness, Metrics, Readiness, Shutdown, Tasks, admin};
use tokio::net::TcpListener;
use tun_rs::{AsyncDevice, SyncDevice};

use crate::end::{End, Shared};
use crate::pump::{inward, outward};
use crate::socket::Socket;
use crate::{Passage, builder};

/// A device, and the address of the outer socket.
pub struct Bound {
    device: SyncDevice,
    at: SocketAddrV4,
}

// === impl Bound ===

impl Bound {
    /// Opens a device.
    ///
    /// # Errors
    /// Returns an error without the capability `NET_ADMIN` or `/dev/net/tun`, or if the device's name is taken.
    pub fn open(name: &str, at: Ipv4Addr, port: u16) -> anyhow::Result<Self> {
        let device = builder(name, Passage::Together).build_sync();
        let device = device.with_context(|| format!("creating the device {name}"))?;
        Ok(Self { device, at: SocketAddrV4::new(at, port) })
    }

    /// Starts the data path, and what else uses the socket, on a thread of its own: packets wait for nothing else. It ends with an
    /// error if the port is taken.
    pub fn carry<E: End + 'static, F: Future<Output = Infallible> + Send + 'static>(
        self,
        tasks: &mut Tasks,
        end: &Arc<Shared<E>>,
        also: impl FnOnce(Arc<Socket>) -> F + Send + 'static,
    ) {
        let (Self { device, at }, end) = (self, end.clone());
        let work = move || async move {
            let device = AsyncDevice::new(device)?;
            let socket = Socket::bind(at, Passage::Together).with_context(|| format!("binding UDP {at}"))?;
            let socket = Arc::new(socket);
            tokio::select! {
                ended = outward(&device, &socket, &end) => match ended? {},
                ended = inward(&socket, &device, &end) => match ended? {},
                never = also(socket.clone()) => match never {},
            }
        };
        tasks.spawn("packets", async move { apart("packets", work).await });
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
