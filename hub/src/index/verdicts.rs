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
    known: BTreeMap<Key, Verdict>,
    news: BTreeSet<Key>,
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
    /// An object was accepted.
    pub fn accept(&mut self, key: &Key, meta: &ObjectMeta, resolved: &Resolved) {
        self.put(key, meta, None, false);
        if let Some(verdict) = self.known.get_mut(key) {
            verdict.warnings = resolved.warnings.clone();
        }
    }

    /// An object was not accepted.
    pub fn reject(&mut self, key: &Key, meta: &ObjectMeta, rejection: Rejection, in_force: bool) {
        self.put(key, meta, Some(rejection), in_force);
    }

    /// An object is gone.
    pub fn remove(&mut self, key: &Key) {
        self.known.remove(key);
        self.news.remove(key);
    }

    /// Something that these objects refer to changed.
    pub fn touch(&mut self, keys: Vec<Key>) {
        self.news.extend(keys);
    }

    /// Every object that was judged.
    pub fn keys(&self) -> impl Iterator<Item = &Key> {
        self.known.keys()
    }

    /// The news since the last call, each completed by `refresh`.
    pub fn take(&mut self, mut refresh: impl FnMut(&Key, &mut Verdict)) -> Vec<Verdict> {
        let mut taken = Vec::new();
        for key in std::mem::take(&mut self.news) {
            if let Some(verdict) = self.known.get_mut(&key) {
                refresh(&key, verdict);
                taken.push(verdict.clone());
            }
        }
        taken
    }

    fn put(&mut self, key: &Key, meta: &ObjectMeta, rejection: Option<Rejection>, in_force: bool) {
        let verdict = Verdict {
            key: key.clone(),
            uid: meta.uid.clone().unwrap_or_default(),
            generation: meta.generation.unwrap_or(0),
            rejection,
            previous_in_force: in_force,
            warnings: Vec::new(),
            refs: Refs::Resolved,
        };
        self.known.insert(key.clone(), verdict);
        self.news.insert(key.clone());
    }
}
