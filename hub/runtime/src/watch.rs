//! A watch on the API server as three verbs ([`Verbs`]), with the complete list after each disconnect. Entry point: [`run`].

use std::fmt::Debug;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use kube::api::ListParams;
use kube::runtime::WatchStreamExt;
use kube::runtime::utils::Backoff;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Resource, ResourceExt};
use rand::Rng;
use serde::de::DeserializeOwned;
use tracing::Instrument as _;

use crate::Guard;
use crate::arrivals::Arrivals;

/// The first pause after a failure. Pauses double, and each is jittered over its upper half.
const SHORTEST_PAUSE: Duration = Duration::from_millis(200);

/// The pause between two calls of [`Verbs::settle`], so that others get the lock that the verbs take.
const BREATH: Duration = Duration::from_millis(1);

/// The pauses between tries, without end. An answer of the API server resets them to the shortest.
pub struct Pauses {
    next: Duration,
    longest: Duration,
    /// The API server has answered since the last pause. Set by the reader of the events: kube resets its backoff on every
    /// event, also on the one that precedes each list and needs no answer.
    answered: Arc<AtomicBool>,
}

/// The state that a watch keeps up to date.
pub trait Verbs<K>: Send {
    /// The longest pause before a failed watch is tried again. A few hubs may be eager; an agent is one of thousands that all
    /// wait for the same API server.
    const LONGEST_PAUSE: Duration = Duration::from_secs(10);

    /// Whether to request the collection's revision before each list, for [`Verbs::up_to`]. It costs one request.
    const ASKS_REVISION: bool = false;

    /// The number of listed objects that are passed on at once ([`Verbs::portion`]). By default the whole list.
    const PORTION: usize = usize::MAX;

    /// The shortest time between two calls of [`Verbs::pause`]. A change after a quiet time never waits.
    const GATHER: Duration = Duration::ZERO;

    /// An object was created or changed.
    fn apply(&mut self, object: K);
    /// An object was deleted.
    fn delete(&mut self, object: K);
    /// No further event has arrived yet and the last call was long enough ago ([`Verbs::GATHER`]), or the watch has failed. Verbs
    /// that collect created, changed and deleted objects take them in now.
    fn pause(&mut self) {}
    /// A list begins to arrive. If an earlier list is incomplete, its portions do not count.
    fn begin(&mut self) {}
    /// [`Verbs::PORTION`] objects of the list that is arriving. Whoever lowers that number implements this.
    fn portion(&mut self, _objects: Vec<K>) {}
    /// The list is complete: these are all objects that exist, apart from those in its portions. All others were deleted.
    fn reset(&mut self, objects: Vec<K>);
    /// Goes on with the work of the last [`Verbs::reset`]. Returns whether some is left. Called until none is left, before
    /// [`Verbs::up_to`] and before the guard of the watch is dropped.
    fn settle(&mut self) -> bool {
        false
    }
    /// The last [`Verbs::reset`] reflects the collection up to this revision, deletions included. The objects' own revisions
    /// can't show that: a deletion leaves no object.
    fn up_to(&mut self, _revision: u64) {}
    /// The watch failed and will be tried again.
    fn failed(&mut self, _error: &watcher::Error) {}
}

/// Turns the events of a watch into verbs.
struct Consumer<S, F, V> {
    strip: F,
    verbs: V,
    /// The objects of the list that is being received which were not passed on yet.
    listed: Vec<S>,
    /// The number of objects of that list which were passed on in portions.
    passed: usize,
    /// The collection's revision before that list, if it was asked for.
    revision: Option<u64>,
    /// Dropped when the first list is complete.
    guard: Option<Guard>,
}

/// Returns an object's resourceVersion for watermarks; 0 if it is not a number.
pub fn revision<K: Resource>(object: &K) -> u64 {
    object.meta().resource_version.as_deref().and_then(|v| v.parse().ok()).unwrap_or(0)
}

/// Returns whether the API server answered that the client has no right to this watch.
pub fn is_forbidden(error: &watcher::Error) -> bool {
    let status = match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchFailed(kube::Error::Api(status))
        | watcher::Error::WatchError(status) => status,
        _ => return false,
    };
    status.code == 403
}

