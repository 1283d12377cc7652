//! The verbs of watches with many objects ([`Portions`]). A list is taken into the index by portions, between which others
//! get the feed's lock.

use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use kube::runtime::watcher;
use portreeve_api::pod::Pod;
use portreeve_runtime::watch::Verbs;

use crate::feed::{Feed, for_a_while};
use crate::index::{Index, Labels, Name};
use crate::pulse::PATIENCE;
use crate::relist::Relist;
use crate::watermark::Watched;

/// The number of objects in a portion.
const PORTION: usize = 200;

/// The shortest time between two changes of what agents are sent, as long as not more changes or others arrive sooner.
const GATHER: Duration = Duration::from_millis(100);

/// An object that is taken in by portions.
pub trait Part: Send + 'static {
    /// What tells it apart from the others of its kind.
    type Id: Clone + Eq + Hash + Send;

    /// Returns its id.
    fn id(&self) -> Self::Id;

    /// Adds or changes it.
    fn apply(self, index: &mut Index, now_ms: i64);

    /// Removes the object with this id.
    fn delete(id: &Self::Id, index: &mut Index, now_ms: i64);
}

/// A node's name and labels.
pub struct Node(pub Name, pub Labels);

/// The objects of one watch.
pub struct Portions<T: Part> {
    feed: Arc<Feed>,
    of: Watched,
    relist: Relist<T::Id>,
    /// The highest revision of the list that is being received.
    revision: u64,
}

// === impl Part ===

impl Part for Pod {
    type Id = Name;

    fn id(&self) -> Name {
        self.uid.clone()
    }

    fn apply(self, index: &mut Index, now_ms: i64) {
        index.apply_pod(self, now_ms);
    }

    fn delete(id: &Name, index: &mut Index, now_ms: i64) {
        index.delete_pod(id, now_ms);
    }
}

impl Part for Node {
    type Id = Name;

    fn id(&self) -> Name {
        self.0.clone()
    }

    fn apply(self, index: &mut Index, now_ms: i64) {
        index.apply_node(self.0, self.1, now_ms);
    }

    fn delete(id: &Name, index: &mut Index, now_ms: i64) {
        index.delete_node(id, now_ms);
    }
}

// === impl Portions ===

impl<T: Part> Portions<T> {
    /// Creates the verbs of a watch.
    pub fn new(feed: &Arc<Feed>, of: impl Into<Watched>) -> Self {
        Self { feed: feed.clone(), of: of.into(), relist: Relist::default(), revision: 0 }
    }

    /// Changes the index by items of a list, which is not complete yet, in as many visits as it takes.
    fn visit<I>(&self, items: Vec<I>, change: impl Fn(I, &mut Index, i64)) {
        let mut items = items.into_iter();
        while !items.as_slice().is_empty() {
            self.feed.change(self.of.clone(), 0, |index, now| {
                for_a_while(&mut items, |item| change(item, index, now));
            });
        }
    }
}

impl<T: Part> Verbs<(T, u64)> for Portions<T> {
    const LONGEST_PAUSE: Duration = PATIENCE;
    const ASKS_REVISION: bool = true;
    const PORTION: usize = PORTION;
    const GATHER: Duration = GATHER;

    fn failed(&mut self, _error: &watcher::Error) {
        self.feed.watch_failed(self.of.kind);
    }

    fn up_to(&mut self, revision: u64) {
        self.feed.seen_up_to(&self.of, revision);
    }

    fn apply(&mut self, (object, revision): (T, u64)) {
        self.relist.put(object.id());
        self.feed.gather(&self.of, revision, |index, now| object.apply(index, now));
    }

    fn delete(&mut self, (object, revision): (T, u64)) {
        let id = object.id();
        self.relist.remove(&id);
        self.feed.gather(&self.of, revision, move |index, now| T::delete(&id, index, now));
    }

    fn pause(&mut self) {
        self.feed.take_gathered();
    }

    fn begin(&mut self) {
        self.feed.take_gathered();
        self.relist.begin();
        self.revision = 0;
    }

    fn portion(&mut self, objects: Vec<(T, u64)>) {
        for (object, revision) in &objects {
            self.relist.put(object.id());
            self.revision = self.revision.max(*revision);
        }
        self.visit(objects, |(object, _), index, now| object.apply(index, now));
    }

    fn reset(&mut self, objects: Vec<(T, u64)>) {
        self.portion(objects);
    }

