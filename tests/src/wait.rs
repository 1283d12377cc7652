//! Waiting for a condition with a bound: the only place of the workspace that sleeps.

use std::fmt::Debug;
use std::future::Future;
use std::pin::pin;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use futures::StreamExt;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;

/// The pause between two looks at a condition.
const POLL: Duration = Duration::from_millis(10);

/// Blocks until `condition` is true, looking every 10 ms.
///
/// # Errors
/// Names `what` when `bound` has passed without it. The condition is looked at once more after the bound, so a
/// test on a stalled machine does not fail for the stall alone.
pub fn wait_until(what: &str, bound: Duration, mut condition: impl FnMut() -> bool) -> Result<()> {
    wait_for(what, bound, || condition().then_some(()))
}

/// Blocks until `look` finds something, and returns it.
///
/// # Errors
/// Names `what` when `bound` has passed without it.
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

/// [`wait_until`] for conditions that need the runtime.
///
/// # Errors
/// Names `what` when `bound` has passed without it.
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

/// [`wait_for`] for conditions that need the runtime. A look that does not return is given up with the bound.
///
/// # Errors
/// Names `what` when `bound` has passed without it.
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

/// Waits until `look` finds something in an object of `api`, as it is now or becomes: by a watch, since each poll costs the
/// API server about a millisecond. `only` restricts the watch, see [`named`].
///
/// # Errors
/// Names `what` when `bound` has passed without it.
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
                // The server is away: the watcher connects again when it is asked again.
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

/// Restricts [`seen`] to the object of this name.
pub fn named(name: &str) -> watcher::Config {
    watcher::Config::default().fields(&format!("metadata.name={name}"))
}

/// Sleeps: for the pacing of traffic and of polls, never for "long enough".
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
