//! What a source's watches bring, passed to the index ([`Intake`]): nothing until every watched namespace is listed, then each
//! change.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use portreeve_api::pod::Pod;
use portreeve_runtime::watch::Verbs;
use portreeve_xds::Name;

use crate::feed::Feed;

/// A pod of a source.
pub struct SeenPod {
    /// Its uid.
    pub uid: Name,
    /// What is kept of it; `None` if it joins no cluster.
    pub member: Option<Pod>,
}

/// The state of a source's watches.
pub struct Intake {
    feed: Arc<Feed>,
    source: Name,
    /// The first lists, until the last of them is complete.
    listing: Option<Listing>,
}

struct Listing {
    pods: BTreeMap<Name, Pod>,
    /// The number of incomplete lists.
    missing: usize,
}

/// The verbs of one watch. All watches of a source share the intake.
pub struct Pods(pub Arc<Mutex<Intake>>);

// === impl Intake ===

impl Intake {
    /// Creates the intake of a source with this number of watches.
    pub fn new(feed: &Arc<Feed>, source: &Name, watches: usize) -> Self {
        let listing = Some(Listing { pods: BTreeMap::new(), missing: watches });
        Self { feed: feed.clone(), source: source.clone(), listing }
    }

    /// Returns whether every watch has had its first complete list.
    pub fn is_complete(&self) -> bool {
        self.listing.is_none()
    }

    fn put(&mut self, seen: SeenPod) {
        match (&mut self.listing, seen.member) {
            (Some(listing), Some(pod)) => drop(listing.pods.insert(seen.uid, pod)),
            (Some(listing), None) => drop(listing.pods.remove(&seen.uid)),
            (None, Some(pod)) => self.feed.load(|index, _| index.apply_source_pod(&self.source, &pod)),
            (None, None) => self.feed.load(|index, _| index.delete_source_pod(&self.source, &seen.uid)),
        }
    }

    /// Keeps the members among listed pods.
    fn take_portion(&mut self, pods: Vec<SeenPod>) {
        let members = pods.into_iter().filter_map(|seen| Some((seen.uid, seen.member?)));
        if let Some(listing) = &mut self.listing {
            listing.pods.extend(members);
        }
    }

    fn take_list(&mut self, pods: Vec<SeenPod>) {
        self.take_portion(pods);
        let Some(mut listing) = self.listing.take() else { return };
        listing.missing = listing.missing.saturating_sub(1);
        if listing.missing > 0 {
            self.listing = Some(listing);
            return;
        }
        let pods: Vec<Pod> = listing.pods.into_values().collect();
        tracing::info!(source = &*self.source, members = pods.len(), "the source is read");
        self.feed.load(|index, _| index.reset_source(&self.source, pods));
    }
}

// === impl Pods ===

impl Pods {
    fn with(&self, change: impl FnOnce(&mut Intake)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl Verbs<SeenPod> for Pods {
    // Most pods join no cluster.
    const PORTION: usize = 500;

    fn apply(&mut self, pod: SeenPod) {
        self.with(|intake| intake.put(pod));
    }

    fn delete(&mut self, pod: SeenPod) {
        self.with(|intake| intake.put(SeenPod { member: None, ..pod }));
    }

    fn portion(&mut self, pods: Vec<SeenPod>) {
        self.with(|intake| intake.take_portion(pods));
    }

    fn reset(&mut self, pods: Vec<SeenPod>) {
        self.with(|intake| intake.take_list(pods));
    }
}

#[cfg(test)]
mod tests {
    use portreeve_api::pod_document::PodDocument;
    use portreeve_runtime::Readiness;
    use serde_json::json;

    use super::*;
    use crate::auth::Door;
    use crate::index::Index;
    use crate::pod_reader::PodReader;
    use crate::settings::Settings;

    fn mk_feed() -> Arc<Feed> {
        let feed = Feed::new(Index::new(Settings::default(), 0), Readiness::default(), Door::Open);
        feed.load(|index, now| index.add_source(&"gcp".into(), now));
        feed
    }

    /// A pod of cluster "bar", or with `joins` false of none.
    fn mk_seen(name: &str, joins: bool) -> SeenPod {
        let annotations = if joins { json!({"cluster-name.envoy.uw.io": "bar"}) } else { json!({}) };
        let pod: PodDocument = serde_json::from_value(json!({
            "metadata": {"name": name, "namespace": "ns", "uid": name, "annotations": annotations},
            "status": {"podIP": "10.0.0.1"},
        }))
        .unwrap();
        let reader = PodReader::new(&Settings::default());
        SeenPod { uid: name.into(), member: reader.read(pod).filter(|pod| reader.joins(pod)) }
    }

    /// Two watches of one source.
    fn mk_watches(feed: &Arc<Feed>) -> [Pods; 2] {
        let intake = Arc::new(Mutex::new(Intake::new(feed, &"gcp".into(), 2)));
        [Pods(intake.clone()), Pods(intake)]
    }

    /// The number of members, and whether the source is read.
    fn state(feed: &Feed) -> (usize, bool) {
        let states = feed.served().census.sources;
        (states[0].pods, states[0].read && states[0].lost_ms.is_none())
    }

    #[test]
    fn nothing_is_passed_on_before_every_list_is_complete() {
        let feed = mk_feed();
        let [mut one, mut other] = mk_watches(&feed);
        one.reset(vec![mk_seen("a", true), mk_seen("b", true), mk_seen("none", false)]);
        // The first watch goes on while the second one's list is incomplete.
        one.delete(mk_seen("a", true));
        one.apply(mk_seen("c", true));
        one.apply(mk_seen("b", false));
        one.apply(mk_seen("d", true));
        assert_eq!((state(&feed), one.0.lock().unwrap().is_complete()), ((0, false), false));
        other.reset(vec![mk_seen("e", true)]);
        assert_eq!((state(&feed), one.0.lock().unwrap().is_complete()), ((3, true), true));
    }

    #[test]
    fn pods_join_and_leave_with_their_annotation_and_their_end() {
        let feed = mk_feed();
        let [mut one, mut other] = mk_watches(&feed);
        one.reset(Vec::new());
        other.reset(Vec::new());
        assert_eq!(state(&feed), (0, true));
        for (seen, members) in [(mk_seen("a", true), 1), (mk_seen("b", true), 2), (mk_seen("a", false), 1)] {
            one.apply(seen);
            assert_eq!(state(&feed).0, members);
        }
        other.delete(mk_seen("b", true));
        other.delete(mk_seen("never-known", true));
        assert_eq!(state(&feed), (0, true));
    }

    #[test]
    fn list_after_a_failure_replaces_what_was_there() {
        let feed = mk_feed();
        let [mut one, mut other] = mk_watches(&feed);
        one.reset(vec![mk_seen("a", true)]);
        other.reset(vec![mk_seen("b", true)]);
        feed.load(|index, now| index.source_failed(&"gcp".into(), "away", now));
        assert_eq!(state(&feed), (2, false));
        let [mut one, mut other] = mk_watches(&feed);
        other.reset(vec![mk_seen("c", true)]);
        assert_eq!(state(&feed), (2, false), "half a list");
        one.reset(Vec::new());
        assert_eq!(state(&feed), (1, true));
    }
}
