//! A task on a thread and a runtime of its own ([`apart`]). It runs on while every thread of the process's runtime is busy or
//! waits for a lock.

use std::thread;

use anyhow::Context;
use tokio::runtime::Builder;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

/// Runs the future of `start` on a thread with this name, and returns the future's result. `start` is called inside the new
/// runtime, so that it can register sockets there. The thread ends with the future. If the caller drops this function's
/// future, the thread ends at the next await.
///
/// # Errors
/// The future's error, or why the thread or its runtime can't be created.
pub async fn apart<F>(name: &str, start: impl FnOnce() -> F + Send + 'static) -> anyhow::Result<()>
where
    F: Future<Output = anyhow::Result<()>> + Send + 'static,
{
    let (mut ended, outcome) = oneshot::channel();
    let work = move || {
        let runtime = match Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => return drop(ended.send(Err(error.into()))),
        };
        let result = runtime.block_on(async {
            // A wake of a task costs less than one of the future that blocks the thread, which goes through the kernel.
            let mut task = JoinSet::new();
            task.spawn(start());
            tokio::select! {
                result = task.join_next() => result,
                () = ended.closed() => None,
            }
        });
        // Blocking work that still waits for a lock must not delay the end.
        runtime.shutdown_background();
        // The receiver is gone if the caller dropped its future. It learns of a panic by the sender's end.
        let _ = result.and_then(Result::ok).map(|result| ended.send(result));
    };
    thread::Builder::new().name(name.to_owned()).spawn(work).with_context(|| format!("thread {name}"))?;
    outcome.await.with_context(|| format!("thread {name} ended by a panic"))?
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    const BOUND: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn it_runs_while_the_callers_runtime_is_blocked() {
        let (done, all_done) = mpsc::channel();
        let task = apart("apart", move || async move {
            tokio::time::sleep(Duration::from_millis(20)).await;
            Ok(done.send(())?)
        });
        let running = tokio::task::LocalSet::new();
        let task = running.spawn_local(task);
        running.run_until(tokio::task::yield_now()).await;
        // The only thread of this runtime waits here.
        all_done.recv_timeout(BOUND).unwrap();
        running.run_until(task).await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn it_ends_when_its_caller_drops_it() {
        let (held, dropped) = oneshot::channel::<()>();
        let task = apart("apart", move || async move {
            let _held = held;
            std::future::pending().await
        });
        assert!(tokio::time::timeout(Duration::from_millis(20), task).await.is_err());
        assert!(tokio::time::timeout(BOUND, dropped).await.unwrap().is_err());
    }
}
