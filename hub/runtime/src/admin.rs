//! The process's own HTTP endpoint: `/livez` (and `/healthz`), `/readyz`, `/metrics`.

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::{TcpListener, UnixListener};

use crate::{Metrics, Readiness, Shutdown, metrics};

/// Serves until the shutdown. `/readyz` answers 503 and the names of what is waited for until all are ready.
///
/// # Errors
/// The listener fails.
pub async fn serve(
    listener: TcpListener,
    (readiness, metrics): (Readiness, Metrics),
    shutdown: Shutdown,
) -> anyhow::Result<()> {
    let router = probes(readiness).route("/metrics", get(scrape).with_state(metrics));
    axum::serve(listener, router).with_graceful_shutdown(shutdown.waiter()).await?;
    Ok(())
}

/// The same without `/metrics`, over a Unix socket.
///
/// # Errors
/// The listener fails.
pub async fn serve_probes(
    listener: UnixListener,
    readiness: Readiness,
    shutdown: Shutdown,
) -> anyhow::Result<()> {
    axum::serve(listener, probes(readiness)).with_graceful_shutdown(shutdown.waiter()).await?;
    Ok(())
}

fn probes(readiness: Readiness) -> Router {
    Router::new()
        .route("/livez", get(async || "ok\n"))
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .with_state(readiness)
}

async fn ready(State(readiness): State<Readiness>) -> (StatusCode, String) {
    match readiness.waiting().as_slice() {
        [] => (StatusCode::OK, "ok\n".into()),
        waiting => (StatusCode::SERVICE_UNAVAILABLE, format!("waiting for {}\n", waiting.join(", "))),
    }
}

async fn scrape(State(metrics): State<Metrics>) -> Response {
    match metrics.text().await {
        Ok(text) => ([(CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}