/// Runs a watch until the process ends. The guard, if any, is dropped when the first list is complete. `strip` reduces each object to
/// what is needed of it as it arrives, so that a large list is never held whole; objects that become `None` are left out.
///
/// Log lines carry the span `watch{kind,ns}`, where `ns` is the only watched namespace, if there is one, and
/// `apply{ns,name}`, `delete{ns,name}`, `portion{objects}` or `reset{objects}` within a verb.
///
/// # Errors
/// Only if the stream of events ends. A failed watch is logged and tried again after at most [`Verbs::LONGEST_PAUSE`].
pub async fn run<K, S, V: Verbs<S>>(
    api: Api<K>,
    config: watcher::Config,
    guard: impl Into<Option<Guard>>,
    strip: impl Fn(K) -> Option<S> + Send,
    verbs: V,
) -> anyhow::Result<()>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
    S: Send,
{
    let mut consumer = Consumer::new(strip, verbs, guard.into());
    let pauses = Pauses::up_to(V::LONGEST_PAUSE);
    let answered = pauses.answered.clone();
    let url = api.resource_url().to_owned();
    let kind = url.rsplit('/').next();
    let follow = async {
        let events = pin!(watcher(api.clone(), config).backoff(pauses));
        let mut arrivals = Arrivals::new(events, V::GATHER);
        while let Some(event) = arrivals.next(|| consumer.verbs.pause()).await {
            // The watcher requests the list only when the event behind `Init` is polled.
            if V::ASKS_REVISION && matches!(event, Ok(Event::Init)) {
                consumer.revision = of_collection(&api).await;
            }
            if is_answer(&event) {
                answered.store(true, Ordering::Relaxed);
            }
            consumer.take(event).await;
        }
    };
    follow.instrument(tracing::info_span!("watch", kind, ns = api.namespace())).await;
    anyhow::bail!("the watch's stream ended")
}

/// Runs a watch until it fails, and returns the error. The first list is complete when [`Verbs::reset`] is called.
///
/// [`run`] resumes a failed watch where it was, and nothing tells when the API server can be reached again. Whoever wants to
/// know that starts this anew after each failure.
pub async fn run_until_failure<K, S, V: Verbs<S>>(
    api: Api<K>,
    config: watcher::Config,
    strip: impl Fn(K) -> Option<S> + Send,
    verbs: V,
) -> watcher::Error
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
    S: Send,
{
    let mut consumer = Consumer::new(strip, verbs, None);
    let events = pin!(watcher(api, config));
    let mut arrivals = Arrivals::new(events, V::GATHER);
    loop {
        match arrivals.next(|| consumer.verbs.pause()).await {
            Some(Err(error)) => return error,
            Some(event) => consumer.take(event).await,
            // kube's stream never ends.
            None => return watcher::Error::NoResourceVersion,
        }
    }
}

/// Whether the API server answered. It is not asked before [`Event::Init`].
fn is_answer<K>(event: &watcher::Result<Event<K>>) -> bool {
    matches!(event, Ok(Event::InitApply(_) | Event::InitDone | Event::Apply(_) | Event::Delete(_)))
}

/// The current revision of the collection; `None` if the API server does not return it.
async fn of_collection<K>(api: &Api<K>) -> Option<u64>
where
    K: Clone + DeserializeOwned + Debug,
{
    match api.list_metadata(&ListParams::default().limit(1)).await {
        Ok(list) => list.metadata.resource_version?.parse().ok(),
        Err(error) => {
            tracing::warn!(%error, "the collection's revision can't be read: the watermark waits for the next change");
            None
        }
    }
}

// === impl Consumer ===

impl<S, F, V: Verbs<S>> Consumer<S, F, V> {
    fn new(strip: F, verbs: V, guard: Option<Guard>) -> Self {
        Self { strip, verbs, listed: Vec::new(), passed: 0, revision: None, guard }
    }

    async fn take<K: Resource>(&mut self, event: watcher::Result<Event<K>>)
    where
        F: Fn(K) -> Option<S>,
    {
        match event {
            Ok(Event::Init) => {
                (self.listed, self.passed) = (Vec::new(), 0);
                self.verbs.begin();
            }
            Ok(Event::InitApply(object)) => {
                self.listed.extend((self.strip)(object));
                if self.listed.len() >= V::PORTION {
                    self.pass_portion();
                    // A page of the list is in memory: nothing else would let other tasks run.
                    tokio::task::yield_now().await;
                }
            }
            Ok(Event::InitDone) => self.complete().await,
            Ok(Event::Apply(object)) => {
                let (ns, name) = (object.meta().namespace.as_deref(), object.meta().name.as_deref());
                let _entered = tracing::info_span!("apply", ns, name).entered();
                (self.strip)(object).into_iter().for_each(|stripped| self.verbs.apply(stripped));
            }
            Ok(Event::Delete(object)) => {
                let (ns, name) = (object.meta().namespace.as_deref(), object.meta().name.as_deref());
                let _entered = tracing::info_span!("delete", ns, name).entered();
                (self.strip)(object).into_iter().for_each(|stripped| self.verbs.delete(stripped));
            }
            Err(error) => {
                tracing::warn!(%error, "watch failed, trying again");
                self.verbs.failed(&error);
            }
        }
    }

    fn pass_portion(&mut self) {
        let _entered = tracing::info_span!("portion", objects = self.listed.len()).entered();
        self.passed += self.listed.len();
        self.verbs.portion(std::mem::take(&mut self.listed));
    }

