//! A watch on the API server as three verbs, with the complete list after each disconnect.

use std::fmt::Debug;
use std::pin::pin;

use futures::StreamExt;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Resource, ResourceExt};
use serde::de::DeserializeOwned;

use crate::Guard;

/// What a watch does to somebody's state.
pub trait Verbs<K>: Send {
    /// An object was created or changed.
    fn apply(&mut self, object: K);
    /// An object is gone.
    fn delete(&mut self, object: K);
    /// The complete list: what is not in it is gone.
    fn reset(&mut self, objects: Vec<K>);
}

/// The highest resourceVersion in a watch, for watermarks; objects without a numeric one count as 0.
pub fn revision<K: Resource>(object: &K) -> u64 {
    object.meta().resource_version.as_deref().and_then(|v| v.parse().ok()).unwrap_or(0)
}

/// Runs a watch for ever. The guard is dropped when the first complete list is in. `strip` takes what is needed
/// from an object at once, so that a large list is never held whole.
///
/// # Errors
/// None that ends it: failures are logged and tried again with backoff (0.8 s to 30 s).
pub async fn run<K, S>(
    api: Api<K>,
    config: watcher::Config,
    guard: Guard,
    strip: impl Fn(K) -> Option<S> + Send,
    mut verbs: impl Verbs<S>,
) -> anyhow::Result<()>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
    K::DynamicType: Default,
    S: Send,
{
    let mut guard = Some(guard);
    let mut listed = Vec::new();
    let mut events = pin!(watcher(api, config).default_backoff());
    while let Some(event) = events.next().await {
        match event {
            Ok(Event::Init) => listed.clear(),
            Ok(Event::InitApply(object)) => listed.extend(strip(object)),
            Ok(Event::InitDone) => {
                verbs.reset(std::mem::take(&mut listed));
                drop(guard.take());
            }
            Ok(Event::Apply(object)) => strip(object).into_iter().for_each(|o| verbs.apply(o)),
            Ok(Event::Delete(object)) => strip(object).into_iter().for_each(|o| verbs.delete(o)),
            Err(error) => tracing::warn!(%error, "watch failed, trying again"),
        }
    }
    anyhow::bail!("the watch's stream ended")
}

/// Namespace and name for a log line.
pub fn title<K: Resource>(object: &K) -> String {
    format!("{}/{}", object.namespace().unwrap_or_default(), object.name_any())
}