    fn settle(&mut self) -> bool {
        let gone = self.relist.take_gone(PORTION);
        if gone.is_empty() {
            self.feed.change(self.of.clone(), self.revision, |_, _| {});
            return false;
        }
        self.visit(gone, |id, index, now| T::delete(&id, index, now));
        true
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use portreeve_runtime::Readiness;
    use portreeve_xds::{Hello, Peer, Source, Variant};
    use serde_json::json;

    use super::*;
    use crate::auth::Door;
    use crate::change::News;
    use crate::kinds;
    use crate::settings::Settings;
    use crate::watermark::WatchedKind;

    fn mk_watch() -> (Arc<Feed>, Portions<Pod>) {
        mk_watch_of(Readiness::default())
    }

    /// A watch of a feed that serves nobody before this readiness is reached.
    fn mk_watch_of(readiness: Readiness) -> (Arc<Feed>, Portions<Pod>) {
        let feed = Feed::new(Index::new(Settings::default(), 0), readiness, Door::Open);
        let verbs = Portions::new(&feed, WatchedKind::PODS);
        (feed, verbs)
    }

    /// A pod whose revision is its number.
    fn mk_pod(number: u64) -> (Pod, u64) {
        let name = format!("p-{number}");
        let pod = json!({"metadata": {"name": name, "namespace": "ns", "uid": name}});
        (Pod::from_kube(serde_json::from_value(pod).unwrap()).unwrap(), number)
    }

    /// Passes on a list as the watch does; `check` is called between the portions.
    fn list(verbs: &mut Portions<Pod>, pods: impl IntoIterator<Item = u64>, check: impl Fn()) {
        let all: Vec<u64> = pods.into_iter().collect();
        let whole = all.len() / PORTION * PORTION;
        verbs.begin();
        for portion in all[..whole].chunks(PORTION) {
            verbs.portion(portion.iter().copied().map(mk_pod).collect());
            check();
        }
        verbs.reset(all[whole..].iter().copied().map(mk_pod).collect());
        check();
        while verbs.settle() {
            check();
        }
    }

    fn pods(feed: &Feed) -> usize {
        feed.served().census.pods
    }

    /// The watermark of pods.
    fn seen(feed: &Feed) -> u64 {
        let seen = feed.served().seen;
        let pods = seen.kinds().find(|(letters, _)| *letters == "pods");
        pods.map_or(0, |(_, revision)| revision)
    }

    #[test]
    fn list_leaves_the_lock_to_others_and_raises_the_watermark_when_it_is_complete() {
        let (feed, mut verbs) = mk_watch();
        list(&mut verbs, (1..=10_000).rev(), || assert_eq!(seen(&feed), 0));
        assert!(feed.visits() >= 50, "{} visits", feed.visits());
        assert_eq!((pods(&feed), seen(&feed)), (10_000, 10_000));
    }

    #[test]
    fn list_after_a_disconnect_removes_what_is_gone_in_portions() {
        let (feed, mut verbs) = mk_watch();
        list(&mut verbs, 1..=5_000, || ());
        verbs.apply(mk_pod(5_001));
        verbs.apply(mk_pod(5_002));
        verbs.delete((mk_pod(5_002).0, 5_003));
        verbs.pause();
        let (before, visits) = (seen(&feed), feed.visits());
        assert_eq!((pods(&feed), before), (5_001, 5_003));
        // The new list: some pods stayed, one came, one came and went before the list was complete.
        verbs.begin();
        verbs.portion(vec![mk_pod(1), mk_pod(6_001)]);
        list(&mut verbs, [1, 2, 3, 6_000], || {
            assert_eq!(seen(&feed), before);
            assert!(pods(&feed) >= 4, "the pods that stay are never away");
        });
        assert_eq!((pods(&feed), seen(&feed)), (4, 6_000));
        assert!(feed.visits() - visits >= 25);
        list(&mut verbs, [], || ());
        assert_eq!((pods(&feed), seen(&feed)), (0, 6_000));
    }

    #[test]
    fn changes_that_arrive_together_are_taken_in_by_one_visit() {
        let (feed, mut verbs) = mk_watch();
        let visits = feed.visits();
        (1..=10).for_each(|number| verbs.apply(mk_pod(number)));
        verbs.delete(mk_pod(1));
        verbs.pause();
        assert_eq!(feed.visits() - visits, 1);
        assert_eq!((pods(&feed), seen(&feed)), (9, 10));
        (11..=100).for_each(|number| verbs.apply(mk_pod(number)));
        assert!(pods(&feed) >= 59, "they don't wait without end");
    }

    #[test]
    fn what_was_gathered_is_taken_in_before_a_later_event_of_another_watch() {
        let (feed, mut verbs) = mk_watch();
        verbs.apply(mk_pod(7));
        assert_eq!((pods(&feed), seen(&feed)), (0, 0));
        feed.change(WatchedKind::NAMESPACES, 8, |index, _| assert_eq!(index.census().pods, 1));
        assert_eq!(seen(&feed), 7);
        let news = News::Listed { kind: kinds::ALL[0].kind, objects: Vec::new() };
        verbs.delete(mk_pod(7));
        feed.take_in(&WatchedKind::of_row(0).into(), news);
        assert_eq!(pods(&feed), 0);
    }

    #[tokio::test]
    async fn half_a_list_is_not_served() {
        let readiness = Readiness::default();
        let guard = readiness.guard("pods");
        let (feed, mut verbs) = mk_watch_of(readiness);
        let node = portreeve_xds::Node { id: "n1".into(), ..Default::default() };
        let (peer, variant, headers) = (Peer::default(), Variant::Delta, http::HeaderMap::new());
        let hello =
            Hello { stream: 1, node, peer, variant, headers, aggregated: true, authority: None, fresh: true };
        let mut opening = pin!(feed.open(hello));
        let mut cx = Context::from_waker(Waker::noop());
        verbs.begin();
        verbs.portion((1..=200).map(mk_pod).collect());
        assert!(opening.as_mut().poll(&mut cx).is_pending());
        verbs.reset(Vec::new());
        assert!(!verbs.settle());
        drop(guard);
        assert!(matches!(opening.as_mut().poll(&mut cx), Poll::Ready(Ok(_))));
    }

    #[test]
    fn nodes_are_taken_in_by_portions_too() {
        let (feed, _) = mk_watch();
        let mut verbs = Portions::<Node>::new(&feed, WatchedKind::NODES);
        let node = |number: u64| (Node(format!("n-{number}").into(), Labels::new()), number);
        for listed in [1..=3, 3..=4] {
            verbs.begin();
            verbs.reset(listed.map(node).collect());
            while verbs.settle() {}
        }
        assert_eq!(feed.served().census.nodes, 2);
        assert!(feed.has_node(&"n-4".into()) && !feed.has_node(&"n-2".into()));
    }
}
