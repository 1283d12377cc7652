//! Asking a process to end: SIGTERM and SIGINT, or its owner.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// A wish to end, shared by all tasks of a process.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    token: CancellationToken,
}

// === impl Shutdown ===

impl Shutdown {
    /// Ends everything that waits for it.
    pub fn begin(&self) {
        self.token.cancel();
    }

    /// One that begins with this one at the latest.
    pub fn child(&self) -> Self {
        Self { token: self.token.child_token() }
    }

    /// Resolves when the process is to end.
    pub async fn wait(&self) {
        self.token.cancelled().await;
    }

    /// A future of its own that resolves when the process is to end.
    pub fn waiter(&self) -> impl Future<Output = ()> + Send + 'static + use<> {
        self.token.clone().cancelled_owned()
    }

    /// Whether the process is to end.
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
