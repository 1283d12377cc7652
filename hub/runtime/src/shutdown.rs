//! The shutdown of a process ([`Shutdown`]), begun by SIGTERM, SIGINT or the program itself.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// The shutdown signal of a process. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    token: CancellationToken,
}

// === impl Shutdown ===

impl Shutdown {
    /// Begins the shutdown.
    pub fn begin(&self) {
        self.token.cancel();
    }

    /// Returns a shutdown that begins with this one, or earlier if its own [`Shutdown::begin`] is called.
    pub fn child(&self) -> Self {
        Self { token: self.token.child_token() }
    }

    /// Waits until the shutdown begins.
    pub async fn wait(&self) {
        self.token.cancelled().await;
    }

    /// Returns a future that waits until the shutdown begins.
    pub fn waiter(&self) -> impl Future<Output = ()> + Send + 'static + use<> {
        self.token.clone().cancelled_owned()
    }

    /// Whether the shutdown has begun.
    pub fn begun(&self) -> bool {
        self.token.is_cancelled()
    }

    /// Waits for SIGTERM or SIGINT and begins the shutdown.
    ///
    /// # Errors
    /// The signals can't be caught.
    pub async fn on_signal(self) -> anyhow::Result<()> {
        let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        tokio::select! {
            _ = term.recv() => tracing::info!("asked to end by SIGTERM"),
            _ = int.recv() => tracing::info!("asked to end by SIGINT"),
            () = self.wait() => {}
        }
        self.begin();
        Ok(())
    }
}
