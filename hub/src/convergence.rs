//! How long changes take ([`Course`]): from the watch event that brought a new generation of an object to the last answer
//! that its proxies had to give. Pure; the clock is passed in.
//!
//! What was there when this hub listed the objects has no known beginning, and counts for nothing. A generation that
//! another one overtakes on its way is never counted, and none is counted twice.

use std::collections::{BTreeSet, HashMap};
use std::time::Instant;

use portreeve_api::kind::Kind;
use portreeve_api::refs::ObjectRef;
use portreeve_runtime::metrics::Histogram;
use portreeve_xds::Name;

/// In seconds: a healthy cluster needs a few hundredths, and beyond a minute it matters only that it is too long.
pub const BOUNDS: &[f64] = &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];

/// Which change began when, and how long those took that have ended.
pub struct Course {
    known: HashMap<ObjectRef, Known>,
    spent: Histogram,
}

/// The newest version of an object.
struct Known {
    uid: String,
    generation: i64,
    /// None: nobody knows, or it has ended.
    began: Option<Instant>,
}

// === impl Course ===

impl Course {
    /// Nothing is known.
    pub fn new() -> Self {
        Self { known: HashMap::new(), spent: Histogram::new(BOUNDS) }
    }

    /// An object was seen in this version; `began` is when, if it came as news. News of a version that is known (of its
    /// status, that is) change nothing. Answers whether it is a new one.
    pub fn seen(&mut self, key: &ObjectRef, (uid, generation): (&str, i64), began: Option<Instant>) -> bool {
        let known = self.known.get(key);
        if known.is_some_and(|known| known.uid == uid && known.generation == generation) {
            return false;
        }
        self.known.insert(key.clone(), Known { uid: uid.to_owned(), generation, began });
        true
    }

    /// These objects are all that there are of a kind in a namespace, or (`None`) anywhere.
    pub fn keep(&mut self, kind: &Kind, namespace: Option<&Name>, listed: &BTreeSet<ObjectRef>) {
        let there = |key: &ObjectRef| {
            key.kind == kind && namespace.is_none_or(|namespace| key.namespace == *namespace)
        };
        self.known.retain(|key, _| !there(key) || listed.contains(key));
    }

    /// An object is gone.
    pub fn forget(&mut self, key: &ObjectRef) {
        self.known.remove(key);
    }

    /// All proxies have this generation of an object since then.
    pub fn programmed(&mut self, key: &ObjectRef, generation: i64, at: Instant) {
        let known = self.known.get_mut(key).filter(|known| known.generation == generation);
        if let Some(began) = known.and_then(|known| known.began.take()) {
            self.spent.observe(at.saturating_duration_since(began).as_secs_f64());
        }
    }

    /// How long the changes took that have ended.
    pub fn spent(&self) -> &Histogram {
        &self.spent
    }
}

impl Default for Course {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// What happens to the one object, at this many milliseconds.
    enum Step {
        Listed(&'static str, i64),
        News(&'static str, i64),
        Programmed(i64),
        Gone,
        Relisted(bool),
    }

    use Step::{Gone, Listed, News, Programmed, Relisted};

    #[test]
    fn each_generation_counts_once_from_its_news_to_its_last_answer() {
        for (name, steps, count, sum) in [
            ("a change", &[(0, News("a", 1)), (40, Programmed(1))][..], 1, 0.04),
            ("what was there", &[(0, Listed("a", 1)), (40, Programmed(1))], 0, 0.0),
            (
                "a change of what was there",
                &[(0, Listed("a", 1)), (9, Programmed(1)), (10, News("a", 2)), (40, Programmed(2))],
                1,
                0.03,
            ),
            ("said again", &[(0, News("a", 1)), (40, Programmed(1)), (90, Programmed(1))], 1, 0.04),
            (
                "its status is news",
                &[(0, News("a", 1)), (40, Programmed(1)), (50, News("a", 1)), (90, Programmed(1))],
                1,
                0.04,
            ),
            ("its status before", &[(0, News("a", 1)), (30, News("a", 1)), (40, Programmed(1))], 1, 0.04),
            ("overtaken", &[(0, News("a", 1)), (20, News("a", 2)), (30, Programmed(1))], 0, 0.0),
            (
                "overtaking",
                &[(0, News("a", 1)), (20, News("a", 2)), (30, Programmed(1)), (40, Programmed(2))],
                1,
                0.02,
            ),
            (
                "two of them",
                &[(0, News("a", 1)), (40, Programmed(1)), (50, News("a", 2)), (60, Programmed(2))],
                2,
                0.05,
            ),
            ("a namesake", &[(0, News("a", 1)), (20, News("b", 1)), (50, Programmed(1))], 1, 0.03),
            ("a deleted one", &[(0, News("a", 1)), (20, Gone), (50, Programmed(1))], 0, 0.0),
            ("still there", &[(0, News("a", 1)), (20, Relisted(true)), (50, Programmed(1))], 1, 0.05),
            ("gone meanwhile", &[(0, News("a", 1)), (20, Relisted(false)), (50, Programmed(1))], 0, 0.0),
            ("an answer from before", &[(50, News("a", 1)), (40, Programmed(1))], 1, 0.0),
        ] {
            let (mut course, start) = (Course::new(), Instant::now());
            let key = ObjectRef::namespaced(&portreeve_api::a::virtual_service::KIND, "ns", "one");
            for (at, step) in steps {
                let now = start + Duration::from_millis(*at);
                match step {
                    Listed(uid, generation) => assert!(course.seen(&key, (uid, *generation), None)),
                    News(uid, generation) => drop(course.seen(&key, (uid, *generation), Some(now))),
                    Programmed(generation) => course.programmed(&key, *generation, now),
                    Gone => course.forget(&key),
                    Relisted(still) => {
                        course.keep(key.kind, None, &still.then(|| key.clone()).into_iter().collect())
                    }
                }
            }
            assert_eq!(course.spent().count(), count, "{name}");
            assert!((course.spent().sum() - sum).abs() < 1e-6, "{name}: {}", course.spent().sum());
        }
    }
}
