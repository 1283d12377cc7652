//! The process's own HTTP endpoint: `/livez` and `/readyz`.

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use tokio::net::TcpListener;

use crate::{Readiness, Shutdown};

/// Serves until the shutdown. `/readyz` answers 503 and the names of what is waited for until all are ready.
///
/// # Errors
/// The listener fails.
pub async fn serve(listener: TcpListener, readiness: Readiness, shutdown: Shutdown) -> anyhow::Result<()> {
    let router = Router::new()
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .with_state(readiness);
    axum::serve(listener, router).with_graceful_shutdown(shutdown.waiter()).await?;
    Ok(())
}

async fn ready(State(readiness): State<Readiness>) -> (StatusCode, String) {
    match readiness.waiting().as_slice() {
        [] => (StatusCode::OK, "ok\n".into()),
        waiting => (StatusCode::SERVICE_UNAVAILABLE, format!("waiting for {}\n", waiting.join(", "))),
    }
}
