//! The verdicts on all objects ([`Verdicts`]), and which of them changed.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use portreeve_api::conditions::Reason;
use portreeve_api::kind::{Kind, Purpose};
use portreeve_api::refs::ObjectRef;

use super::Name;
use crate::object::{Rejection, Resolved};
use crate::verdict::{Loss, Refs, Verdict};

/// The verdicts on all objects, and which of them changed.
#[derive(Default)]
pub struct Verdicts {
    known: BTreeMap<ObjectRef, Known>,
    news: BTreeSet<ObjectRef>,
    /// Updated with each verdict, because metrics read it often.
    counts: BTreeMap<&'static Kind, Count>,
}

/// The number of objects of a kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// All of them.
    pub all: usize,
    /// Those whose newest version is rejected.
    pub refused: usize,
}

struct Known {
    verdict: Verdict,
    /// True if [`Verdicts::take`] has returned the current verdict.
    told: bool,
}

// === impl Verdicts ===

impl Verdicts {
    /// The number of objects of a kind.
    pub fn count(&self, kind: &Kind) -> Count {
        self.counts.get(kind).copied().unwrap_or_default()
    }

    /// Records that an object was accepted.
    pub fn accept(&mut self, key: &ObjectRef, meta: &ObjectMeta, resolved: &Resolved) {
        let (warnings, missing) = (resolved.warnings.clone(), resolved.missing.clone());
        self.put(Verdict { warnings, missing, ..Verdict::new(key, meta) });
    }

    /// Records that an object without references was accepted.
    pub fn accept_plain(&mut self, key: &ObjectRef, meta: &ObjectMeta) {
        self.put(Verdict::new(key, meta));
    }

    /// Records that an object that others look up was accepted, with these warnings.
    pub fn accept_part(&mut self, key: &ObjectRef, meta: &ObjectMeta, warnings: Vec<(Reason, String)>) {
        self.put(Verdict { warnings, ..Verdict::new(key, meta) });
    }

    /// Records what an object lacks that others look up; `None`: nothing. Objects with listeners ask for it themselves.
    pub fn set_missing_of_part(&mut self, key: &ObjectRef, missing: Option<&str>) {
        let missing: Vec<String> = missing.into_iter().map(str::to_owned).collect();
        let known = self.known.get(key).filter(|_| key.kind.purpose == Purpose::Part);
        if let Some(known) = known.filter(|known| known.verdict.missing != missing) {
            self.put(Verdict { missing, ..known.verdict.clone() });
        }
    }

    /// Records that an object was rejected.
    pub fn reject(&mut self, key: &ObjectRef, meta: &ObjectMeta, rejection: Rejection, in_force: bool) {
        let rejection = Some(rejection);
        self.put(Verdict { rejection, previous_in_force: in_force, ..Verdict::new(key, meta) });
    }

    /// Removes an object.
    pub fn remove(&mut self, key: &ObjectRef) {
        if let Some(gone) = self.known.remove(key) {
            let count = self.counts.entry(key.kind).or_default();
            count.all -= 1;
            count.refused -= usize::from(gone.verdict.rejection.is_some());
        }
        self.news.remove(key);
    }

    /// The current verdict on an object.
    pub fn get(&self, key: &ObjectRef) -> Option<&Verdict> {
        self.known.get(key).map(|known| &known.verdict)
    }

    /// Marks objects whose references changed, so that their verdicts are checked again.
    pub fn touch(&mut self, keys: Vec<ObjectRef>) {
        self.news.extend(keys);
    }

    /// Every object of a kind, in a namespace (`None`: in all), that has a verdict.
    pub fn of_kind(&self, kind: &Kind, namespace: Option<&Name>) -> impl Iterator<Item = &ObjectRef> {
        self.known.keys().filter(move |object| object.is_of(kind, namespace))
    }

    /// Returns the verdicts that changed since the last call, with their references and lost sources filled in by `refs`.
    pub fn take(&mut self, mut refs: impl FnMut(&ObjectRef) -> (Refs, Vec<Loss>)) -> Vec<Verdict> {
        let mut taken = Vec::new();
        for key in std::mem::take(&mut self.news) {
            let Some(known) = self.known.get_mut(&key) else { continue };
            let (found, losses) = refs(&key);
            if known.told && (&known.verdict.refs, &known.verdict.losses) == (&found, &losses) {
                continue;
            }
            (known.verdict.refs, known.verdict.losses) = (found, losses);
            known.told = true;
            taken.push(known.verdict.clone());
        }
        taken
    }

    /// Stores a verdict. Every event of an object leads here, including changes of its own status, so an equal verdict is
    /// not reported again.
    fn put(&mut self, verdict: Verdict) {
        let key = verdict.key.clone();
        let mut verdict = verdict;
        if let Some(Known { verdict: old, .. }) = self.known.get(&key) {
            (verdict.refs, verdict.losses) = (old.refs.clone(), old.losses.clone());
        }
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