    /// Passes on the end of the list.
    async fn complete(&mut self) {
        let span = tracing::info_span!("reset", objects = self.passed + self.listed.len());
        span.in_scope(|| self.verbs.reset(std::mem::take(&mut self.listed)));
        while span.in_scope(|| self.verbs.settle()) {
            tokio::time::sleep(BREATH).await;
        }
        self.revision.take().into_iter().for_each(|revision| self.verbs.up_to(revision));
        drop(self.guard.take());
    }
}

// === impl Pauses ===

impl Pauses {
    /// Creates pauses of at most `longest`.
    pub fn up_to(longest: Duration) -> Self {
        Self { next: SHORTEST_PAUSE, longest, answered: Arc::default() }
    }

    /// Records that the API server answered. The next pause is the shortest.
    pub fn answered(&self) {
        self.answered.store(true, Ordering::Relaxed);
    }
}

impl Iterator for Pauses {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        if self.answered.swap(false, Ordering::Relaxed) {
            self.next = SHORTEST_PAUSE;
        }
        let pause = self.next.min(self.longest);
        self.next = (pause * 2).min(self.longest);
        Some(pause.mul_f64(rand::rng().random_range(0.5..=1.0)))
    }
}

impl Backoff for Pauses {
    /// Does nothing: see [`Pauses::answered()`].
    fn reset(&mut self) {}
}

