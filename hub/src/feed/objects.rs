//! Changes of custom resources in the feed ([`Feed::take_in`]), and the queries of the condition writer.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use portreeve_api::kind::Kind;
use portreeve_api::refs::ObjectRef;
use portreeve_xds::Name;

use super::version::version;
use super::{Feed, Inner};
use crate::change::{Arrival, Departing, Fate, News, Record, Seen, Version};
use crate::kinds;
use crate::owners::Owner;
use crate::status::annotated;
use crate::subject::Subject;
use crate::traces::{Moments, Tracer};
use crate::verdict::Verdict;
use crate::watermark::Watched;

// === impl Feed ===

impl Feed {
    /// Applies an event of the watch `of` and publishes the differences. Convergence times, traces and finalizers are
    /// updated under the same lock. Returns the effect of the event.
    pub fn take_in(&self, of: &Watched, news: News) -> Record {
        // Each of a thousand statuses comes back as an event. If each sent what was gathered, nothing would be gathered.
        if !self.lock_gathered().is_empty() && !self.is_echo(&news) {
            self.take_gathered();
        }
        let (record, traced, resolved) = self.visit(|inner, now| {
            inner.pulse.heard(of.kind, now);
            let (record, revision) = self.apply(inner, of, news, now);
            self.seen.send_if_modified(|seen| seen.raise(of, revision));
            if inner.note_allocating(&record, revision) {
                self.allocating.notify_one();
            }
            inner.follow(&record);
            // The trace starts before the change is published, so that a proxy's answer finds it.
            let follow = |tracer: &Tracer| tracer.follow(&record, |key| inner.index.subject(key));
            let traced = self.tracer().map_or_else(Vec::new, follow);
            (record, traced, SystemTime::now())
        });
        let published = SystemTime::now();
        let begun = published - record.at.map_or(Duration::ZERO, |at| at.elapsed());
        if let Some(tracer) = self.tracer() {
            let moments = Moments { begun, resolved, published };
            traced.into_iter().for_each(|(trace, key)| tracer.published(trace, &key, moments));
        }
        record
    }

    /// Whether an event tells only what the hub itself wrote.
    fn is_echo(&self, news: &News) -> bool {
        let News::Put { object, .. } = news else { return false };
        let version = version_of(object).filter(|_| object.fate == Fate::Stays);
        version.is_some() && self.lock().versions.get(&object.key).copied() == version
    }

    /// Applies an event to the index. Returns its effect, and the highest revision in it.
    fn apply(&self, inner: &mut Inner, of: &Watched, news: News, now: i64) -> (Record, u64) {
        let mut record = Record::default();
        let revision = match news {
            News::Put { object, at } => {
                record.at = Some(at);
                inner.put(*object, now, &mut record)
            }
            News::Gone { key, revision } => {
                inner.index.delete_object(&key, now);
                record.ended.push(key.clone());
                record.gone.push(key);
                revision
            }
            News::Listed { kind, objects } => {
                let listed: BTreeSet<ObjectRef> = objects.iter().map(|one| one.key.clone()).collect();
                let namespace = of.namespace.as_ref();
                record.gone = inner.index.keep_objects(kind, namespace, &listed, now);
                record.gone.extend(inner.departed(kind, namespace, &listed));
                record.ended.clone_from(&record.gone);
                let put = |one| {
                    self.heart.beat();
                    inner.put(one, now, &mut record)
                };
                objects.into_iter().map(put).max().unwrap_or_default()
            }
        };
        record.plans = inner.index.take_replanned();
        (record, revision)
    }

    /// Returns the verdicts that changed since the last call.
    pub fn take_verdicts(&self) -> Vec<Verdict> {
        self.lock().index.take_verdicts()
    }

    /// Returns the objects that changed since the last call: see [`Index::take_affected`](crate::index::Index::take_affected).
    pub fn take_affected(&self) -> BTreeSet<ObjectRef> {
        self.lock().index.take_affected()
    }

    /// Returns the state that an object's conditions are derived from.
    pub fn subject(&self, key: &ObjectRef) -> Option<Subject> {
        self.lock().index.subject(key)
    }

    /// Takes what objects were seen with since the last call.
    pub fn take_observed(&self) -> BTreeMap<ObjectRef, Seen> {
        std::mem::take(&mut self.lock().observed)
    }

