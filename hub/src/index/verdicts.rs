//! The verdicts on all objects ([`Verdicts`]), and which of them are news.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use portreeve_api::kind::Kind;
use portreeve_api::refs::ObjectRef;

use crate::object::{Rejection, Resolved};
use crate::verdict::{Refs, Verdict};

/// The verdicts on all objects, and which of them are news.
#[derive(Default)]
pub struct Verdicts {
    known: BTreeMap<ObjectRef, Known>,
    news: BTreeSet<ObjectRef>,
    /// Kept as verdicts change: metrics ask for it often.
    counts: BTreeMap<&'static Kind, Count>,
}

/// How many objects of a kind there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// All of them.
    pub all: usize,
    /// Those whose newest version is refused.
    pub refused: usize,
}

struct Known {
    verdict: Verdict,
    /// It was given out in its present form.
    told: bool,
}

// === impl Verdicts ===

impl Verdicts {
    /// How many objects of a kind there are.
    pub fn count(&self, kind: &Kind) -> Count {
        self.counts.get(kind).copied().unwrap_or_default()
    }

    /// An object was accepted.
    pub fn accept(&mut self, key: &ObjectRef, meta: &ObjectMeta, resolved: &Resolved) {
        let warnings = resolved.warnings.clone();
        self.put(Verdict { warnings, ..Verdict::new(key, meta) });
    }

    /// An object without references was accepted.
    pub fn accept_plain(&mut self, key: &ObjectRef, meta: &ObjectMeta) {
        self.put(Verdict::new(key, meta));
    }

    /// An object was not accepted.
    pub fn reject(&mut self, key: &ObjectRef, meta: &ObjectMeta, rejection: Rejection, in_force: bool) {
        let rejection = Some(rejection);
        self.put(Verdict { rejection, previous_in_force: in_force, ..Verdict::new(key, meta) });
    }

    /// An object is gone.
    pub fn remove(&mut self, key: &ObjectRef) {
        if let Some(gone) = self.known.remove(key) {
            let count = self.counts.entry(key.kind).or_default();
            count.all -= 1;
            count.refused -= usize::from(gone.verdict.rejection.is_some());
        }
        self.news.remove(key);
    }

    /// The verdict on an object, as it was given out last.
    pub fn get(&self, key: &ObjectRef) -> Option<&Verdict> {
        self.known.get(key).map(|known| &known.verdict)
    }

    /// Something that these objects refer to changed.
    pub fn touch(&mut self, keys: Vec<ObjectRef>) {
        self.news.extend(keys);
    }

    /// Every object of a kind that was judged.
    pub fn of_kind(&self, kind: &Kind) -> impl Iterator<Item = &ObjectRef> {
        self.known.keys().filter(move |object| object.kind == kind)
    }

    /// The news since the last call, completed by `refs`. A verdict that turns out as it was given before is none.
    pub fn take(&mut self, mut refs: impl FnMut(&ObjectRef) -> Refs) -> Vec<Verdict> {
        let mut taken = Vec::new();
        for key in std::mem::take(&mut self.news) {
            let Some(known) = self.known.get_mut(&key) else { continue };
            let found = refs(&key);
            if known.told && known.verdict.refs == found {
                continue;
            }
            known.verdict.refs = found;
            known.told = true;
            taken.push(known.verdict.clone());
        }
        taken
    }

    /// Every event of an object comes here, those of its own status among them: only what differs is news.
    fn put(&mut self, verdict: Verdict) {
        let key = verdict.key.clone();
        let refs = self.known.get(&key).map_or(Refs::Resolved, |known| known.verdict.refs.clone());
        let verdict = Verdict { refs, ..verdict };
        self.news.insert(key.clone());
        if self.known.get(&key).is_some_and(|known| known.verdict == verdict) {
            return;
        }
        let refused = verdict.rejection.is_some();
        let count = self.counts.entry(key.kind).or_default();
        match self.known.insert(key, Known { verdict, told: false }) {
            Some(old) => count.refused -= usize::from(old.verdict.rejection.is_some()),
            None => count.all += 1,
        }
        count.refused += usize::from(refused);
    }
}
