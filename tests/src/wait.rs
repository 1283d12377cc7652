//! Waiting for a condition with a timeout: the only module of the workspace that sleeps.

use std::fmt::Debug;
use std::future::Future;
use std::pin::pin;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use futures::StreamExt;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;

/// The interval between two checks of a condition.
const POLL: Duration = Duration::from_millis(10);

/// Blocks until `condition` is true, and checks it every 10 ms.
///
/// # Errors
/// Returns an error that names `what` after `bound`. The condition is checked once more after the timeout, so that a
/// stalled machine alone doesn't fail a test.
pub fn wait_until(what: &str, bound: Duration, mut condition: impl FnMut() -> bool) -> Result<()> {
    wait_for(what, bound, || condition().then_some(()))
}

/// Blocks until `look` returns a value, and returns it.
///
/// # Errors
/// Returns an error that names `what` after `bound`.
pub fn wait_for<T>(what: &str, bound: Duration, mut look: impl FnMut() -> Option<T>) -> Result<T> {
    let deadline = Instant::now() + bound;
    loop {
        let last = Instant::now() >= deadline;
        match look() {
            Some(found) => return Ok(found),
            None if last => bail!("waited {bound:?} in vain for {what}"),
            None => pause(POLL),
        }
    }
}

/// Like [`wait_until`], for asynchronous conditions.
///
/// # Errors
/// Returns an error that names `what` after `bound`.
pub async fn until<Fut>(what: &str, bound: Duration, mut condition: impl FnMut() -> Fut) -> Result<()>
where
    Fut: Future<Output = bool>,
{
    eventually(what, bound, || {
        let looking = condition();
        async move { looking.await.then_some(()) }
    })
    .await
}

/// Like [`wait_for`], for asynchronous functions. A call that doesn't return is cancelled at the timeout.
///
/// # Errors
/// Returns an error that names `what` after `bound`.
pub async fn eventually<T, Fut>(what: &str, bound: Duration, mut look: impl FnMut() -> Fut) -> Result<T>
where
    Fut: Future<Output = Option<T>>,
{
    let looking = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(POLL).await;
        }
    };
    match tokio::time::timeout(bound, looking).await {
        Ok(found) => Ok(found),
        Err(_) => bail!("waited {bound:?} in vain for {what}"),
    }
}

/// Waits until `look` returns a value for an object of `api`. It uses a watch, because each poll would cost the API
/// server about a millisecond. `only` restricts the watch, see [`named`].
///
/// # Errors
/// Returns an error that names `what` after `bound`.
pub async fn seen<K, T>(
    api: Api<K>,
    only: watcher::Config,
    (what, bound): (&str, Duration),
    mut look: impl FnMut(&K) -> Option<T>,
) -> Result<T>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let mut objects = pin!(watcher::watcher(api, only).applied_objects());
    let looking = async {
        while let Some(object) = objects.next().await {
            match object.map(|object| look(&object)) {
                Ok(Some(found)) => return Ok(found),
                Ok(None) => {}
                // The server is unreachable: the next call of the watcher reconnects.
                Err(_) => tokio::time::sleep(POLL).await,
            }
        }
        bail!("the watch for {what} ended")
    };
    match tokio::time::timeout(bound, looking).await {
        Ok(found) => found,
        Err(_) => bail!("waited {bound:?} in vain for {what}"),
    }
}

/// Restricts [`seen`] to the object with this name.
pub fn named(name: &str) -> watcher::Config {
    watcher::Config::default().fields(&format!("metadata.name={name}"))
}

/// Sleeps, to pace traffic and polls, never to wait for an event.
#[allow(clippy::disallowed_methods, reason = "the one place that may")]
pub(crate) fn pause(time: Duration) {
    std::thread::sleep(time);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_that_never_comes_is_named() {
        let error = wait_until("the moon", Duration::from_millis(20), || false).unwrap_err();
        assert!(error.to_string().contains("the moon"), "{error}");
    }

    #[test]
    fn a_condition_is_looked_at_even_without_time() {
        wait_until("now", Duration::ZERO, || true).unwrap();
    }

    #[tokio::test]
    async fn a_look_that_hangs_is_given_up() {
        let hanging = || std::future::pending::<bool>();
        let error = until("an answer", Duration::from_millis(20), hanging).await.unwrap_err();
        assert!(error.to_string().contains("an answer"), "{error}");
    }
}
