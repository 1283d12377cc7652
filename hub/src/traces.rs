//! The hub's spans in the trace of a change ([`Tracer`]): every hub writes `apply` from the watch event on, with
//! `resolve` and `publish` inside. The leading hub writes `change`, from the watch event to the last acknowledgement.
//!
//! Versions that existed when this hub listed the objects have no trace. Neither has an edit that leaves the Plan
//! unchanged.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime};

use portreeve_api::refs::ObjectRef;
use portreeve_runtime::Traces;
use portreeve_runtime::traces::{CHANGE, Span, Step, TraceId};

use crate::change::Record;
use crate::subject::{Of, Subject};

/// Writes spans, and remembers the change of each object.
pub struct Tracer {
    traces: Traces,
    /// The identity of this hub.
    place: String,
    changes: Mutex<HashMap<ObjectRef, Change>>,
}

/// The newest change of an object.
struct Change {
    trace: TraceId,
    generation: i64,
    /// `None`: the change is complete, or began before this hub.
    began: Option<SystemTime>,
}

/// The times of a change's steps in the index.
#[derive(Clone, Copy, Debug)]
pub struct Moments {
    /// The start.
    pub begun: SystemTime,
    /// When the index had the object.
    pub resolved: SystemTime,
    /// When the resources were published to the affected agents.
    pub published: SystemTime,
}

// === impl Tracer ===

impl Tracer {
    /// Creates a tracer that sends the spans of `place` to `traces`.
    pub fn new(traces: Traces, place: String) -> Self {
        Self { traces, place, changes: Mutex::default() }
    }

    /// Follows a change: each new version of an object whose Plan differs has a trace of its own. `subject` is how an object
    /// stands now. Returns the traces that begin with this change.
    pub fn follow(
        &self,
        record: &Record,
        subject: impl Fn(&ObjectRef) -> Option<Subject>,
    ) -> Vec<(TraceId, ObjectRef)> {
        let mut changes = self.lock();
        for key in &record.gone {
            changes.remove(key);
        }
        let began = record.at.map(|at| SystemTime::now() - at.elapsed());
        let new = record.put.iter().filter(|version| version.is_new());
        let mut traced = Vec::new();
        for key in new.map(|version| &version.key) {
            let Some((trace, generation)) = subject(key).and_then(served) else { continue };
            if !record.plans.contains(key) {
                // An edit without effect, or one that is refused: the trace of the Plan in force goes on.
                changes.entry(key.clone()).and_modify(|change| change.generation = generation);
                continue;
            }
            changes.insert(key.clone(), Change { trace, generation, began });
            traced.extend(began.map(|_| (trace, key.clone())));
        }
        traced
    }

    /// Writes the spans of a trace's first steps.
    pub fn published(&self, trace: TraceId, key: &ObjectRef, moments: Moments) {
        let Moments { begun, resolved, published } = moments;
        let span = |parent, name, begun, ended| {
            let step = Step { name, place: &self.place, begun, ended };
            let span = Span::new(trace, Some(parent), step);
            span.with("namespace", &*key.namespace).with("name", &*key.name)
        };
        let apply = span(trace.whole(), "apply", begun, published);
        self.traces.tell(span(apply.id, "resolve", begun, resolved));
        self.traces.tell(span(apply.id, "publish", resolved, published));
        self.traces.tell(apply);
    }

    /// Records that all proxies have this generation of an object since this time. Writes the span if `leads`.
    pub fn programmed(&self, key: &ObjectRef, generation: i64, at: Instant, leads: bool) {
        let mut changes = self.lock();
        let Some(change) = changes.get_mut(key).filter(|change| change.generation == generation) else {
            return;
        };
        let Some(began) = change.began.take().filter(|_| leads) else { return };
        // A restored Plan is in force before the edit that restores it is noticed.
        let ended = (SystemTime::now() - at.elapsed()).max(began);
        let span = Span::new(change.trace, None, Step { name: CHANGE, place: "", begun: began, ended });
        debug_assert_eq!(span.id, change.trace.whole());
        let span = span.with("namespace", &*key.namespace).with("name", &*key.name);
        self.traces.tell(span.with("generation", generation.to_string()));
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ObjectRef, Change>> {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The trace of the Plan of an object, if one is served, and the generation that it is made of.
fn served(subject: Subject) -> Option<(TraceId, i64)> {
    let served = subject.served.filter(|_| subject.of == Of::Plan)?;
    Some((TraceId::of(&subject.verdict.uid, served.version), served.generation))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use kube::core::ObjectMeta;
    use tokio::sync::mpsc::Receiver;

    use super::*;
    use crate::change::Version;
    use crate::subject::Served;
    use crate::verdict::{Refs, Verdict};

    fn mk_subject(generation: i64, version: u64) -> Option<Subject> {
        let meta = ObjectMeta { uid: Some("u".into()), ..ObjectMeta::default() };
        let verdict = Verdict {
            key: key(),
            uid: meta.uid.unwrap_or_default(),
            generation,
            rejection: None,
            previous_in_force: false,
            warnings: Vec::new(),
            missing: Vec::new(),
            refs: Refs::Resolved,
            losses: Vec::new(),
        };
        let (nodes, closed) = (BTreeSet::new(), Vec::new());
        let served = Served {
            plan: "A/ns/one".into(),
            version,
            generation,
            nodes: nodes.into(),
            proxy_name: None,
            closed,
        };
        Some(Subject { of: Of::Plan, verdict, served: Some(served), told: Vec::new() })
    }

    fn key() -> ObjectRef {
        ObjectRef::namespaced(&portreeve_api::a::virtual_service::KIND, "ns", "one")
    }

    fn told(spans: &mut Receiver<Span>) -> Vec<&'static str> {
        std::iter::from_fn(|| spans.try_recv().ok()).map(|span| span.name).collect()
    }

    #[test]
    fn changes_that_came_as_news_are_told_once_and_the_whole_by_the_leader_alone() {
        let (traces, mut spans) = Traces::channel();
        let (tracer, now) = (Tracer::new(traces, "h1".into()), SystemTime::now());
        let at = Some(Instant::now());
        let whole = |generation, leads| tracer.programmed(&key(), generation, Instant::now(), leads);
        let put = |generation, version, at| {
            let put = vec![Version { key: key(), generation, since: Some(generation - 1) }];
            let differs = version / 10 == generation.unsigned_abs();
            let plans = differs.then(key).into_iter().collect();
            let record = Record { at, put, plans, ..Record::default() };
            tracer.follow(&record, |_| mk_subject(generation, version)).first().map(|(trace, _)| *trace)
        };
        assert_eq!(put(1, 10, None), None, "it was there");
        whole(1, true);
        let trace = put(2, 20, at).unwrap();
        tracer.published(trace, &key(), Moments { begun: now, resolved: now, published: now });
        assert_eq!(told(&mut spans), ["resolve", "publish", "apply"]);
        assert_eq!(put(3, 20, at), None, "an edit without effect");
        whole(2, true);
        assert!(told(&mut spans).is_empty(), "a generation that was overtaken");
        whole(3, true);
        whole(3, true);
        assert_eq!(told(&mut spans), [CHANGE]);
        assert!(put(4, 40, at).is_some());
        whole(4, false);
        whole(4, true);
        assert!(told(&mut spans).is_empty(), "another hub leads");
        let gone = Record { gone: vec![key()], ..Record::default() };
        assert_eq!(tracer.follow(&gone, |_| None), []);
        assert!(tracer.lock().is_empty());
    }
}
