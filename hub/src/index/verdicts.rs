//! What the hub thinks of each object: accepted or why not, and whether what it refers to is there.

use std::collections::{BTreeMap, BTreeSet};

use kube::core::ObjectMeta;
use portreeve_api::conditions::Reason;

use super::Key;
use super::matches::Name;
use crate::resolve::{Rejection, Resolved};

/// Whether an object's selectors find anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refs {
    /// All of them do.
    Resolved,
    /// This selection finds nothing anywhere: its cluster is served empty.
    Empty(Name),
    /// This selection finds nothing in its namespace, but these pods elsewhere.
    Elsewhere(Name, Vec<String>),
}

/// The verdict on one version of an object.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// The object.
    pub key: Key,
    /// Its uid.
    pub uid: String,
    /// The generation judged.
    pub generation: i64,
    /// None: accepted.
    pub rejection: Option<Rejection>,
    /// An earlier accepted version goes on being served.
    pub previous_in_force: bool,
    /// Remarks on an accepted object.
    pub warnings: Vec<(Reason, String)>,
    /// Whether what it refers to is there.
    pub refs: Refs,
}

/// The verdicts on all objects, and which of them are news.
#[derive(Default)]
pub struct Verdicts {
    known: BTreeMap<Key, Known>,
    news: BTreeSet<Key>,
}

struct Known {
    verdict: Verdict,
    /// It was given out in its present form.
    told: bool,
}

// === impl Refs ===

impl Refs {
    /// The one that a person should hear of first.
    pub fn worse(self, other: Refs) -> Refs {
        match (&self, &other) {
            (Refs::Elsewhere(..), _) => self,
            (_, Refs::Elsewhere(..)) => other,
            (Refs::Empty(_), _) => self,
            _ => other,
        }
    }
}

// === impl Verdicts ===

impl Verdicts {
    /// How many objects there are, and how many of them are refused.
    pub fn count(&self) -> (usize, usize) {
        let refused = self.known.values().filter(|known| known.verdict.rejection.is_some());
        (self.known.len(), refused.count())
    }

    /// An object was accepted.
    pub fn accept(&mut self, key: &Key, meta: &ObjectMeta, resolved: &Resolved) {
        let warnings = resolved.warnings.clone();
        self.put(Verdict { warnings, ..Verdict::new(key, meta) });
    }

    /// An object without references was accepted.
    pub fn accept_plain(&mut self, key: &Key, meta: &ObjectMeta) {
        self.put(Verdict::new(key, meta));
    }

    /// An object was not accepted.
    pub fn reject(&mut self, key: &Key, meta: &ObjectMeta, rejection: Rejection, in_force: bool) {
        let rejection = Some(rejection);
        self.put(Verdict { rejection, previous_in_force: in_force, ..Verdict::new(key, meta) });
    }

    /// An object is gone.
    pub fn remove(&mut self, key: &Key) {
        self.known.remove(key);
        self.news.remove(key);
    }

    /// The verdict on an object, as it was given out last.
    pub fn get(&self, key: &Key) -> Option<&Verdict> {
        self.known.get(key).map(|known| &known.verdict)
    }

    /// Something that these objects refer to changed.
    pub fn touch(&mut self, keys: Vec<Key>) {
        self.news.extend(keys);
    }

    /// Every object that was judged.
    pub fn keys(&self) -> impl Iterator<Item = &Key> {
        self.known.keys()
    }

    /// The news since the last call, completed by `refs`. A verdict that turns out as it was given before is none.
    pub fn take(&mut self, mut refs: impl FnMut(&Key) -> Refs) -> Vec<Verdict> {
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
        if self.known.get(&key).is_none_or(|known| known.verdict != verdict) {
            self.known.insert(key, Known { verdict, told: false });
        }
    }
}

// === impl Verdict ===

impl Verdict {
    fn new(key: &Key, meta: &ObjectMeta) -> Self {
        Self {
            key: key.clone(),
            uid: meta.uid.clone().unwrap_or_default(),
            generation: meta.generation.unwrap_or(0),
            rejection: None,
            previous_in_force: false,
            warnings: Vec::new(),
            refs: Refs::Resolved,
        }
    }
}
