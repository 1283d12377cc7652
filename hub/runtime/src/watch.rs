//! A watch on the API server as three verbs, with the complete list after each disconnect.

use std::fmt::Debug;
use std::pin::pin;
use std::time::Duration;

use futures::StreamExt;
use kube::api::ListParams;
use kube::runtime::WatchStreamExt;
use kube::runtime::utils::Backoff;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Resource, ResourceExt};
use rand::Rng;
use serde::de::DeserializeOwned;

use crate::Guard;

/// How long a failed watch rests the first time; each pause is spread over its upper half and doubles.
const SHORTEST_PAUSE: Duration = Duration::from_millis(200);

/// The pauses between tries, from the shortest again after a success.
struct Pauses {
    next: Duration,
    longest: Duration,
}

/// What a watch does to somebody's state.
pub trait Verbs<K>: Send {
    /// How long a failed watch rests at most before it is tried again. A few hubs may be eager; an agent is one of
    /// thousands that all miss the same API server.
    const LONGEST_PAUSE: Duration = Duration::from_secs(10);

    /// Whether the collection's revision is asked for before each list, for [`Verbs::up_to`].
    const ASKS_REVISION: bool = false;

    /// An object was created or changed.
    fn apply(&mut self, object: K);
    /// An object is gone.
    fn delete(&mut self, object: K);
    /// The complete list: what is not in it is gone.
    fn reset(&mut self, objects: Vec<K>);
    /// The list that was complete last holds everything up to this revision of the collection, deletions included: no object
    /// tells of those.
    fn up_to(&mut self, _revision: u64) {}
    /// The watch failed, and is tried again.
    fn failed(&mut self) {}
}

/// The highest resourceVersion in a watch, for watermarks; objects without a numeric one count as 0.
pub fn revision<K: Resource>(object: &K) -> u64 {
    object.meta().resource_version.as_deref().and_then(|v| v.parse().ok()).unwrap_or(0)
}

/// Runs a watch for ever. The guard is dropped when the first complete list is in. `strip` takes what is needed
/// from an object at once, so that a large list is never held whole.
///
/// # Errors
/// None that ends it: failures are logged and tried again, at most [`Verbs::LONGEST_PAUSE`] later.
pub async fn run<K, S, V: Verbs<S>>(
    api: Api<K>,
    config: watcher::Config,
    guard: Guard,
    strip: impl Fn(K) -> Option<S> + Send,
    mut verbs: V,
) -> anyhow::Result<()>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
    K::DynamicType: Default,
    S: Send,
{
    let mut guard = Some(guard);
    let (mut listed, mut revision) = (Vec::new(), None);
    let pauses = Pauses { next: SHORTEST_PAUSE, longest: V::LONGEST_PAUSE };
    let mut events = pin!(watcher(api.clone(), config).backoff(pauses));
    while let Some(event) = events.next().await {
        match event {
            // The list is not asked for before the next event is.
            Ok(Event::Init) => {
                listed.clear();
                revision = if V::ASKS_REVISION { of_collection(&api).await } else { None };
            }
            Ok(Event::InitApply(object)) => listed.extend(strip(object)),
            Ok(Event::InitDone) => {
                verbs.reset(std::mem::take(&mut listed));
                revision.take().into_iter().for_each(|revision| verbs.up_to(revision));
                drop(guard.take());
            }
            Ok(Event::Apply(object)) => strip(object).into_iter().for_each(|o| verbs.apply(o)),
            Ok(Event::Delete(object)) => strip(object).into_iter().for_each(|o| verbs.delete(o)),
            Err(error) => {
                tracing::warn!(%error, "watch failed, trying again");
                verbs.failed();
            }
        }
    }
    anyhow::bail!("the watch's stream ended")
}

/// The collection's revision now.
async fn of_collection<K>(api: &Api<K>) -> Option<u64>
where
    K: Clone + DeserializeOwned + Debug,
{
    match api.list_metadata(&ListParams::default().limit(1)).await {
        Ok(list) => list.metadata.resource_version?.parse().ok(),
        Err(error) => {
            tracing::warn!(%error, "the revision of what is watched is not known until it changes");
            None
        }
    }
}

// === impl Pauses ===

impl Iterator for Pauses {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let pause = self.next.min(self.longest);
        self.next = (pause * 2).min(self.longest);
        Some(pause.mul_f64(rand::rng().random_range(0.5..=1.0)))
    }
}

impl Backoff for Pauses {
    fn reset(&mut self) {
        self.next = SHORTEST_PAUSE;
    }
}

/// Namespace and name for a log line.
pub fn title<K: Resource>(object: &K) -> String {
    format!("{}/{}", object.namespace().unwrap_or_default(), object.name_any())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_start_again_after_a_success() {
        let mut pauses = Pauses { next: SHORTEST_PAUSE, longest: Duration::from_secs(1) };
        for full in [200, 400, 800, 1000, 1000] {
            let pause = pauses.next().unwrap().as_millis();
            assert!((full / 2..=full).contains(&pause), "{pause} ms of {full}");
        }
        pauses.reset();
        assert!(pauses.next().unwrap() <= SHORTEST_PAUSE);
    }
}