/// `NAMESPACE/NAME` for a log line; the namespace is empty for cluster-scoped objects.
pub fn title<K: Resource>(object: &K) -> String {
    format!("{}/{}", object.namespace().unwrap_or_default(), object.name_any())
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::sync::Mutex;

    use futures::StreamExt as _;
    use k8s_openapi::api::core::v1::ConfigMap;

    use super::*;

    /// Verbs that log.
    struct Logging;

    impl Verbs<ConfigMap> for Logging {
        fn apply(&mut self, _: ConfigMap) {
            tracing::info!("applied");
        }

        fn delete(&mut self, _: ConfigMap) {
            tracing::info!("deleted");
        }

        fn reset(&mut self, _: Vec<ConfigMap>) {
            tracing::info!("reset");
        }
    }

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Log {
        /// Sends this thread's log lines here.
        fn subscriber(&self) -> impl tracing::Subscriber + Send + Sync + use<> {
            let writer = self.clone();
            let subscriber = tracing_subscriber::fmt().with_ansi(false).without_time().with_target(false);
            subscriber.with_writer(move || writer.clone()).finish()
        }

        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    /// Verbs that record their calls.
    #[derive(Default)]
    struct Recording(Vec<&'static str>);

    impl Verbs<ConfigMap> for Recording {
        fn apply(&mut self, _: ConfigMap) {
            self.0.push("apply");
        }

        fn delete(&mut self, _: ConfigMap) {
            self.0.push("delete");
        }

        fn pause(&mut self) {
            self.0.push("pause");
        }

        fn reset(&mut self, _: Vec<ConfigMap>) {
            self.0.push("reset");
        }

        fn failed(&mut self, _: &watcher::Error) {
            self.0.push("failed");
        }
    }

    #[tokio::test]
    async fn what_arrived_before_a_failure_is_taken_in() {
        // See `long_list_is_passed_on_in_portions_and_the_guard_is_dropped_last`.
        let _default = tracing::subscriber::set_default(Log::default().subscriber());
        let mut consumer = Consumer::new(Some, Recording::default(), None);
        let arrived = [Ok(Event::Apply(ConfigMap::default())), Err(watcher::Error::NoResourceVersion)];
        let mut arrivals = Arrivals::new(futures::stream::iter(arrived), Duration::ZERO);
        for _ in 0..2 {
            let event = arrivals.next(|| consumer.verbs.pause()).await.unwrap();
            consumer.take(event).await;
        }
        assert_eq!(consumer.verbs.0, ["apply", "pause", "failed"]);
    }

    #[tokio::test(start_paused = true)]
    async fn log_lines_of_a_watch_carry_its_kind_and_namespace() {
        let log = Log::default();
        let _default = tracing::subscriber::set_default(log.subscriber());
        // The port was free a moment ago, so no server answers.
        let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let config = kube::Config::new(format!("http://{address}").parse().unwrap());
        let client = kube::Client::try_from(config).unwrap();
        let (api, guard) = (Api::namespaced(client, "town"), crate::Readiness::default().guard("maps"));
        let watch = run(api, watcher::Config::default(), guard, Some, Logging);
        assert!(tokio::time::timeout(Duration::from_secs(1), watch).await.is_err());
        let text = log.text();
        let span = "WARN watch{kind=\"configmaps\" ns=\"town\"}: watch failed, trying again";
        assert!(text.lines().any(|line| line.trim().starts_with(span)), "{text}");
    }

    #[tokio::test]
    async fn log_lines_of_a_verb_carry_the_objects_namespace_and_name() {
        let log = Log::default();
        let _default = tracing::subscriber::set_default(log.subscriber());
        let mut map = ConfigMap::default();
        (map.metadata.namespace, map.metadata.name) = (Some("town".into()), Some("gate".into()));
        let mut consumer = Consumer::new(Some, Logging, None);
        let one = || map.clone();
        let list = [Event::Init, Event::InitApply(one()), Event::InitDone];
        for event in list.into_iter().chain([Event::Apply(one()), Event::Delete(one())]) {
            consumer.take(Ok(event)).await;
        }
        let text = log.text();
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        let object = "ns=\"town\" name=\"gate\"";
        let expected = [
            "INFO reset{objects=1}: reset",
            &format!("INFO apply{{{object}}}: applied"),
            &format!("INFO delete{{{object}}}: deleted"),
        ];
        assert_eq!(lines, expected);
    }

    /// Verbs that take lists in by portions of two, and note each call.
    #[derive(Default)]
    struct Portioned {
        calls: Vec<String>,
        /// How often [`Verbs::settle`] still has something to do.
        left: usize,
        readiness: crate::Readiness,
    }

    impl Portioned {
        fn note(&mut self, call: String) {
            assert!(!self.readiness.waiting().is_empty(), "{call}: the guard is dropped last");
            self.calls.push(call);
        }
    }

    impl Verbs<u64> for &mut Portioned {
        const PORTION: usize = 2;

        fn apply(&mut self, _: u64) {}

        fn delete(&mut self, _: u64) {}

        fn begin(&mut self) {
            self.note("begin".into());
        }

        fn portion(&mut self, objects: Vec<u64>) {
            self.note(format!("portion {objects:?}"));
        }

        fn reset(&mut self, objects: Vec<u64>) {
            self.note(format!("reset {objects:?}"));
        }

        fn settle(&mut self) -> bool {
            self.note("settle".into());
            self.left = self.left.saturating_sub(1);
            self.left > 0
        }

        fn up_to(&mut self, revision: u64) {
            self.note(format!("up to {revision}"));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn long_list_is_passed_on_in_portions_and_the_guard_is_dropped_last() {
        // A span that is first met without a subscriber stays off for the tests of log lines, too.
        let _default = tracing::subscriber::set_default(Log::default().subscriber());
        let readiness = crate::Readiness::default();
        let guard = readiness.guard("maps");
        let mut verbs = Portioned { left: 2, readiness: readiness.clone(), ..Portioned::default() };
        let mut consumer = Consumer::new(|map: ConfigMap| Some(revision(&map)), &mut verbs, Some(guard));
        consumer.revision = Some(9);
        let apply = |revision: u64| {
            let mut map = ConfigMap::default();
            map.metadata.resource_version = Some(revision.to_string());
            Event::InitApply(map)
        };
        let interrupted = [Event::Init, apply(1), apply(2), apply(3)];
        let complete = [Event::Init, apply(1), apply(2), apply(3), apply(4), apply(5), Event::InitDone];
        for event in interrupted.into_iter().chain(complete) {
            consumer.take(Ok(event)).await;
        }
        drop(consumer);
        assert!(readiness.waiting().is_empty());
        let list = ["portion [1, 2]", "portion [3, 4]", "reset [5]", "settle", "settle", "up to 9"];
        assert_eq!(verbs.calls, [&["begin", "portion [1, 2]", "begin"], &list[..]].concat());
    }

    /// The pauses of a watch whose API server never answers, and of one that answers once, in between.
    #[tokio::test(start_paused = true)]
    async fn pauses_double_until_the_api_server_answers() {
        let pauses = Pauses::up_to(Duration::from_secs(1));
        let answered = pauses.answered.clone();
        let event = |n: usize| match n {
            8 => Ok(Event::<ConfigMap>::InitDone),
            n if n % 2 == 0 => Ok(Event::Init),
            _ => Err(watcher::Error::NoResourceVersion),
        };
        let mut events = pin!(futures::stream::iter((0..12).map(event)).backoff(pauses));
        let (mut waited, mut last) = (Vec::new(), tokio::time::Instant::now());
        while let Some(event) = events.next().await {
            answered.fetch_or(is_answer(&event), Ordering::Relaxed);
            if event.is_ok() {
                waited.push(last.elapsed().as_millis());
            }
            last = tokio::time::Instant::now();
        }
        // Before each event that follows a failure: 200, 400, 800, 1,000, from the shortest after the answer.
        for (pause, full) in waited.iter().zip([0, 200, 400, 800, 1000, 200]) {
            assert!((full / 2..=full).contains(pause), "{pause} ms of {full}: {waited:?}");
        }
        assert_eq!(waited.len(), 6);
    }
}
