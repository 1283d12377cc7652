//! The process's own HTTP endpoint: `/livez` (and `/healthz`), `/readyz`, `/metrics`.
//!
//! It runs on a thread of its own. No answer waits for the process's state, see [`Liveness`] and [`Metrics`].

use std::time::Instant;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::{TcpListener, UnixListener};

use crate::apart::apart;
use crate::{Liveness, Metrics, Readiness, Shutdown, metrics};

/// Serves until the shutdown. `/readyz` answers 503 with the names of the guards that are still held. `/livez` answers 503
/// with the names of the states that make no progress.
///
/// # Errors
/// The listener fails.
pub async fn serve(
    listener: TcpListener,
    readiness: Readiness,
    liveness: Liveness,
    metrics: Metrics,
    shutdown: Shutdown,
) -> anyhow::Result<()> {
    let router = probes(readiness, liveness).route("/metrics", get(scrape).with_state(metrics));
    let listener = listener.into_std()?;
    apart("admin", move || async move {
        let listener = TcpListener::from_std(listener)?;
        axum::serve(listener, router).with_graceful_shutdown(shutdown.waiter()).await?;
        Ok(())
    })
    .await
}

/// Serves like [`serve`], but over a Unix socket and without `/metrics`.
///
/// # Errors
/// The listener fails.
pub async fn serve_probes(
    listener: UnixListener,
    readiness: Readiness,
    liveness: Liveness,
    shutdown: Shutdown,
) -> anyhow::Result<()> {
    let listener = listener.into_std()?;
    apart("probes", move || async move {
        let listener = UnixListener::from_std(listener)?;
        axum::serve(listener, probes(readiness, liveness)).with_graceful_shutdown(shutdown.waiter()).await?;
        Ok(())
    })
    .await
}

fn probes(readiness: Readiness, liveness: Liveness) -> Router {
    Router::new()
        .route("/livez", get(live))
        .route("/healthz", get(live))
        .with_state(liveness)
        .route("/readyz", get(ready).with_state(readiness))
}

async fn live(State(liveness): State<Liveness>) -> (StatusCode, String) {
    match liveness.still(Instant::now()).as_slice() {
        [] => (StatusCode::OK, "ok\n".into()),
        still => {
            let words =
                still.iter().map(|(name, time)| format!("{name}: no progress for {} s", time.as_secs()));
            (StatusCode::SERVICE_UNAVAILABLE, words.collect::<Vec<_>>().join(", ") + "\n")
        }
    }
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

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::sync::mpsc;
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;
    use tokio::task::JoinSet;

    use super::*;
    use crate::Heart;
    use crate::metrics::Family;

    const BOUND: Duration = Duration::from_secs(20);

    async fn asked(address: SocketAddr, path: &str) -> String {
        let answer = async {
            let mut stream = TcpStream::connect(address).await.unwrap();
            let request = format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            answer
        };
        tokio::time::timeout(BOUND, answer).await.unwrap()
    }

    /// Locks the state, as a long change does, until the returned sender is dropped.
    fn hold(state: Arc<Mutex<u32>>) -> mpsc::Sender<()> {
        let (held, holding) = mpsc::channel();
        let (release, released) = mpsc::channel::<()>();
        std::thread::spawn(move || {
            let mut state = state.lock().unwrap();
            held.send(()).unwrap();
            let _ = released.recv();
            *state += 1;
        });
        holding.recv_timeout(BOUND).unwrap();
        release
    }

    /// Asks from another runtime, as the kubelet does, while every thread of this one waits for the state.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn all_paths_answer_while_a_change_holds_the_state_and_all_threads_wait_for_it() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (state, shutdown) = (Arc::new(Mutex::new(7)), Shutdown::default());
        let look = state.clone();
        let metrics = Metrics::new("test", move || {
            vec![Family::gauge("state", "What it is").value(f64::from(*look.lock().unwrap()))]
        });
        let mut tasks = JoinSet::new();
        let (readiness, liveness) = (Readiness::default(), Liveness::default());
        tasks.spawn(serve(listener, readiness, liveness, metrics, shutdown.clone()));
        assert!(asked(address, "/metrics").await.contains("\nstate 7.0\n"));
        let release = hold(state.clone());
        for _ in 0..2 {
            let state = state.clone();
            tasks.spawn(async move {
                drop(state.lock().unwrap());
                Ok(())
            });
        }
        let asking = apart("asking", move || async move {
            for path in ["/livez", "/readyz", "/healthz"] {
                assert!(asked(address, path).await.starts_with("HTTP/1.1 200"), "{path}");
            }
            let text = asked(address, "/metrics").await;
            assert!(text.contains("\nstate 7.0\n"), "the last known: {text}");
            drop(release);
            Ok(())
        });
        asking.await.unwrap();
        let fresh = async { while !asked(address, "/metrics").await.contains("\nstate 8.0\n") {} };
        tokio::time::timeout(BOUND, fresh).await.unwrap();
        shutdown.begin();
    }

    #[tokio::test]
    async fn state_without_progress_is_named() {
        let (liveness, heart) = (Liveness::default(), Heart::default());
        liveness.watch("the state", &heart);
        liveness.still(Instant::now().checked_sub(crate::liveness::PATIENCE).unwrap());
        let (status, words) = live(State(liveness)).await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(words.starts_with("the state: no progress for 12"), "{words}");
    }
}