    /// Takes the objects of kinds that ids or addresses are allocated for or from, and that came, changed or went since the
    /// last call, with a revision at which that was so at the latest.
    pub fn take_allocating(&self) -> BTreeMap<ObjectRef, u64> {
        std::mem::take(&mut self.lock().allocating)
    }

    /// Takes the objects that wait for their finalizer.
    pub fn take_departing(&self) -> BTreeMap<ObjectRef, Departing> {
        std::mem::take(&mut self.lock().departing)
    }

    /// Schedules a failed removal of a finalizer again, unless a newer version is known.
    pub fn depart_again(&self, key: ObjectRef, departing: Departing) {
        self.lock().departing.entry(key).or_insert(departing);
        self.changed.notify_one();
    }

    /// Keeps a finalizer that must wait for proxies, unless a newer version is known. Their next report wakes the writer.
    pub fn keep_departing(&self, key: ObjectRef, departing: Departing) {
        self.lock().departing.entry(key).or_insert(departing);
    }
}

// === impl Inner ===

impl Inner {
    /// Applies an object to the index, unless only what the hub writes has changed. Returns its revision.
    fn put(&mut self, object: Arrival, now: i64, record: &mut Record) -> u64 {
        let version = version_of(&object);
        let Arrival { key, meta, read, conditions, children, revision, fate } = object;
        if fate != Fate::Stays {
            self.index.delete_object(&key, now);
            self.depart(&key, fate, record);
            return revision;
        }
        let uid = meta.uid.as_deref().unwrap_or_default();
        let before = self.index.judged(&key).filter(|before| before.uid == uid);
        let since = before.map(|before| before.generation);
        let asks = read.as_ref().is_ok_and(|object| object.tells_owners());
        let owners = if asks { Owner::all_of(&meta) } else { BTreeSet::new() };
        if self.versions.get(&key).copied() != version || version.is_none() {
            match read {
                Ok(object) => self.index.apply_object(&*object, now),
                Err(rejection) => self.index.reject_object(key.kind, &meta, rejection),
            }
            version.and_then(|version| self.versions.insert(key.clone(), version));
        }
        let (applied, uid) = (annotated(&meta), meta.uid.clone().unwrap_or_default());
        let generation = meta.generation.unwrap_or(0);
        let seen = Seen { conditions, applied, owners, uid, children, generation, revision };
        self.observed.insert(key.clone(), seen);
        record.put.push(Version { key, generation, since });
        revision
    }

    /// Records that an object's deletion began.
    fn depart(&mut self, key: &ObjectRef, fate: Fate, record: &mut Record) {
        record.gone.push(key.clone());
        if let Fate::Departs(departing) = fate {
            record.departing.push(key.clone());
            self.departing.insert(key.clone(), departing);
        }
    }

    /// Returns the objects that waited for their finalizer and are missing from the complete list of their kind.
    fn departed(
        &self,
        kind: &Kind,
        namespace: Option<&Name>,
        listed: &BTreeSet<ObjectRef>,
    ) -> Vec<ObjectRef> {
        let gone = self.departing.keys().filter(|key| key.is_of(kind, namespace) && !listed.contains(*key));
        gone.cloned().collect()
    }

    /// Notes the objects of kinds that ids or addresses are allocated for or from. Returns whether there are any. Objects that
    /// are being deleted keep what they have until the API server has them no more.
    fn note_allocating(&mut self, record: &Record, revision: u64) -> bool {
        let put = record.put.iter().map(|version| &version.key);
        let allocates = |key: &&ObjectRef| kinds::row(key.kind).is_some_and(|row| row.allocates);
        let noted: Vec<ObjectRef> = put.chain(&record.ended).filter(allocates).cloned().collect();
        let some = !noted.is_empty();
        self.allocating.extend(noted.into_iter().map(|key| (key, revision)));
        some
    }

    /// Updates convergence times and waiting finalizers after a change.
    fn follow(&mut self, record: &Record) {
        record.gone.iter().for_each(|key| {
            self.versions.remove(key);
        });
        let finished = record.gone.iter().filter(|key| !record.departing.contains(key));
        finished.for_each(|key| drop(self.departing.remove(key)));
        self.course.follow(record);
    }
}

/// See [`version`].
fn version_of(object: &Arrival) -> Option<u64> {
    version(&object.meta, object.read.as_ref().ok().map(|object| object.essential_status()))
}
