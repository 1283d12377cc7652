//! Convergence times of changes ([`Course`]): from the watch event of an object's new generation to the last
//! acknowledgement of its proxies. Pure; the clock is passed in.
//!
//! Generations that existed when this hub listed the objects have no known start and aren't counted. A generation that
//! is replaced before its end is never counted, and none is counted twice.

use std::collections::HashMap;
use std::time::Instant;

use portreeve_api::kind::Purpose;
use portreeve_api::refs::ObjectRef;
use portreeve_runtime::metrics::Histogram;

use crate::change::{Record, Version};

/// Histogram bounds in seconds. A healthy cluster needs a few hundredths of a second; above a minute, the exact time
/// doesn't matter.
pub const BOUNDS: &[f64] = &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];

/// The start of each current change, and the durations of completed changes.
pub struct Course {
    known: HashMap<ObjectRef, Known>,
    spent: Histogram,
}

/// The newest known version of an object.
struct Known {
    generation: i64,
    /// `None`: the start is unknown, or the change is complete.
    began: Option<Instant>,
}

// === impl Course ===

impl Course {
    /// Creates an empty state.
    pub fn new() -> Self {
        Self { known: HashMap::new(), spent: Histogram::new(BOUNDS) }
    }

    /// Follows a change: new versions of objects that came as news begin.
    pub fn follow(&mut self, record: &Record) {
        for key in &record.gone {
            self.known.remove(key);
        }
        let begins = |version: &&Version| version.is_new() && version.key.kind.purpose == Purpose::Listeners;
        for version in record.put.iter().filter(begins) {
            let known = Known { generation: version.generation, began: record.at };
            self.known.insert(version.key.clone(), known);
        }
    }

    /// Records that all proxies have this generation of an object since this time.
    pub fn programmed(&mut self, key: &ObjectRef, generation: i64, at: Instant) {
        let known = self.known.get_mut(key).filter(|known| known.generation == generation);
        if let Some(began) = known.and_then(|known| known.began.take()) {
            self.spent.observe(at.saturating_duration_since(began).as_secs_f64());
        }
    }

    /// Returns the durations of completed changes.
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

    /// An event of one object, at a time in milliseconds.
    enum Step {
        Listed(&'static str, i64),
        News(&'static str, i64),
        Programmed(i64),
        Gone,
    }

    use Step::{Gone, Listed, News, Programmed};

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
            ("listed again", &[(0, News("a", 1)), (20, Listed("a", 1)), (50, Programmed(1))], 1, 0.05),
            ("an answer from before", &[(50, News("a", 1)), (40, Programmed(1))], 1, 0.0),
        ] {
            let (mut course, start, mut seen) = (Course::new(), Instant::now(), None);
            let key = ObjectRef::namespaced(&portreeve_api::a::virtual_service::KIND, "ns", "one");
            for (at, step) in steps {
                let now = start + Duration::from_millis(*at);
                let mut put = |uid: &'static str, generation: i64, at: Option<Instant>| {
                    let since = seen.replace((uid, generation)).filter(|(before, _)| *before == uid);
                    let version = Version {
                        key: key.clone(),
                        generation,
                        since: since.map(|(_, generation)| generation),
                    };
                    Record { at, put: vec![version], ..Record::default() }
                };
                match step {
                    Listed(uid, generation) => course.follow(&put(uid, *generation, None)),
                    News(uid, generation) => course.follow(&put(uid, *generation, Some(now))),
                    Programmed(generation) => course.programmed(&key, *generation, now),
                    Gone => course.follow(&Record { gone: vec![key.clone()], ..Record::default() }),
                }
            }
            assert_eq!(course.spent().count(), count, "{name}");
            assert!((course.spent().sum() - sum).abs() < 1e-6, "{name}: {}", course.spent().sum());
        }
    }
}
